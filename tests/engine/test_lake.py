"""Delta tables without Spark: publishing, appending, sweeping, migrating."""

from __future__ import annotations

import datetime as dt
import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from jobs import ops
from jobs.backfill import restore
from jobs.catalog import Catalog
from jobs.contract import Column, DayRange, Node, Table, between, in_set, no_rows_where
from jobs.errors import CheckFailed, ContractError, PublishError
from jobs.lake import Lake, arrow_rows
from jobs.locks import exclusive
from jobs.migrate import migrate
from jobs.publishing import now_ms
from jobs.settings import Market, Settings
from jobs.stages import Stages

D1, D2, D3 = (dt.date(2024, 3, d) for d in (1, 2, 3))
PLAIN = Table("silver.things", "silver", "me", "Things.", [Column("n", "bigint", "Number.")], ["n"])
SLICED = Table(
    "candidates.things",
    "candidates",
    "me",
    "Things by channel.",
    [Column("channel", "string", "Channel."), Column("n", "bigint", "Number.")],
    ["n"],
    replace_by="channel",
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_in(tmp_path)


def lake_in(home: Path) -> Lake:
    return Lake(Settings(home, home / "lake", home / "landing", Market("demo")))


def stage(lake: Lake, contract: Table, attempt: str, rows: dict[str, list[int]]) -> Path:
    """Files as a build leaves them: ``rows`` maps partition folders to numbers."""
    root = lake.stage_folder(contract.name, attempt)
    for partition, numbers in rows.items():
        folder = root / partition
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"n": pa.array(numbers, pa.int64())}), folder / "part-0.parquet")
    return root


def publish(lake, contract, attempt, rows, days, slices=None, version_key=None, run_id=None) -> int:
    files = lake.staged_files(contract, stage(lake, contract, attempt, rows), version_key)
    with exclusive(lake.settings.locks, contract.name) as token:
        return lake.publish(contract, files, days, token, {"run_id": run_id or attempt}, slices)


def content(lake: Lake, contract: Table) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row in lake.rows(contract.name).to_pylist():
        at = "/".join(str(row[p]) for p in contract.partitions)
        found.setdefault(at, []).append(row["n"])
    return {at: sorted(numbers) for at, numbers in sorted(found.items())}


# -- checks of a stage ---------------------------------------------------------------------------


def checked(lake: Lake, contract: Table, rows: dict[str, list[int | None]], days: DayRange) -> dict[str, int]:
    attempt = f"of-{days.first}"
    stage(lake, contract, attempt, rows)
    return Stages(lake, spark=None).check(contract, days, attempt, contract.checks)  # counts without Spark


def test_a_stage_is_counted_by_day(lake):
    rows = {"ds=2024-03-01": [1, 2], "ds=2024-03-03": [1]}
    assert checked(lake, PLAIN, rows, DayRange(D1, D3)) == {"2024-03-01": 2, "2024-03-02": 0, "2024-03-03": 1}


def test_a_stage_without_files_has_no_rows(lake):
    assert checked(lake, PLAIN, {}, DayRange.day(D1)) == {"2024-03-01": 0}


def test_repeated_keys_are_counted(lake):
    with pytest.raises(CheckFailed, match=r"silver.things 2024-03-02: 3 rows repeat a key \(n\)"):
        checked(lake, PLAIN, {"ds=2024-03-01": [1, 2], "ds=2024-03-02": [1, 1, 2, 2, 2]}, DayRange(D1, D2))


def test_the_same_key_may_stand_in_two_slices(lake):
    rows = {"ds=2024-03-01/channel=a": [1], "ds=2024-03-01/channel=b%2Fc": [1]}
    assert checked(lake, SLICED, rows, DayRange.day(D1)) == {"2024-03-01": 2}
    with pytest.raises(CheckFailed, match="1 rows repeat a key"):
        checked(lake, SLICED, {"ds=2024-03-02/channel=a": [1, 1]}, DayRange.day(D2))


def test_a_key_that_is_missing_is_named(lake):
    with pytest.raises(CheckFailed, match=r"silver.things 2024-03-01: 2 rows have no n\."):
        checked(lake, PLAIN, {"ds=2024-03-01": [1, None, None]}, DayRange.day(D1))


