"""What the command line says of itself is true."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from jobs.cli import parser

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
