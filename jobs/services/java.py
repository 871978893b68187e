"""Find the Java that Spark needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from jobs.errors import ServiceError

VERSIONS = (17, 21)
MEND = (
    "Spark 4.2 needs Java 17 or 21. Install it (Debian, Ubuntu: `apt-get install openjdk-17-jre-headless`; "
    "Fedora: `dnf install java-21-openjdk-headless`; macOS: `brew install openjdk@21`) or set JAVA_HOME."
)


def java_version(java: Path) -> int | None:
    """The major version of a ``java`` program, or None when it does not run."""
    try:
        said = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(match.group(1)) if match else None


def _candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if found := shutil.which("java"):
        yield Path(found).resolve()
    # Distributions keep every installed Java here, also those that are not the default one.
    yield from sorted(Path("/usr/lib/jvm").glob("*/bin/java"))
    yield from sorted(Path("/Library/Java/JavaVirtualMachines").glob("*/Contents/Home/bin/java"))
    yield from sorted(Path("/opt/homebrew/opt").glob("openjdk@*/bin/java"))


def find_java() -> tuple[Path, int]:
    """The first Java that Spark can use, and its major version.

    Raises
    ------
    ServiceError
        There is none; the message says what to install.
    """
    seen: list[str] = []
    for java in _candidates():
        if (version := java_version(java)) in VERSIONS:
            return java, version
        if version:
            seen.append(f"{java} is Java {version}")
    raise ServiceError(f"{MEND} {'Found: ' + '; '.join(seen) + '.' if seen else 'No Java was found.'}")
