"""Nothing but our own processes is ever recognised, stopped or trusted."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from jobs.services import processes
from jobs.services.state import State

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
# A leader that starts a child which ignores the polite signal and overwrites nothing; both sleep.
STUBBORN = [
    sys.executable,
    "-c",
    "import subprocess, sys, time\n"
    "subprocess.Popen([sys.executable, '-c', 'import signal, time; "
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)'], env={})\n"
    "time.sleep(60)",
]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State(tmp_path / "home")
    state.prepare()
    yield state
    processes.stop(state, "thing", grace=1)


def start(state: State, command: list[str]) -> subprocess.Popen[bytes]:
    return processes.spawn(state, "thing", command, env=os.environ, cwd=state.root)


def wait_for(condition: object, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_a_started_process_is_recognised_and_stopped(state: State) -> None:
    child = start(state, SLEEP)
    assert processes.running(state, "thing").pid == child.pid
    processes.stop(state, "thing", grace=5)
    assert child.returncode is not None, "its handle would warn that it still runs"
    assert processes.running(state, "thing") is None
    assert not processes.record_file(state, "thing").exists()


def test_a_recycled_pid_is_left_alone(state: State) -> None:
    stranger = subprocess.Popen(SLEEP, start_new_session=True)
    try:
        record = processes.Record("thing", stranger.pid, psutil.Process(stranger.pid).create_time() - 100)
        processes.record_file(state, "thing").write_text(json.dumps(asdict(record)))
        assert processes.running(state, "thing") is None
        assert processes.family(state, "thing") == []
        processes.stop(state, "thing", grace=1)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_damaged_record_names_nobody(state: State) -> None:
    processes.record_file(state, "thing").write_text("{")
    assert processes.running(state, "thing") is None
    processes.stop(state, "thing", grace=1)


def test_a_zombie_counts_as_ended(state: State) -> None:
    child = start(state, [sys.executable, "-c", ""])
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert processes.running(state, "thing") is None
    child.wait()


def test_children_of_a_killed_leader_are_stopped_too(state: State) -> None:
    leader = start(state, STUBBORN)
    wait_for(lambda: len(psutil.Process(leader.pid).children()) == 1)
    orphan = psutil.Process(leader.pid).children()[0]
    leader.kill()
    leader.wait()
    assert [process.pid for process in processes.family(state, "thing")] == [orphan.pid]
    processes.stop(state, "thing", grace=0.5)
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def test_a_child_in_another_session_is_found_by_its_tag(state: State) -> None:
    code = f"import subprocess, time; subprocess.Popen({SLEEP!r}, start_new_session=True); time.sleep(60)"
    leader = start(state, [sys.executable, "-c", code])
    wait_for(lambda: len(psutil.Process(leader.pid).children()) == 1)
    leader.kill()
    leader.wait()
    assert len(processes.family(state, "thing")) == 1


def test_output_goes_to_a_private_log(state: State) -> None:
    start(state, [sys.executable, "-c", "print('fine'); print('ERROR: no luck')"]).wait()
    assert processes.log_tail(state.log("thing")) == "ERROR: no luck"
    assert state.log("thing").stat().st_mode & 0o777 == 0o600
    assert processes.log_tail(state.log("another")) == "(no log was written)"


@pytest.mark.parametrize(
    ("address", "own"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_addresses(address: str, own: bool) -> None:
    assert processes.is_loopback(address) is own


def test_listening_on_all_interfaces_is_found() -> None:
    with socket.socket() as private, socket.socket() as public:
        private.bind(("127.0.0.1", 0))
        private.listen()
        assert processes.listening_outside_loopback([os.getpid()]) == []
        public.bind(("0.0.0.0", 0))
        public.listen()
        found = processes.listening_outside_loopback([os.getpid(), 2**22 + 1])
        assert len(found) == 1
        assert found[0].startswith(f"0.0.0.0:{public.getsockname()[1]} (pid {os.getpid()} ")


def test_the_spark_server_and_its_workers_are_open_to_this_machine_alone(spark, spark_server: str) -> None:
    # a Python worker, which listens too
    assert spark.range(2).mapInArrow(lambda batches: batches, "id bigint").count() == 2
    port = int(spark_server.rsplit(":", 1)[1])
    [server] = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
    family = [server, *(child.pid for child in psutil.Process(server).children(recursive=True))]
    assert len(family) > 1
    assert processes.listening_outside_loopback(family) == []


def test_the_start_time_may_move_a_little(state: State) -> None:
    start(state, SLEEP)
    record = processes.load_record(state, "thing")
    assert replace(record, started=record.started + 0.5).process() is not None
    assert replace(record, started=record.started + 60).process() is None
