"""What the command line says of itself is true."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from jobs.cli import main, parser

ROOT = Path(__file__).parents[2]
[COMMANDS] = [action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]


def examples(text: str) -> list[str]:
    return re.findall(r"^  nightjar (.*)$", text.split("examples:\n", 1)[1], re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_are_understood(name):
    found = examples(COMMANDS[name].format_help())
    assert found
    for example in found:
        words = shlex.split(example)
        assert words[0] == name
        assert parser().parse_args(words).command == COMMANDS[name].get_default("command")


def test_what_make_passes_to_the_night_is_an_option_of_it():
    said = re.search(r"^nightly:.*?takes (.*)\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    passed = dict(re.findall(r"\$\(if \$\((\w+)\),(--[\w-]+) \$\(\1\)\)", said[2]))
    assert {f"{name}=" for name in passed} == set(said[1].split())
    known = {option for action in COMMANDS["nightly"]._actions for option in action.option_strings}
    assert set(passed.values()) <= known and "--ds" in passed.values()


def test_the_dictionary_says_owner_what_is_read_of_which_days_and_what_is_sensitive(capsys):
    assert main(["tables", "features.item_stats"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1:5] == [
        "owner: item-understanding",
        "reads: silver.items, ds-27 to ds",
        "reads: silver.item_daily, ds-27 to ds",
        "reads: ops.takedown, ds-399 to ds, optional",
    ]
    # no description is cut
    assert any(line.endswith("smoothed by the prior; null where the market showed nothing.") for line in said)
    assert main(["tables", "features.user_profile"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^ *user_id +bigint +key, subject +Surrogate user key\.$", said, re.MULTILINE)
    assert re.search(r"^ *age_years +int +years +sensitive +Age at", said, re.MULTILINE)
    assert re.search(r"^ *region +string +Region of residence\.$", said, re.MULTILINE)


def test_the_dictionary_knows_every_kind_of_input(capsys):
    expected = {
        "bronze.events": "reads: landing feed events",
        "training.examples": "reads: features.user_activity, ds-2",
        "silver.events": "reads: bronze.events, ds to ds+7",
        "serving.decision_log": "reads: models.shelf, fitted ds",
        "features.review_signals": "reads: features.need_terms, fitted ds-30 to ds, optional",
        "candidates.ranked": "reads: the model of the day for ranker",
    }
    for table, line in expected.items():
        assert main(["tables", table]) == 0
        assert line in capsys.readouterr().out.splitlines()