HELD = replace(
    PLAIN,
    checks=[
        between("n", 1, 5),
        in_set("n", ("1", "2", "5", "9")),
        no_rows_where("sum(n) OVER (PARTITION BY ds) = 14", "the numbers of a day add up to 14"),
    ],
)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([1, 2, 5], None),
        ([9, 2], r"1 rows break between\(n, low=1,high=5\)"),
        ([3, 4, 2], r"2 rows break in_set\(n, "),
    ],
)
def test_declared_checks_of_rows_hold_for_every_day_of_a_stage(lake, numbers, said):
    rows = {"ds=2024-03-01": [1, 5], "ds=2024-03-02": numbers}
    if said is None:
        assert checked(lake, HELD, rows, DayRange(D1, D2)) == {"2024-03-01": 2, "2024-03-02": 3}
        return
    with pytest.raises(CheckFailed, match=f"silver.things 2024-03-02: {said}"):
        checked(lake, HELD, rows, DayRange(D1, D2))


def test_a_condition_may_compare_a_row_with_the_others_of_its_day(lake):
    only = replace(HELD, checks=HELD.checks[2:])
    # 8 + 6 = 14 on the first day; 8 and 6 of two days are no day's sum
    assert checked(lake, only, {"ds=2024-03-02": [8], "ds=2024-03-03": [6]}, DayRange(D2, D3))["2024-03-02"] == 1
    with pytest.raises(CheckFailed, match="2024-03-01: 2 rows break no_rows_where.*add up to 14"):
        checked(lake, only, {"ds=2024-03-01": [8, 6]}, DayRange.day(D1))


def test_rows_of_a_day_that_was_not_asked_for_are_refused(lake):
    with pytest.raises(ContractError, match="rows of 2024-03-02, asked for 2024-03-01"):
        checked(lake, PLAIN, {"ds=2024-03-02": [1]}, DayRange.day(D1))


# -- publishing ----------------------------------------------------------------------------------


def test_a_publish_replaces_only_its_days(lake):
    publish(lake, PLAIN, "a", {"ds=2024-03-01": [1], "ds=2024-03-02": [2, 3]}, DayRange(D1, D2))
    publish(lake, PLAIN, "b", {"ds=2024-03-02": [9]}, DayRange.day(D2))
    assert content(lake, PLAIN) == {"2024-03-01": [1], "2024-03-02": [9]}
    assert lake.days(PLAIN.name) == [D1, D2]


def test_a_publish_is_one_version_and_the_one_before_can_be_read(lake):
    first = publish(lake, PLAIN, "a", {"ds=2024-03-01": [1]}, DayRange.day(D1))
    second = publish(lake, PLAIN, "b", {"ds=2024-03-01": [2]}, DayRange.day(D1))
    assert second == first + 1 == lake.version(PLAIN.name)
    assert lake.open(PLAIN.name, first).to_pyarrow_table()["n"].to_pylist() == [1]


def test_a_published_day_without_rows_is_empty_afterwards(lake):
    publish(lake, PLAIN, "a", {"ds=2024-03-01": [1], "ds=2024-03-02": [2]}, DayRange(D1, D2))
    publish(lake, PLAIN, "b", {}, DayRange.day(D2))
    assert content(lake, PLAIN) == {"2024-03-01": [1]}
    assert lake.days(PLAIN.name) == [D1]


def test_a_publish_replaces_only_its_slices(lake):
    both = {"ds=2024-03-01/channel=a": [1], "ds=2024-03-01/channel=b": [2], "ds=2024-03-02/channel=a": [3]}
    publish(lake, SLICED, "a", both, DayRange(D1, D2))
    publish(lake, SLICED, "b", {"ds=2024-03-01/channel=a": [9]}, DayRange.day(D1), slices=["a"])
    assert content(lake, SLICED) == {"2024-03-01/a": [9], "2024-03-01/b": [2], "2024-03-02/a": [3]}


def test_an_empty_slice_is_cleared_alone(lake):
    publish(lake, SLICED, "a", {"ds=2024-03-01/channel=a": [1], "ds=2024-03-01/channel=b": [2]}, DayRange.day(D1))
    publish(lake, SLICED, "b", {}, DayRange.day(D1), slices=["a"])
    assert content(lake, SLICED) == {"2024-03-01/b": [2]}


def test_a_slice_s_name_may_need_quoting_in_a_folder(lake):
    publish(lake, SLICED, "a", {"ds=2024-03-01/channel=a%2Fb": [1]}, DayRange.day(D1), slices=["a/b"])
    assert content(lake, SLICED) == {"2024-03-01/a/b": [1]}


