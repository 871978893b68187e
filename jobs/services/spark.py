"""The embedded Spark Connect server: one JVM on the loopback interface that every task shares."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence

from jobs.errors import SettingsError
from jobs.services.component import Component
from jobs.services.jars import LOCAL_FILES, jar_paths, jars_dir, spark_home
from jobs.services.java import find_java
from jobs.services.state import LOOPBACK, State, port_open

SERVER = "org.apache.spark.sql.connect.service.SparkConnectServer"

# Errors only to the log: at INFO Spark writes megabytes a night. The file rolls, a server lives for weeks.
LOG4J = """\
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd HH:mm:ss} %p %c{1}: %maxLen{%m}{2000}%n%ex{12}
logger.connect.name = org.apache.spark.sql.connect.service.SparkConnectServer
logger.connect.level = info
"""


def url(state: State) -> str:
    """The address for clients."""
    return f"sc://{LOOPBACK}:{state.port('spark')}"


def cores() -> str:
    """Cores for Spark: ``NIGHTJAR_CORES``, else all."""
    return os.environ.get("NIGHTJAR_CORES", "*")


def optimises() -> bool:
    """Whether Java compiles hot code a second time, optimised: ``NIGHTJAR_SPARK_JIT`` is ``full``, not ``quick``.

    Spark generates code for every query, and a small night runs most of it once: optimising it takes two fifths of
    the night's CPU, and what runs is no faster for it. Worlds of many million rows a day gain from it.

    Raises
    ------
    SettingsError
        The variable has another value.
    """
    chosen = os.environ.get("NIGHTJAR_SPARK_JIT", "quick")
    if chosen not in ("quick", "full"):
        raise SettingsError(f"NIGHTJAR_SPARK_JIT is {chosen!r}: it must be quick or full.")
    return chosen == "full"


def compilers() -> list[str]:
    """Java's options for its compilers.

    With the quick compiler alone Java sets 48 MB aside for compiled code. A night fills that in minutes, and from then
    on nothing more is compiled: everything new is interpreted, ten times slower. The full set would hold 240 MB.
    """
    return ["-XX:ReservedCodeCacheSize=400m", *([] if optimises() else ["-XX:TieredStopAtLevel=1"])]


def configuration(state: State) -> dict[str, str]:
    """Spark's properties; ``<home>/spark.conf`` may hold more, and they win."""
    work = state.folder("spark")
    scratch = state.folder("spark", "tmp")
    java_options = [
        f"-Djava.io.tmpdir={scratch}",
        f"-Dderby.system.home={work}",
        "-XX:+UseParallelGC",
        *compilers(),
        # A server that is out of memory answers nothing; one that exits is restarted.
        "-XX:+ExitOnOutOfMemoryError",
    ]
    return {
        "spark.master": f"local[{cores()}]",
        "spark.app.name": "nightjar",
        "spark.driver.memory": os.environ.get("NIGHTJAR_SPARK_MEMORY", "2500m"),
        "spark.driver.bindAddress": LOOPBACK,
        "spark.driver.host": LOOPBACK,
        "spark.driver.extraJavaOptions": " ".join(java_options),
        "spark.connect.grpc.binding.address": LOOPBACK,
        "spark.connect.grpc.binding.port": str(state.port("spark")),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # Without a page to show them on, finished plans and their metrics only fill the heap: 1.3 GB of them
        # after a thousand queries, and then the collector takes half of the cores.
        "spark.sql.ui.retainedExecutions": "5",
        "spark.ui.retainedJobs": "20",
        "spark.ui.retainedStages": "20",
        "spark.ui.retainedTasks": "200",
        "spark.connect.ui.retainedSessions": "5",
        "spark.connect.ui.retainedStatements": "5",
        # A session keeps its last analysed plans, and a killed client's session stays until it times out.
        "spark.connect.session.planCache.maxSize": "6",
        "spark.connect.session.manager.defaultSessionTimeout": "30m",
        "spark.jars": ",".join(str(path) for path in jar_paths()),
        # Spark opens files before it loads its jars: what it opens them with has to be there from the start.
        "spark.driver.extraClassPath": str(jars_dir() / LOCAL_FILES.file),
        # Without its native library Hadoop starts a `chmod` for each file, checksum and folder that it makes: some
        # thirty processes a table. This class asks Java instead.
        "spark.hadoop.fs.file.impl": "com.globalmentor.apache.hadoop.fs.BareLocalFileSystem",
        "spark.local.dir": str(scratch),
        "spark.scheduler.mode": "FAIR",
        "spark.pyspark.python": sys.executable,
        "spark.pyspark.driver.python": sys.executable,
        "spark.python.worker.reuse": "true",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.warehouse.dir": str(work / "warehouse"),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.adaptive.enabled": "true",
        # A night runs about two thousand different queries; by default the compiled code of a hundred is kept.
        "spark.sql.codegen.cache.maxEntries": "4000",
        # Beyond 128 groups Spark gives up hashing and sorts wherever it collects a list, a set or a mode.
        "spark.sql.objectHashAggregate.sortBased.fallbackThreshold": "65536",
        "spark.sql.shuffle.partitions": os.environ.get("NIGHTJAR_SHUFFLE_PARTITIONS", "4"),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.parquet.compression.codec": "zstd",
        # Without it VACUUM of a tiny table takes over a minute: it lists files with thousands of tasks.
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "4",
        "spark.databricks.delta.snapshotPartitions": "2",
    }


def prepare(state: State) -> None:
    """Write the configuration, and remove what a killed server left behind."""
    shutil.rmtree(state.folder("spark") / "tmp", ignore_errors=True)
    conf = state.folder("spark", "conf")
    lines = [f"{key} {value}" for key, value in configuration(state).items()]
    extra = state.home / "spark.conf"
    lines += extra.read_text().splitlines() if extra.exists() else []
    (conf / "nightjar.conf").write_text("\n".join(lines) + "\n")
    (conf / "log4j2.properties").write_text(LOG4J)
    # This folder comes before Hadoop's jars. Each scan carries Hadoop's whole configuration, half of it defaults of a
    # resource manager that is not there: 1,102 entries with them, 575 without.
    (conf / "yarn-default.xml").write_text("<configuration/>\n")


def command(state: State) -> Sequence[str]:
    properties = state.root / "spark" / "conf" / "nightjar.conf"
    submit = str(spark_home() / "bin" / "spark-submit")
    return [submit, "--class", SERVER, "--properties-file", str(properties), "spark-internal"]


def environment(state: State) -> Mapping[str, str]:
    """The user's environment without any Spark settings of theirs.

    An exported SPARK_DAEMON_MEMORY, for one, silently replaces the driver's memory.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_"))}
    java = find_java()[0]
    return {
        **kept,
        "JAVA_HOME": str(java.parent.parent),
        "SPARK_HOME": str(spark_home()),
        "SPARK_CONF_DIR": str(state.root / "spark" / "conf"),
        "SPARK_LOCAL_IP": LOOPBACK,
        # Connect's workers take their Python from the environment, not from the properties.
        "PYSPARK_PYTHON": sys.executable,
        # One thread a Python worker: there is one worker a core already.
        "OMP_NUM_THREADS": "1",
    }


def components() -> list[Component]:
    """The server."""
    return [
        Component(
            name="spark",
            service="spark",
            command=command,
            env=environment,
            cwd=lambda state: state.folder("spark"),
            prepare=prepare,
            ready=lambda state: port_open(state.port("spark")),
            url=url,
            timeout=90,
        )
    ]
