"""What people read, by language: ``models/messages/<language>.yaml`` has a text and a detail for every code.

A new language is a file with the same codes. A text may use the names in braces that its code is given, and every
language must use the same ones, so that no language says less than another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml
from pyspark.sql import Column as SparkColumn
from pyspark.sql import functions as F

from jobs.errors import ContractError, SettingsError
from jobs.settings import Market

FOLDER = Path(__file__).resolve().parent / "messages"
PARTS = ("text", "detail")
_NAME = re.compile(r"\{(\w+)\}")


@cache
def messages(folder: Path = FOLDER) -> dict[str, dict[str, dict[str, str]]]:
    """Language to code to part to text.

    Raises
    ------
    ContractError
        A file lacks a code or part that another has, or uses other names in it.
    """
    found = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yaml"))}
    first, reference = next(iter(found.items()))
    for language, codes in found.items():
        if different := sorted(set(codes) ^ set(reference)):
            raise ContractError(f"{folder / language}.yaml and {first}.yaml do not both have {different}.")
        for code, parts in codes.items():
            if set(parts) != set(PARTS):
                raise ContractError(f"{folder / language}.yaml: {code} has {sorted(parts)}; it needs {list(PARTS)}.")
            for part in PARTS:
                names, wanted = (set(_NAME.findall(each[part])) for each in (parts, reference[code]))
                if names != wanted:
                    raise ContractError(
                        f"{folder / language}.yaml: {code}.{part} uses {sorted(names)}, {first}.yaml {sorted(wanted)}."
                    )
    return found


def language_of(tag: SparkColumn, market: Market) -> SparkColumn:
    """The language of a tag such as zh-Hans, where there are messages in it; else the market's.

    Raises
    ------
    SettingsError
        There are no messages in the market's language.
    """
    known = messages()
    if market.language not in known:
        raise SettingsError(
            f"Market {market.name}: language {market.language!r} has no messages; there are {sorted(known)}."
        )
    primary = F.lower(F.element_at(F.split(tag, "[-_]"), 1))
    return F.when(primary.isin(*known), primary).otherwise(F.lit(market.language))


def say(code: str, part: str, language: SparkColumn, values: Mapping[str, SparkColumn]) -> SparkColumn:
    """The text of a code with its names filled in, in each row's language; null where a value is null."""
    said = F.lit(None).cast("string")
    for name, codes in messages().items():
        said = F.when(language == name, _filled(codes[code][part], values, f"{name}: {code}.{part}")).otherwise(said)
    return said


def _filled(text: str, values: Mapping[str, SparkColumn], where: str) -> SparkColumn:
    parts = _NAME.split(text)
    if unknown := sorted(set(parts[1::2]) - set(values)):
        raise ContractError(f"Message {where} uses {unknown}; it is given {sorted(values)}.")
    each = [values[part].cast("string") if at % 2 else F.lit(part) for at, part in enumerate(parts) if part]
    return F.concat(*each)