def test_versions_of_an_append_only_table_stand_side_by_side(lake):
    table = replace(SLICED, append=True)
    publish(lake, table, "a", {"ds=2024-03-01": [1]}, DayRange.day(D1), ["r1"], version_key="r1")
    publish(lake, table, "b", {"ds=2024-03-01": [2]}, DayRange.day(D1), ["r2"], version_key="r2")
    assert content(lake, table) == {"2024-03-01/r1": [1], "2024-03-01/r2": [2]}


@pytest.mark.parametrize(
    ("rows", "slices"),
    [
        ({"ds=2024-03-03/channel=a": [1]}, None),
        ({"ds=2024-03-01/channel=b": [1]}, ["a"]),
    ],
)
def test_a_stray_day_or_slice_is_refused_and_nothing_changes(lake, rows, slices):
    before = publish(lake, SLICED, "a", {"ds=2024-03-01/channel=a": [1]}, DayRange.day(D1))
    with pytest.raises(ContractError, match="candidates.things: the build made rows of .*, outside 2024-03-01"):
        publish(lake, SLICED, "b", rows, DayRange.day(D1), slices)
    assert lake.version(SLICED.name) == before


def test_a_publish_that_is_repeated_commits_nothing(lake):
    """Delta forbids a commit that adds and removes one path, and readers may drop such a file."""
    days = DayRange(D1, D2)
    first = lake.staged_files(PLAIN, stage(lake, PLAIN, "a", {"ds=2024-03-01": [1], "ds=2024-03-02": [2]}))
    mended = lake.staged_files(PLAIN, stage(lake, PLAIN, "b", {"ds=2024-03-02": [9]}))
    with exclusive(lake.settings.locks, PLAIN.name) as token:
        made = [lake.publish(PLAIN, files, days, token, {}) for files in (first, first)]
        # half of it is live already: of the other day alone is one file removed and one added
        made.append(lake.publish(PLAIN, [first[0], *mended], days, token, {}))
    assert made == [1, 1, 2]
    log = lake.path(PLAIN.name) / "_delta_log" / f"{made[-1]:020}.json"
    actions = [action for line in log.read_text().splitlines() for action in json.loads(line).items()]
    paths = [(kind, Path(said["path"]).parts[1:3]) for kind, said in actions if kind in ("add", "remove")]
    assert sorted(paths) == [
        ("add", ("attempt=b", "ds=2024-03-02")),
        ("remove", ("attempt=a", "ds=2024-03-02")),
    ]
    assert content(lake, PLAIN) == {"2024-03-01": [1], "2024-03-02": [9]}


def test_spark_reads_what_was_published_twice(settings, spark):
    lake = Lake(settings)
    files = lake.staged_files(PLAIN, stage(lake, PLAIN, "a", {"ds=2024-03-01": [1, 2]}))
    for _ in range(2):
        with exclusive(settings.locks, PLAIN.name) as token:
            lake.publish(PLAIN, files, DayRange.day(D1), token, {})
    rows = spark.read.format("delta").load(str(lake.path(PLAIN.name)))
    assert sorted(row["n"] for row in rows.collect()) == [1, 2] == lake.rows(PLAIN.name)["n"].to_pylist()


def test_a_restore_leaves_the_days_between_those_of_the_run_as_they_are(lake):
    def run(run_id: str, rows: dict[dt.date, list[int]]) -> None:
        for day, numbers in rows.items():
            attempt = f"{run_id}-{day}"
            version = publish(lake, PLAIN, attempt, {f"ds={day}": numbers}, DayRange.day(day), run_id=run_id)
            said = {"table": PLAIN.name, "run_id": run_id, "status": "published", "version": version}
            lake.append(ops.RUN, [{"ds": day, "at_ms": now_ms(), **said}])

    run("first", {D1: [1], D2: [2], D3: [3]})
    run("fix", {D1: [9], D3: [9]})
    assert content(lake, PLAIN) == {"2024-03-01": [9], "2024-03-02": [2], "2024-03-03": [9]}
    restored = restore(lake.settings, catalog_of(PLAIN), "fix")
    assert [row["ds"] for row in restored] == [D1, D3]
    assert content(lake, PLAIN) == {"2024-03-01": [1], "2024-03-02": [2], "2024-03-03": [3]}


def _publish(home: Path, who: str, days: list[dt.date], commits: int) -> None:
    lake = lake_in(home)
    for n in range(commits):
        day = days[n % len(days)]
        publish(lake, PLAIN, f"{who}-{n}", {f"ds={day}": [n]}, DayRange.day(day))


