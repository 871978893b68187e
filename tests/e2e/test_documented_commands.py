"""Commands in README and docs: all of them parse, and those that only look are run on a real night."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from jobs import landing_docs
from jobs.cli import main, parser
from tests.e2e.conftest import NIGHT

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(
    r"(?:^|[`\s/])nightjar ((?:import|simulate|nightly|night|run|plan|train|promote|reject|repin|reset-objectives|"
    r"rollback|"
    r"manifest|migrate|show|tables|lineage|report|releases|quarantine|backfill|restore|takedown|feedback|export|explain|"
    r"up|down|doctor|"
    r"waive|hold|resume|flag|findings|answer|review|ethics|audit)(?: [^`\n|;#)]*)?)"
)
NEED_ARGUMENTS = (
    "import",
    "rollback",
    "night",
    "run",
    "plan",
    "train",
    "promote",
    "reject",
    "repin",
    "reset-objectives",
    "show",
    "lineage",
    "report",
    "backfill",
    "restore",
    "takedown",
    "export",
    "explain",
    "waive",
    "hold",
    "resume",
    "flag",
    "answer",
    "review",
    "audit",
)
LOOKS = ("plan", "show", "tables", "lineage", "report", "releases", "quarantine", "explain")


def commands():
    found = set()
    for page in PAGES:
        for match in COMMAND.finditer(page.read_text()):
            text = match[1].strip().rstrip(".,:")
            # an ellipsis or a word in capitals stands for what the reader fills in
            named_only = len(text.split()) == 1 and text in NEED_ARGUMENTS
            if "…" not in text and "..." not in text and "\\" not in text and "[" not in text and not named_only:
                found.add((page.name, text))
    return sorted(found)


def filled(text: str) -> list[str]:
    """A documented command with its placeholders filled in."""
    text = re.sub(r"\bDAY\b|\d{4}-\d{2}-\d{2}", NIGHT, text)
    text = re.sub(r"\bTABLE\b", "features.user_activity", text)
    text = re.sub(r"\b(FILE|DIR|RELEASE|REASON|RUN|ID)\b", "x", text)
    return shlex.split(text)


def looks(text: str) -> bool:
    """Whether a command only looks, and says at what; what looks at a lake of its own has none to look at."""
    return text.split()[0] in LOOKS and len(text.split()) > 1 and "replay" not in text and "--lake" not in text


@pytest.mark.parametrize(("page", "text"), commands())
def test_a_documented_command_is_understood(page, text):
    parser().parse_args(filled(text))


@pytest.mark.parametrize("text", sorted({t for _, t in commands() if looks(t)}))
def test_a_documented_look_works_on_a_real_night(world, monkeypatch, capsys, text):
    world.enter(monkeypatch)
    monkeypatch.setenv("NIGHTJAR_MARKET", "demo")
    assert main(filled(text)) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.strip()


SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "operations.md").read_text(), re.DOTALL)


@pytest.mark.parametrize(
    ("reader", "seen"), [("to_pandas", r""), ("duckdb", r"click +│ +\d+"), ("spark.sql", rf"{NIGHT} *\| *\d+")]
)
def test_a_documented_way_to_read_tables_works_on_a_real_night(world, monkeypatch, capsys, reader, seen):
    world.enter(monkeypatch)
    [snippet] = [each for each in SNIPPETS if reader in each]
    names: dict[str, Any] = {}
    year, month, day = (int(part) for part in NIGHT.split("-"))
    exec(snippet.replace("2024, 3, 15", f"{year}, {month}, {day}").replace("2024-03-15", NIGHT), names)
    assert re.search(seen, capsys.readouterr().out)
    if "frame" in names:
        assert set(map(str, names["frame"]["ds"])) == {NIGHT} and names["before"].version() == 0


def test_every_documented_way_to_read_tables_is_tried():
    assert len(SNIPPETS) == 3


@pytest.mark.parametrize("target", ["nightly", "test", "test-slow", "lint", "bench", "up", "down", "doctor", "lock"])
def test_a_documented_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_landing_page_is_what_the_code_says():
    assert (ROOT / "docs" / "landing.md").read_text() == landing_docs.render(), "run python -m jobs.landing_docs"
