"""The secrets of the production shape: generated once into ``.env``, which docker compose reads.

``python -m jobs.compose_env`` writes ``.env`` beside ``docker-compose.yml``; ``make compose-env`` calls it.
``python -m jobs.compose_env passwords FILE`` writes Airflow's logins, inside the container that sets it up.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jobs.errors import NightjarError, SettingsError

ENV_FILE = Path(__file__).resolve().parents[1] / ".env"


def _word() -> str:
    # URL-safe: passwords go into database addresses as they are.
    return secrets.token_urlsafe(24)


SECRETS: Mapping[str, Callable[[], str]] = {
    "POSTGRES_PASSWORD": _word,
    "AIRFLOW_DB_PASSWORD": _word,
    "MLFLOW_DB_PASSWORD": _word,
    "S3_ACCESS_KEY": lambda: secrets.token_hex(10),
    "S3_SECRET_KEY": lambda: secrets.token_hex(20),
    "AIRFLOW_FERNET_KEY": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "AIRFLOW_SECRET_KEY": _word,
    # 512 bits, what the signature's algorithm asks for.
    "AIRFLOW_JWT_SECRET": lambda: secrets.token_urlsafe(64),
    "AIRFLOW_ADMIN_PASSWORD": _word,
    "AIRFLOW_VIEWER_PASSWORD": _word,
}
LOGINS = {"admin": "AIRFLOW_ADMIN_PASSWORD", "viewer": "AIRFLOW_VIEWER_PASSWORD"}


def write_env(path: Path) -> None:
    """Write random values for every secret; only the file's owner may read it.

    Raises
    ------
    SettingsError
        The file exists: running services use its values.
    """
    text = "".join(f"{name}={make()}\n" for name, make in SECRETS.items())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise SettingsError(
            f"{path} exists, and services may use its values: move it away first, or keep it."
        ) from None
    with os.fdopen(descriptor, "w") as out:
        out.write(text)


def write_passwords(path: Path, environment: Mapping[str, str]) -> None:
    """Write the file of logins that Airflow's simple auth manager reads.

    Raises
    ------
    SettingsError
        A password is not in the environment.
    """
    if missing := [name for name in LOGINS.values() if not environment.get(name)]:
        raise SettingsError(f"{', '.join(missing)} is not set: run `make compose-env`.")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        json.dump({user: environment[name] for user, name in LOGINS.items()}, out)


def main(arguments: Sequence[str]) -> int:
    """Write ``.env``, or with ``passwords FILE`` the logins."""
    try:
        if arguments[:1] == ["passwords"] and len(arguments) == 2:
            write_passwords(Path(arguments[1]), os.environ)
        elif not arguments:
            write_env(ENV_FILE)
            print(f"Wrote {ENV_FILE}. The login of Airflow is admin, its password AIRFLOW_ADMIN_PASSWORD there.")
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except NightjarError as error:
        print(f"compose-env: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