def test_two_processes_that_publish_to_a_table_200_times_lose_nothing(lake, tmp_path):
    april = [dt.date(2024, 4, day) for day in range(1, 21)]
    days = {"a": april[::2], "b": april[1::2]}  # ten days each, between those of the other
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_publish, args=(tmp_path, who, days[who], 100)) for who in days]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0]
    # a day is published ten times, at last with 90 to 99
    last = {str(day): [90 + n] for of in days.values() for n, day in enumerate(of)}
    assert content(lake, PLAIN) == dict(sorted(last.items()))
    log = {entry["version"]: json.loads(entry.get("userMetadata") or "{}") for entry in lake.open(PLAIN.name).history()}
    assert log.pop(0) == {}  # the table's creation
    assert [log[version]["token"] for version in sorted(log)] == list(range(1, 201))
    assert {said["run_id"] for said in log.values()} == {f"{who}-{n}" for who in "ab" for n in range(100)}


def test_a_zombie_s_token_is_refused(lake):
    files = lake.staged_files(PLAIN, stage(lake, PLAIN, "old", {"ds=2024-03-01": [1]}))
    with exclusive(lake.settings.locks, PLAIN.name) as old:
        pass
    publish(lake, PLAIN, "new", {"ds=2024-03-01": [2]}, DayRange.day(D1))
    with pytest.raises(PublishError, match="silver.things was refused: attempt 2 took over from attempt 1"):
        lake.publish(PLAIN, files, DayRange.day(D1), old, {})
    assert content(lake, PLAIN) == {"2024-03-01": [2]}


def test_a_held_lock_is_waited_for_and_then_named(lake):
    with (
        exclusive(lake.settings.locks, "silver.things"),
        pytest.raises(PublishError, match="silver.things is being written by another run"),
        exclusive(lake.settings.locks, "silver.things", timeout_s=0.1),
    ):
        pass


def test_files_without_rows_are_not_published(lake):
    root = stage(lake, PLAIN, "a", {"ds=2024-03-01": [], "ds=2024-03-02": [1, 2]})
    files = lake.staged_files(PLAIN, root)
    assert [(f.partition, f.rows) for f in files] == [({"ds": "2024-03-02"}, 2)]


# -- logs ----------------------------------------------------------------------------------------


def _append(home: Path, who: str, rows: int) -> None:
    lake = lake_in(home)
    for n in range(rows):
        lake.append(ops.RELEASE, [{"ds": D1, "release_id": f"{who}-{n}", "sequence": n}])


def test_two_processes_that_append_to_a_log_lose_nothing(lake, tmp_path):
    lake.ensure(ops.RELEASE)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append, args=(tmp_path, who, 100)) for who in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0]
    found = lake.rows(ops.RELEASE.name, ["release_id"])["release_id"].to_pylist()
    assert sorted(found) == sorted(f"{who}-{n}" for who in "ab" for n in range(100))


def test_a_log_takes_rows_after_a_column_got_other_words(lake):
    lake.append(PLAIN, [{"ds": D1, "n": 1}])
    reworded = replace(PLAIN, columns=[Column("n", "bigint", "Number of things.")])
    lake.append(reworded, [{"ds": D2, "n": 2}])
    assert sorted(lake.rows(PLAIN.name)["n"].to_pylist()) == [1, 2]


def test_an_undeclared_column_of_a_log_row_is_named():
    with pytest.raises(ContractError, match=r"ops.release: row has undeclared columns \['colour'\]"):
        arrow_rows(ops.RELEASE, [{"ds": D1, "colour": "red"}])


def test_a_table_that_is_not_there_has_no_rows_days_or_version(lake):
    assert (lake.rows("ops.run").num_rows, lake.days("ops.run"), lake.version("ops.run")) == (0, [], None)


# -- sweeping ------------------------------------------------------------------------------------


def test_a_sweep_deletes_what_was_not_published_and_keeps_live_files(lake):
    publish(lake, PLAIN, "live", {"ds=2024-03-01": [1]}, DayRange.day(D1))
    dead = stage(lake, PLAIN, "dead", {"ds=2024-03-02": [2]})
    lake.sweep(PLAIN, "dead")
    lake.sweep(PLAIN, "live")
    lake.sweep(PLAIN, "never")
    assert not dead.exists()
    assert content(lake, PLAIN) == {"2024-03-01": [1]}


# -- schemas -------------------------------------------------------------------------------------


