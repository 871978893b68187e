"""One function gives the Spark session: a cluster's by address, else the embedded Connect server's."""

from __future__ import annotations

import hashlib
import io
import uuid
import zipfile
from pathlib import Path

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from jobs.errors import ServiceError
from jobs.settings import Settings

PACKAGES = ("jobs", "features", "models", "quality")
ROOT = Path(__file__).resolve().parent.parent
_CONF = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}


def connect(settings: Settings, session: str | None = None) -> SparkSession:
    """Open a Spark Connect session.

    Parameters
    ----------
    settings
        Gives the server's address; without one the embedded server's is used.
    session
        UUID of the session, which a later attempt needs to interrupt it; a new one by default.

    Raises
    ------
    ServiceError
        There is no address and no embedded server.
    """
    url = settings.spark or embedded_url(settings)
    builder = SparkSession.builder.remote(f"{url.rstrip('/')}/;session_id={session or uuid.uuid4()}")
    spark = builder.create()
    for key, value in _CONF.items():
        spark.conf.set(key, value)
    return spark


def embedded_url(settings: Settings) -> str:
    """Address of the embedded server, as recorded when it started."""
    from jobs.services import spark_url, status

    if not any(service.service == "spark" for service in status(home=settings.home)):
        raise ServiceError("No Spark server is running: start it with `nightjar up`, or set NIGHTJAR_SPARK.")
    return spark_url(settings.home)


def interrupt(settings: Settings, session: str) -> None:
    """Stop every query that a dead attempt left running in its session."""
    url = settings.spark or embedded_url(settings)
    other = SparkSession.builder.remote(f"{url.rstrip('/')}/;session_id={session}").create()
    try:
        other.interruptAll()
        other.stop()
    except PySparkException as error:
        # closed by the attempt itself, just before it died: nothing of it is left to stop
        if "SESSION_CLOSED" not in str(error):
            raise


def ship_code(spark: SparkSession) -> None:
    """Send the project's packages to the Python workers; the name carries the content's hash."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in PACKAGES:
            for source in sorted((ROOT / package).rglob("*.py")):
                archive.writestr(zipfile.ZipInfo(str(source.relative_to(ROOT))), source.read_bytes())
    name = hashlib.sha256(buffer.getvalue()).hexdigest()[:16]
    target = spark_cache() / f"nightjar_{name}.zip"
    if not target.exists():
        partial = target.with_suffix(f".{uuid.uuid4().hex}.partial")
        partial.write_bytes(buffer.getvalue())
        partial.replace(target)
    spark.addArtifacts(str(target), pyfile=True)


def spark_cache() -> Path:
    """Folder of the shipped archives."""
    from jobs.settings import home_dir

    folder = home_dir() / "cache"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
