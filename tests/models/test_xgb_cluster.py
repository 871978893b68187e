"""Trees grown on a Spark cluster: a master and two workers of this machine, as on many."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import cluster
from jobs.cluster import Cluster, cluster_of, environment
from jobs.errors import ContractError, ServiceError
from jobs.services.jars import spark_home
from jobs.services.state import free_port, port_open
from jobs.settings import Market, Settings
from models import training
from models.evaluation import FUSED, evaluate
from models.rankers import xgb
from models.rankers.ranker import ranker
from models.rankers.xgb_cluster import write_rows
from models.ranking_features import FEATURES
from tests.models.planted import strengths

PARAMS = xgb.Params(trees=30, depth=4, threads=1, min_conversions=50)
TRAIN, VALID, HELD = (strengths(seed, 6000) for seed in (1, 2, 3))
DEPLOY = "org.apache.spark.deploy"


def end(processes: list[psutil.Process]) -> None:
    """End processes and all that they started."""
    family = [child for process in processes if process.is_running() for child in process.children(recursive=True)]
    for process in [*processes, *family]:
        if process.is_running():
            process.terminate()
    _, alive = psutil.wait_procs([*processes, *family], timeout=20)
    for process in alive:
        process.kill()
    assert psutil.wait_procs(alive, timeout=10)[1] == []


@pytest.fixture(scope="module")
def master(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """Address of a master with two workers of one core each, and the folder in which workers keep what they did."""
    work, port = tmp_path_factory.mktemp("cluster"), free_port()
    url = f"spark://127.0.0.1:{port}"
    env = environment(Cluster(host="127.0.0.1")) | {"SPARK_DAEMON_MEMORY": "400m"}
    spark_class, loopback = str(spark_home() / "bin" / "spark-class"), ["--host", "127.0.0.1"]
    commands = [[f"{DEPLOY}.master.Master", *loopback, "--port", str(port), "--webui-port", "0"]]
    for n in (1, 2):
        own = ["--cores", "1", "--memory", "1200m", "--work-dir", str(work / str(n)), "--webui-port", "0"]
        commands.append([f"{DEPLOY}.worker.Worker", *loopback, *own, url])
    started: list[subprocess.Popen[bytes]] = []
    try:
        for n, command in enumerate(commands):
            with (work / f"{n}.log").open("wb") as out:
                started.append(subprocess.Popen([spark_class, *command], env=env, stdout=out, stderr=out))
            wait_for(lambda: port_open(port), (work / f"{n}.log"))
        wait_for(lambda: (work / "0.log").read_text().count("Registering worker") == 2, work / "0.log")
        yield url, work
    finally:
        end([psutil.Process(process.pid) for process in started if process.poll() is None])
        for process in started:
            process.wait(10)


def wait_for(condition, log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.2)


def settings_of(tmp_path: Path, **options) -> Settings:
    params = {"models.cluster": {"host": "127.0.0.1", "memory": "900m", "timeout_s": 300, **options}}
    return Settings(tmp_path, tmp_path / "lake", tmp_path / "landing", Market("demo", params=params))


@pytest.mark.slow
def test_the_cluster_s_trees_are_as_good_as_those_of_one_machine(master, tmp_path, monkeypatch):
    url, work = master
    # what points other sessions to a Connect server must not reach this one
    monkeypatch.setenv("SPARK_REMOTE", "sc://127.0.0.1:1")
    settings = settings_of(tmp_path, master=url)
    data = training.Data(TRAIN, VALID, HELD, {})
    made = training.fit_ranker(settings, ranker("xgb"), PARAMS, data)
    local = xgb.fit(TRAIN, VALID, PARAMS)
    assert set(made.heads) == set(local.heads) == {"pctr", "pcvr", "dwell", "rank"}
    ours, theirs = evaluate(made, HELD, order=FUSED), evaluate(local, HELD, order=FUSED)
    for name in ("auc", "ndcg_at_10", "ndcg_at_10_lambdamart", "ndcg_at_10_pctr"):
        assert ours.figures[name].value == pytest.approx(theirs.figures[name].value, abs=0.01), name
    for head in ("pctr", "pcvr", "dwell"):
        scores = made.score(HELD)[head], local.score(HELD)[head]
        assert np.corrcoef(*scores)[0, 1] > 0.97, head
    curves = made.facts["curves"]["ctr"]
    assert len(curves["train"]) == len(curves["valid"]) >= made.facts["best"]["ctr"] + 1
    # both workers had an executor, and nothing stays in the folder that passed the rows
    assert [len(list((work / n).glob("app-*/*"))) for n in ("1", "2")] == [1, 1]
    assert list((tmp_path / "cluster").iterdir()) == []
    # it is saved, loaded and explained like any other
    made.save(tmp_path / "model")
    loaded = ranker("xgb").kind.load(tmp_path / "model")
    assert np.array_equal(loaded.score(HELD)["rank"], made.score(HELD)["rank"])
    assert max(made.importance(HELD), key=made.importance(HELD).get) == "pair_strength"


@pytest.mark.slow
def test_a_job_that_fails_or_hangs_is_said_and_leaves_nothing(master, tmp_path):
    url, _ = master
    script = tmp_path / "wrong.py"
    script.write_text("raise ValueError('no such column')")
    with pytest.raises(ServiceError, match=r"wrong.py on spark://127.* ended with 1:[\s\S]*no such column"):
        cluster.submit(Cluster(url, host="127.0.0.1"), script)
    script.write_text(f"import time\nopen({str(tmp_path / 'pid')!r}, 'w').write('x')\ntime.sleep(600)")
    before = {p.pid for p in psutil.Process(os.getpid()).children(recursive=True)}
    with pytest.raises(ServiceError, match="had not ended after 25 s"):
        cluster.submit(Cluster(url, host="127.0.0.1", timeout_s=25), script)
    assert (tmp_path / "pid").exists()
    assert {p.pid for p in psutil.Process(os.getpid()).children(recursive=True)} <= before


def test_a_market_without_a_master_has_no_cluster(tmp_path):
    assert cluster_of(settings_of(tmp_path)) is None
    with pytest.raises(ContractError, match=r"unknown option \['cores'\]"):
        cluster_of(settings_of(tmp_path, cores=3))


def test_other_rankers_are_not_fitted_on_a_cluster(tmp_path):
    declared = ranker("deepfm")
    data = training.Data(TRAIN, VALID, HELD, {})
    with pytest.raises(ContractError, match="Ranker deepfm is fitted on one machine"):
        training.fit_ranker(settings_of(tmp_path, master="spark://x:1"), declared, declared.params(), data)


def test_written_rows_are_those_of_a_local_fit(tmp_path):
    """Three queries of two rows; the second has weight 3 and is written three times."""
    table = TRAIN.slice(0, 6)
    table = table.set_column(table.schema.get_field_index("user_id"), "user_id", pa.array([1, 1, 2, 2, 3, 3]))
    table = table.set_column(table.schema.get_field_index("weight"), "weight", pa.array([1.0, 1, 3, 3, 1, 1]))
    for head in ("rank", "ctr"):
        write_rows(head, table, table, tmp_path / head, {})
    rank = pq.read_table(tmp_path / "rank" / "train.parquet").to_pandas()
    assert rank["qid"].tolist() == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8] and not rank["valid"].any()
    weighed = table.to_pandas().iloc[[0, 1, 2, 3, 2, 3, 2, 3, 4, 5]]
    assert rank["label"].tolist() == weighed["label"].tolist()
    np.testing.assert_array_equal(rank[list(FEATURES)].to_numpy(), weighed[list(FEATURES)].to_numpy())
    # validation has numbers of its own between those of training
    assert pq.read_table(tmp_path / "rank" / "valid.parquet")["qid"].to_pylist()[:4] == [1, 1, 3, 3]
    ctr = pq.read_table(tmp_path / "ctr" / "train.parquet").to_pandas()
    assert ctr["weight"].tolist() == [1, 1, 3, 3, 1, 1] and "qid" not in ctr