def test_differences_are_told_column_by_column(lake):
    lake.ensure(
        replace(
            PLAIN,
            columns=[
                Column("n", "bigint", "Number."),
                Column("old", "string", "Old."),
                Column("kind", "int", "Kind."),
            ],
        )
    )
    changed = replace(
        PLAIN,
        columns=[
            Column("n", "bigint", "Number."),
            Column("kind", "string", "Kind."),
            Column("tags", "array<string>", "Tags."),
        ],
    )
    assert lake.differences(changed, lake.open(PLAIN.name)) == [
        "column tags is new",
        "column old is no longer declared",
        'column kind is "integer", declared "string"',
    ]


def test_a_table_that_differs_from_its_contract_is_not_written(lake):
    lake.ensure(PLAIN)
    wider = replace(PLAIN, columns=[*PLAIN.columns, Column("tag", "string", "Tag.")])
    with pytest.raises(ContractError, match="silver.things differs from its contract: column tag is new. Run"):
        lake.ensure(wider)


def test_migrate_adds_nullable_columns_and_keeps_the_rows(lake):
    publish(lake, PLAIN, "a", {"ds=2024-03-01": [1]}, DayRange.day(D1))
    wider = replace(
        PLAIN,
        columns=[
            *PLAIN.columns,
            Column("tag", "string", "Tag."),
            Column("parts", "array<struct<a:string,b:int>>", "Parts."),
        ],
    )
    done = migrate(lake, Catalog({wider.name: Node(wider, print)}))
    assert done == [{"table": "silver.things", "added": "tag, parts", "kept": "", "then": ""}]
    assert lake.differences(wider, lake.ensure(wider)) == []
    assert [(r["n"], r["tag"], r["parts"]) for r in lake.rows(PLAIN.name).to_pylist()] == [(1, None, None)]
    assert migrate(lake, Catalog({wider.name: Node(wider, print)})) == []


RETYPED = replace(PLAIN, columns=[Column("n", "string", "Number.")])


def catalog_of(*contracts: Table) -> Catalog:
    return Catalog({c.name: Node(c, print) for c in contracts})


def test_migrate_refuses_a_retyped_column_and_changes_no_table(lake):
    lake.ensure(SLICED)
    lake.ensure(PLAIN)
    wider = replace(SLICED, columns=[*SLICED.columns, Column("tag", "string", "Tag.")])
    said = 'silver.things cannot be migrated in place: column n is "long".*migrate --renew silver.things` keeps the old'
    with pytest.raises(ContractError, match=said):
        migrate(lake, catalog_of(wider, RETYPED))
    with pytest.raises(ContractError, match="no table .'silver.thing'. to renew"):
        migrate(lake, catalog_of(wider, RETYPED), ["silver.thing"])
    assert lake.differences(SLICED, lake.open(SLICED.name)) == []


def test_a_renewed_table_is_empty_and_its_old_version_is_kept(lake):
    publish(lake, PLAIN, "a", {"ds=2024-03-01": [1], "ds=2024-03-03": [2]}, DayRange(D1, D3))
    (done,) = migrate(lake, catalog_of(RETYPED), [PLAIN.name])
    first = lake.path(PLAIN.name).with_name("things.v1")
    assert done == {
        "table": "silver.things",
        "added": "",
        "kept": str(first),
        "then": "nightjar run silver.things --from 2024-03-01 --to 2024-03-03",
    }
    assert lake.differences(RETYPED, lake.open(PLAIN.name)) == [] and lake.days(PLAIN.name) == []
    assert sorted(DeltaTable(str(first)).to_pyarrow_table()["n"].to_pylist()) == [1, 2]
    migrate(lake, catalog_of(PLAIN), [PLAIN.name])
    assert first.exists() and first.with_name("things.v2").exists()


def test_a_table_that_did_not_change_is_not_renewed(lake):
    publish(lake, PLAIN, "a", {"ds=2024-03-01": [1]}, DayRange.day(D1))
    assert migrate(lake, catalog_of(PLAIN), [PLAIN.name]) == []
    assert lake.days(PLAIN.name) == [D1]


def test_history_is_never_begun_anew(lake):
    lists = replace(SLICED, name="serving.things", append=True)
    lake.ensure(lists)
    retyped = replace(lists, columns=[lists.columns[0], Column("n", "string", "Number.")])
    with pytest.raises(ContractError, match="serving.things cannot be migrated.*is history and is never begun anew"):
        migrate(lake, catalog_of(retyped), [lists.name])
