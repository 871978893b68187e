"""Work that runs on a Spark cluster by spark-submit, in a classic session: what Spark Connect does not offer.

A market's file names the cluster::

    params:
      models.cluster: {master: "spark://10.0.0.5:7077", workers: 8, memory: 4g, folder: /mnt/shared}

``folder`` is seen by the driver and all workers alike; rows, options and what was made pass through it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.contract import make_params
from jobs.errors import ServiceError
from jobs.services.jars import spark_home
from jobs.services.java import find_java
from jobs.services.spark import compilers
from jobs.settings import Settings

OPTIONS = "models.cluster"
TRAIN_XGB = Path(__file__).with_name("train_xgb.py")


@dataclass(frozen=True)
class Cluster:
    """A Spark cluster.

    Parameters
    ----------
    master
        Its address; empty: there is none.
    workers
        Tasks that train one model together, a core each.
    memory
        Of an executor.
    host
        Address by which the executors reach this machine; Spark's own choice by default.
    folder
        A folder that all machines see; below the installation by default.
    timeout_s
        Seconds after which a job is ended.
    """

    master: str = ""
    workers: int = 2
    memory: str = "2g"
    host: str = ""
    folder: str = ""
    timeout_s: int = 4 * 3600


def cluster_of(settings: Settings) -> Cluster | None:
    """The cluster that the market names, if any."""
    options = dict(settings.market.params.get(OPTIONS, {}))
    found = make_params(Cluster, options, f"market {settings.market.name}, {OPTIONS}")
    return found if found.master else None


@contextmanager
def exchange(settings: Settings, cluster: Cluster) -> Iterator[Path]:
    """A folder for one job, removed afterwards."""
    root = Path(cluster.folder) if cluster.folder else settings.home / "cluster"
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix="job-") as folder:
        yield Path(folder)


def submit(cluster: Cluster, script: Path, *arguments: str) -> None:
    """Run a script on the cluster and wait for its end; nothing of it is left behind, however it ends.

    Raises
    ------
    ServiceError
        It failed, or took too long; the message ends with its last lines.
    """
    command = [str(spark_home() / "bin" / "spark-submit"), *_options(cluster), str(script), *arguments]
    with (
        tempfile.TemporaryFile("w+", errors="replace") as out,
        subprocess.Popen(
            command, env=environment(cluster), stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        ) as job,
    ):
        try:
            code = job.wait(cluster.timeout_s)
            failure = f"ended with {code}" if code else ""
        except subprocess.TimeoutExpired:
            failure = f"had not ended after {cluster.timeout_s} s"
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
        if failure:
            out.seek(0)
            last = "\n".join(out.read().strip().splitlines()[-15:])
            raise ServiceError(f"{script.name} on {cluster.master} {failure}:\n{last}")


def _options(cluster: Cluster) -> list[str]:
    java = " ".join(compilers())
    conf = {
        "spark.app.name": "nightjar training",
        "spark.cores.max": cluster.workers,
        "spark.executor.cores": 1,
        "spark.executor.memory": cluster.memory,
        "spark.driver.extraJavaOptions": java,
        "spark.executor.extraJavaOptions": java,
        "spark.sql.codegen.cache.maxEntries": 4000,
        "spark.sql.session.timeZone": "UTC",
        "spark.pyspark.python": sys.executable,
        "spark.pyspark.driver.python": sys.executable,
        "spark.ui.enabled": "false",
        **({"spark.driver.host": cluster.host, "spark.driver.bindAddress": cluster.host} if cluster.host else {}),
    }
    said = [part for key, value in conf.items() for part in ("--conf", f"{key}={value}")]
    return ["--master", cluster.master, "--deploy-mode", "client", *said]


def environment(cluster: Cluster) -> dict[str, str]:
    """The user's environment without Spark settings of theirs: SPARK_REMOTE, for one, makes sessions remote ones."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_"))}
    java = find_java()[0]
    host = {"SPARK_LOCAL_IP": cluster.host} if cluster.host else {}
    return {**kept, "JAVA_HOME": str(java.parent.parent), "SPARK_HOME": str(spark_home()), **host}
