"""The jars that Spark needs beside its own: fetched once with Ivy, checked against their SHA-256, then local.

Starting Spark with ``--packages`` would resolve 34 jars anew each time and put an older Hadoop and
Parquet beside Spark's own. Delta itself needs two; one more keeps local files without a process for each.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import ServiceError
from jobs.services.java import find_java


@dataclass(frozen=True)
class Jar:
    """A Maven artifact and the digest it must have."""

    organisation: str
    name: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        return f"{self.name}-{self.version}.jar"


LOCAL_FILES = Jar(
    "com.globalmentor",
    "hadoop-bare-naked-local-fs",
    "0.1.0",
    "e0cc30fb0531eb0b59468dc0abf5b257533d2365b5e9f45e795edd707aa78c62",
)
JARS = (
    Jar(
        "io.delta",
        "delta-spark_4.2_2.13",
        "4.4.0",
        "27d4fd8b1f879535c573ed1c718177d6a27f24d3e626ba02e216369725721ead",
    ),
    Jar("io.delta", "delta-storage", "4.4.0", "c46735481fa8e326b0957be02b4420cbcab4b325bb08009b7f2045a95133f1cc"),
    LOCAL_FILES,
)


def jars_dir() -> Path:
    """Where the jars lie: a cache of the user, so that every installation on a machine shares them."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("NIGHTJAR_JARS") or cache / "nightjar" / "jars")


def jar_paths() -> list[Path]:
    """The jars to start Spark with.

    Raises
    ------
    ServiceError
        One is missing.
    """
    paths = [jars_dir() / jar.file for jar in JARS]
    if missing := [path.name for path in paths if not path.exists()]:
        raise ServiceError(f"{', '.join(missing)} is missing in {jars_dir()}: run `make setup`.")
    return paths


def damaged() -> list[str]:
    """Names of jars that are missing or do not have their digest."""
    return [jar.file for jar in JARS if not _intact(jars_dir() / jar.file, jar)]


def fetch() -> list[Path]:
    """Download what is missing or damaged.

    ``NIGHTJAR_IVY_SETTINGS`` may name an Ivy settings file, for a mirror of Maven Central.

    Raises
    ------
    ServiceError
        The download failed, or a jar does not have its digest.
    """
    target = jars_dir()
    target.mkdir(parents=True, exist_ok=True)
    wanted = [jar for jar in JARS if not _intact(target / jar.file, jar)]
    if not wanted:
        return jar_paths()
    with tempfile.TemporaryDirectory(prefix="nightjar-ivy-") as folder:
        work = Path(folder)
        _retrieve(wanted, work)
        for jar in wanted:
            got = work / "out" / jar.file
            if not _intact(got, jar):
                raise ServiceError(f"{jar.file} was downloaded, but it does not have the SHA-256 {jar.sha256}.")
            # Copied beside its place and renamed, so that a killed download never leaves half a jar.
            draft = target / f".{jar.file}.{os.getpid()}"
            shutil.copyfile(got, draft)
            os.replace(draft, target / jar.file)
    return jar_paths()


def spark_home() -> Path:
    """The folder of the installed pyspark. Found without importing it, which takes a second."""
    from importlib.util import find_spec

    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise ServiceError("pyspark is not installed: run `make setup`.")
    return Path(spec.origin).parent


def _retrieve(jars: list[Jar], work: Path) -> None:
    wanted = "".join(
        f'<dependency org="{jar.organisation}" name="{jar.name}" rev="{jar.version}" transitive="false"'
        ' conf="default->master"/>'
        for jar in jars
    )
    (work / "ivy.xml").write_text(
        '<ivy-module version="2.0"><info organisation="nightjar" module="jars"/>'
        f'<configurations><conf name="default"/></configurations><dependencies>{wanted}</dependencies></ivy-module>'
    )
    ivy = next((spark_home() / "jars").glob("ivy-*.jar"), None)
    if ivy is None:
        raise ServiceError(f"pyspark in {spark_home()} comes without Ivy: run `make setup` again.")
    command = [str(find_java()[0]), "-jar", str(ivy), "-ivy", str(work / "ivy.xml"), "-cache", str(work / "cache")]
    command += ["-m2compatible", "-retrieve", str(work / "out" / "[artifact]-[revision].[ext]")]
    if settings := os.environ.get("NIGHTJAR_IVY_SETTINGS"):
        command += ["-settings", settings]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise ServiceError(f"The Delta jars could not be downloaded with Ivy:\n{last}")


def _intact(path: Path, jar: Jar) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256
