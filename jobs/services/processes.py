"""Start, recognise, stop and inspect processes without ever touching a stranger's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path

import psutil

from jobs.services.state import State, write_private

# Every process of a service inherits this variable, so that a grandchild in a session of its own is found too.
TAG = "NIGHTJAR_SERVICE_TAG"
GONE = (psutil.NoSuchProcess, psutil.ZombieProcess)
HIDDEN = (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError)
# psutil derives start times from the boot time, which moves a little when the clock is set.
START_TOLERANCE_S = 2.0


@dataclass(frozen=True)
class Record:
    """A process as it was when it started; a pid alone may meanwhile be somebody else's."""

    component: str
    pid: int
    started: float

    def process(self) -> psutil.Process | None:
        """The live process, or None when it has ended or its pid now belongs to another."""
        with suppress(*GONE):
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) <= START_TOLERANCE_S
            if same and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None

    def session(self) -> int | None:
        """The session that the process leads or led; None when its number now belongs to somebody else.

        As long as one process of the session lives, the kernel gives its number to nobody. That finds the
        children of a leader that was killed, even those that have overwritten their environment.
        """
        with suppress(psutil.NoSuchProcess):
            if abs(psutil.Process(self.pid).create_time() - self.started) > START_TOLERANCE_S:
                return None
        return self.pid


def record_file(state: State, component: str) -> Path:
    return state.root / "pids" / f"{component}.json"


def save_record(state: State, component: str, pid: int) -> Record:
    record = Record(component, pid, psutil.Process(pid).create_time())
    write_private(record_file(state, component), json.dumps(asdict(record)))
    return record


def load_record(state: State, component: str) -> Record | None:
    try:
        return Record(**json.loads(record_file(state, component).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        # A file that cannot be read names no process for certain, so it names none.
        return None


def running(state: State, component: str) -> psutil.Process | None:
    """The component's live process, or None."""
    record = load_record(state, component)
    return record.process() if record else None


def tag(state: State, component: str) -> str:
    return f"{state.root}:{component}"


_CHILDREN: list[subprocess.Popen[bytes]] = []
"""Services outlive the command that starts them; a handle that is collected before its process ends warns."""


def spawn(
    state: State,
    component: str,
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    user: str | None = None,
) -> subprocess.Popen[bytes]:
    """Start a component in a session of its own, with its output appended to its log."""
    log = state.log(component)
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as out:
        # Passing ``user=None`` is the default; a user needs its own groups, or it keeps root's.
        identity = {"user": user, "group": user, "extra_groups": []} if user else {}
        child = subprocess.Popen(
            list(command),
            env={**env, TAG: tag(state, component)},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **identity,
        )
    with suppress(*GONE):
        save_record(state, component, child.pid)
    _CHILDREN.append(child)
    return child


def family(state: State, component: str) -> list[psutil.Process]:
    """Every live process of a component: the recorded one, its descendants, its session, and all with its tag."""
    record = load_record(state, component)
    leader = record.process() if record else None
    found: dict[int, psutil.Process] = {}
    if leader:
        found[leader.pid] = leader
        with suppress(*GONE):
            found.update({child.pid: child for child in leader.children(recursive=True)})
    mark, session = tag(state, component), record.session() if record else None
    for process in psutil.process_iter():
        with suppress(*HIDDEN):
            if os.getsid(process.pid) == session or process.environ().get(TAG) == mark:
                found[process.pid] = process
    found.pop(os.getpid(), None)
    return [process for process in found.values() if _alive(process)]


def stop(state: State, component: str, *, first: signal.Signals = signal.SIGTERM, grace: float = 15.0) -> None:
    """End a component and all that it started: the polite signal to the leader, then SIGKILL to what is left.

    The children get the signal too when the leader is gone, since nobody else will tell them.
    """
    members = family(state, component)
    record = load_record(state, component)
    leader = record.process() if record else None
    for process in [leader] if leader else members:
        with suppress(*HIDDEN):
            process.send_signal(first)
    _, alive = psutil.wait_procs(members, timeout=grace)
    # Look again: a process may have been started while the others were ending.
    for process in {*alive, *family(state, component)}:
        with suppress(*HIDDEN):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
    # psutil has reaped them behind the back of their handles, which would warn of running processes
    _CHILDREN[:] = [child for child in _CHILDREN if child.poll() is None]
    record_file(state, component).unlink(missing_ok=True)


def resident_bytes(processes: Iterable[psutil.Process]) -> int:
    """Memory of processes: proportional set size where the system has it, so shared pages count once."""
    total = 0
    for process in processes:
        with suppress(*HIDDEN):
            full = process.memory_full_info()
            total += getattr(full, "pss", 0) or full.rss
    return total


def listening_outside_loopback(pids: Iterable[int]) -> list[str]:
    """Addresses on which these processes accept connections from other machines; empty is what we want.

    Parameters
    ----------
    pids
        Processes to look at; those that have ended meanwhile are skipped.

    Returns
    -------
    list of str
        ``"<address>:<port> (pid <pid> <name>)"`` for each offender, sorted.
    """
    offenders = set()
    for pid in pids:
        with suppress(*HIDDEN):
            process = psutil.Process(pid)
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN and not is_loopback(connection.laddr.ip):
                    address = f"{connection.laddr.ip}:{connection.laddr.port}"
                    offenders.add(f"{address} (pid {pid} {process.name()})")
    return sorted(offenders)


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own; Java writes 127.0.0.1 as ``::ffff:127.0.0.1``."""
    parsed = ip_address(address.split("%")[0])
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def log_tail(path: Path, lines: int = 12) -> str:
    """The last lines of a log that say something went wrong, else simply the last lines."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, path.stat().st_size - 64_000))
            text = handle.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return "(no log was written)"
    words = ("error", "exception", "fatal", "refused", "failed", "caused by", "denied")
    bad = [line for line in text if any(word in line.lower() for word in words)]
    return "\n".join((bad or text)[-lines:]) or "(the log is empty)"


def _alive(process: psutil.Process) -> bool:
    with suppress(*GONE):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def wait_until_gone(process: psutil.Process, timeout: float) -> bool:
    """Wait for a process that may not be our child to end."""
    deadline = time.monotonic() + timeout
    while _alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
