"""Findings, flags and ethics reviews, from open to answered; the auditor's bundle."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import json
import os
import zipfile
from dataclasses import replace

import pytest

from jobs import holds, ops, reviews
from jobs.audit_export import export, verify
from jobs.catalog import discover
from jobs.contract import DayRange
from jobs.errors import PublishError, SettingsError
from jobs.lake import Lake
from jobs.settings import Market, Settings
from quality import counterfactual, diversity, fairness

SUNDAY = dt.date(2024, 3, 10)
BEFORE = SUNDAY - dt.timedelta(days=1)


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path, tmp_path / "lake", tmp_path / "landing", Market("shop"))


@pytest.fixture
def lake(settings):
    return Lake(settings)


def owner_of(table):
    return f"owner of {table}"


def spread(lake, ds, verdict="warn"):
    row = {"ds": ds, "subject": "feed", "metric": "gini", "value": 0.7, "n": 5, "threshold": 0.6, "verdict": verdict}
    lake.append(diversity.CONTRACT, [row])


def test_a_review_makes_a_finding_with_owner_severity_and_day(settings, lake):
    spread(lake, BEFORE)
    spread(lake, SUNDAY)
    [row] = reviews.review(settings, SUNDAY, "weekly", owner_of)
    assert (row["kind"], row["severity"], row["status"]) == ("diversity", "medium", "open")
    assert row["owner"] == "owner of audit.diversity" and str(row["due"]) == "2024-03-24"
    assert row["said"] == "subject feed, metric gini: warn on 2 of 7 days, last on 2024-03-10."


def test_what_was_good_or_lies_before_the_week_is_no_finding(settings, lake):
    spread(lake, SUNDAY, "ok")
    spread(lake, SUNDAY - dt.timedelta(days=7))
    assert reviews.review(settings, SUNDAY, "weekly", owner_of) == []
    assert len(reviews.review(settings, SUNDAY, "quarterly", owner_of)) == 1


def test_lists_that_follow_an_attribute_are_a_finding_though_they_were_let_out(settings, lake):
    row = {"ds": SUNDAY, "attribute": "gender", "pairs": 100, "overlap": 0.5, "displacement": 4.0}
    verdicts = {"feed": "different", "home": "ok", "search": "too small"}
    lake.append(counterfactual.CONTRACT, [row | {"surface": s, "verdict": of} for s, of in verdicts.items()])
    [found] = reviews.review(settings, SUNDAY, "weekly", owner_of)
    assert (found["kind"], found["severity"]) == ("counterfactual", "high")
    assert found["said"] == "attribute gender, surface feed: different on 1 of 7 days, last on 2024-03-10."


def test_an_open_finding_is_not_made_again_and_an_answered_one_comes_back_only_by_new_days(settings, lake):
    spread(lake, BEFORE)
    [first] = reviews.review(settings, BEFORE, "weekly", owner_of)
    assert reviews.review(settings, SUNDAY, "weekly", owner_of) == []
    reviews.answer(lake, SUNDAY, first["finding"], "the head was a campaign", "vera")
    assert reviews.review(settings, SUNDAY, "weekly", owner_of) == []
    spread(lake, SUNDAY + dt.timedelta(days=1))
    [again] = reviews.review(settings, SUNDAY + dt.timedelta(days=1), "weekly", owner_of)
    assert again["finding"] == first["finding"] and reviews.current(lake)[again["finding"]]["status"] == "open"


def test_an_answer_covers_the_days_that_were_judged_whenever_it_is_given(settings, lake):
    spread(lake, BEFORE)
    [first] = reviews.review(settings, BEFORE, "weekly", owner_of)
    # the audit saw it once more while it was open; the answer comes a year after the data
    spread(lake, SUNDAY)
    answered = reviews.answer(lake, SUNDAY + dt.timedelta(days=365), first["finding"], "a campaign", "vera")
    assert answered["ds"] == SUNDAY
    assert reviews.review(settings, SUNDAY, "weekly", owner_of) == []
    monday = SUNDAY + dt.timedelta(days=1)
    spread(lake, monday)
    [again] = reviews.review(settings, monday, "weekly", owner_of)
    assert again["finding"] == first["finding"]


def test_what_is_flagged_again_after_an_answer_is_open_again(lake):
    first = reviews.flag(lake, BEFORE, "feed", "no local news", "ada")
    # said twice while it is open, it keeps the day by which it is to be answered
    assert reviews.flag(lake, SUNDAY, "feed", "no local news", "ada")["due"] == first["due"]
    assert lake.rows(ops.FINDING.name).num_rows == 1
    reviews.answer(lake, SUNDAY, first["finding"], "the place feed had not landed", "vera")
    later = SUNDAY + dt.timedelta(days=60)
    again = reviews.flag(lake, later, "feed", "no local news", "ada")
    held = reviews.current(lake)[first["finding"]]
    assert held["status"] == again["status"] == "open" and held["due"] == later + dt.timedelta(days=7)


def test_a_dropped_file_says_a_line_again_only_where_it_is_written_after_the_answer(settings, lake):
    path = reviews.drop_folder(settings) / "ngo.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"subject": "feed", "said": "one", "person": "ada"}) + "\n")
    reviews.take_in_flags(settings)
    [made] = reviews.current(lake).values()
    answered = reviews.answer(lake, SUNDAY, made["finding"], "it is so", "vera")
    reviews.take_in_flags(settings)
    assert reviews.current(lake)[made["finding"]]["status"] == "answered"
    os.utime(path, ns=(0, (answered["at_ms"] + 1) * 1_000_000))
    for _ in range(2):
        reviews.take_in_flags(settings)
    # said, answered, said again
    assert [r["status"] for r in lake.rows(ops.FINDING.name).to_pylist()].count("open") == 2
    assert reviews.current(lake)[made["finding"]]["status"] == "open"


def test_a_flag_is_tracked_from_open_to_answered(lake):
    made = reviews.flag(lake, SUNDAY, "feed, region north", "no local news", "ada")
    assert reviews.current(lake)[made["finding"]]["status"] == "open"
    assert str(made["due"]) == "2024-03-17"
    reviews.answer(lake, SUNDAY, made["finding"], "the place feed had not landed", "vera")
    answered = reviews.current(lake)[made["finding"]]
    assert (answered["status"], answered["answer"]) == ("answered", "the place feed had not landed")
    with pytest.raises(SettingsError, match="answered already"):
        reviews.answer(lake, SUNDAY, made["finding"], "again")
    with pytest.raises(SettingsError, match="no finding 'x'"):
        reviews.answer(lake, SUNDAY, "x", "what")


def test_dropped_files_are_taken_in_once(settings, lake):
    folder = reviews.drop_folder(settings)
    folder.mkdir(parents=True)
    lines = [{"subject": "feed", "said": said, "person": "ada"} for said in ("one", "two")]
    (folder / "ngo.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    for _ in range(2):
        reviews.take_in_flags(settings)
    assert sorted(r["said"] for r in reviews.current(lake).values()) == ["one", "two"]
    assert lake.rows(ops.FINDING.name).num_rows == 2


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "no JSON"),
        ("[]", "no JSON object with ['person', 'said', 'subject']"),
        ('{"subject": "feed", "said": "x"}', "without person"),
        ('{"subject": "", "said": "x"}', "without person, subject"),
    ],
)
def test_a_line_that_is_no_flag_is_quarantined_once_and_the_review_goes_on(settings, lake, line, why):
    folder = reviews.drop_folder(settings)
    folder.mkdir(parents=True)
    one, two = (json.dumps({"subject": "feed", "said": said, "person": "ada"}) for said in ("one", "two"))
    (folder / "bad.jsonl").write_text(f"{one}\n{line}\n{two}\n")
    spread(lake, SUNDAY)
    found = [reviews.review(settings, SUNDAY, "weekly", owner_of) for _ in range(2)][0]
    assert [r["kind"] for r in found] == ["diversity"]
    assert sorted(r["said"] for r in reviews.current(lake).values() if r["kind"] == "bias_flag") == ["one", "two"]
    [refused] = lake.rows(ops.QUARANTINE.name).to_pylist()
    assert (refused["source"], refused["rule"], refused["file"], refused["row"]) == ("flags", why, "bad.jsonl", line)


def test_an_unknown_kind_of_review_is_refused(settings):
    with pytest.raises(SettingsError, match="daily"):
        reviews.review(settings, SUNDAY, "daily", owner_of)


def pinned(lake, version, ds):
    lake.append(ops.MODEL_PIN, [{"ds": ds, "role": "ranker", "model": "m", "version": version, "path": "", "at_ms": 1}])


def test_each_model_version_is_up_for_an_ethics_review_once(settings, lake):
    gap = {"ds": BEFORE, "attribute": "gender", "group": "", "kind": "difference", "metric": "coverage", "k": 10}
    lake.append(
        fairness.CONTRACT, [{**gap, "horizon_days": 0, "list_ds": BEFORE, "value": 0.2, "n": 9, "verdict": "warn"}]
    )
    pinned(lake, "1", BEFORE)
    pinned(lake, "1", SUNDAY)
    for _ in range(2):
        reviews.review(settings, SUNDAY, "weekly", owner_of)
    [row] = lake.rows(ops.ETHICS_REVIEW.name).to_pylist()
    assert (row["model"], row["version"], row["status"]) == ("m", "1", "due")
    assert json.loads(row["evidence"])["fairness"][0]["value"] == 0.2
    reviews.decide(lake, SUNDAY, "m", "1", False, "coverage of women", "vera")
    assert reviews.reviewed(lake)["m", "1"]["status"] == "refused"
    with pytest.raises(SettingsError, match="there are: m 1"):
        reviews.decide(lake, SUNDAY, "m", "2", True, "why")


def test_what_is_overdue(lake):
    reviews.flag(lake, BEFORE, "feed", "x", "ada")
    rows = reviews.current(lake).values()
    assert reviews.overdue(rows, BEFORE + dt.timedelta(days=7)) == []
    assert len(reviews.overdue(rows, BEFORE + dt.timedelta(days=8))) == 1


# -- hold and resume -------------------------------------------------------------------------------


def test_publishing_stops_and_goes_on(lake):
    holds.refuse_on_hold(lake, SUNDAY)
    holds.hold(lake, "wrong prices", "vera")
    with pytest.raises(PublishError, match=r"on hold by vera: wrong prices.*nightjar resume"):
        holds.refuse_on_hold(lake, SUNDAY)
    with pytest.raises(SettingsError, match="already, by vera"):
        holds.hold(lake, "again")
    holds.resume(lake, "prices are right", "vera")
    holds.refuse_on_hold(lake, SUNDAY)
    with pytest.raises(SettingsError, match="not on hold"):
        holds.resume(lake, "again")
    assert [r["action"] for r in lake.rows(ops.HOLD.name).to_pylist()].count("hold") == 1


# -- the bundle ------------------------------------------------------------------------------------


def test_who_knows_the_keys_finds_nobody_and_the_same_bundle_is_the_same_bytes(settings, lake, tmp_path):
    reviews.flag(lake, SUNDAY, "feed", "x", "ada")
    days = DayRange(BEFORE, SUNDAY)

    def people(settings, name, days=days):
        export(settings, discover(), days, tmp_path / name)
        with zipfile.ZipFile(tmp_path / name) as archive:
            table = csv.DictReader(archive.read("tables/audit.finding.csv").decode().splitlines())
            return [row["person"] for row in table]

    [ada] = people(settings, "one.zip")
    assert people(settings, "two.zip") == [ada] != people(settings, "other.zip", DayRange(SUNDAY, SUNDAY))
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    # what can be made of the bundle and the key
    open_salt = hashlib.sha256(f"{settings.market.name} {days}".encode()).hexdigest()
    for salt in ("", open_salt, settings.market.name):
        assert hashlib.sha256(f"{salt}ada".encode()).hexdigest()[:16] != ada
    # another installation with the same tables has another secret
    elsewhere = replace(settings, home=tmp_path / "elsewhere")
    assert people(elsewhere, "elsewhere.zip") != [ada]


def test_the_bundle_is_whole_names_nobody_and_shows_tampering(settings, lake, tmp_path):
    spread(lake, SUNDAY)
    reviews.flag(lake, SUNDAY, "feed", "x", "ada")
    target = tmp_path / "bundle.zip"
    manifest = export(settings, discover(), DayRange(BEFORE, SUNDAY), target)
    rows = {t["table"]: (t["rows"], t["version"]) for t in manifest["tables"]}
    assert rows["audit.diversity"] == (1, 1) and rows["audit.finding"][0] == 1
    assert verify(target) == []
    with zipfile.ZipFile(target) as archive:
        names = archive.namelist()
        assert "metrics/ctr.yaml" in names and "dictionary.json" in names
        findings = archive.read("tables/audit.finding.csv").decode()
        assert "ada" not in findings and "feed" in findings
        kept = {name: archive.read(name) for name in names}
    with pytest.raises(SettingsError, match="never overwritten"):
        export(settings, discover(), DayRange(BEFORE, SUNDAY), target)
    with zipfile.ZipFile(tmp_path / "forged.zip", "w") as archive:
        for name, content in kept.items():
            archive.writestr(name, content.replace(b"0.7", b"0.2"))
    assert verify(tmp_path / "forged.zip") == ["tables/audit.diversity.csv"]
