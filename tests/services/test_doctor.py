"""The doctor names what is wrong and the mend, and finishes its round whatever breaks."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest

from jobs import doctor
from jobs.errors import ServiceError

Usage = namedtuple("Usage", "total used free")


def only(findings: list[doctor.Finding], check: str) -> doctor.Finding:
    return next(finding for finding in findings if finding.check == check)


def test_every_bad_finding_has_a_mend(tmp_path: Path) -> None:
    findings = doctor.report(tmp_path)
    assert len(findings) == len(doctor.CHECKS)
    assert all(finding.mend for finding in findings if finding.verdict != doctor.OK)


@pytest.mark.parametrize(("free", "verdict"), [(1, doctor.FAIL), (5, doctor.WARN), (50, doctor.OK)])
def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, verdict: str) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage(0, 0, free * doctor.GIB))
    finding = only(doctor.report(tmp_path / "not" / "there"), "disk")
    assert (finding.verdict, f"{free} GiB" in finding.message) == (verdict, True)


def test_java_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ServiceError("Spark needs Java; found: Java 8.")

    monkeypatch.setattr("jobs.services.java.find_java", missing)
    finding = only(doctor.report(tmp_path), "java")
    assert finding.verdict == doctor.FAIL
    assert "Java 8" in finding.mend


def test_missing_jars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTJAR_JARS", str(tmp_path))
    finding = only(doctor.report(tmp_path), "delta jars")
    assert (finding.verdict, finding.mend) == (doctor.FAIL, doctor.SETUP)


def test_a_broken_check_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def _odd(home: Path) -> doctor.Finding:
        raise OSError("broken")

    monkeypatch.setattr(doctor, "CHECKS", (_odd,))
    assert doctor.report(tmp_path) == [doctor.Finding("odd", doctor.FAIL, "OSError: broken", doctor.SETUP)]


def test_the_exit_status_says_whether_all_is_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (lambda home: doctor.Finding("x", doctor.FAIL, "bad", "mend it"),))
    assert doctor.main() == 1
    assert "-> mend it" in capsys.readouterr().out
