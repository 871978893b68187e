"""The first thing on the page: is it well, and if not, what is to be looked at first."""

from __future__ import annotations

from typing import Any

BAD, CARE, GOOD = "not well", "look at it", "well"


def verdict_of(report: dict[str, Any]) -> dict[str, str]:
    """Level and sentence of a night.

    Returns
    -------
    dict
        ``level`` (not well, look at it, well) and ``said``.
    """
    failed = [p for p in report["problems"] if p["severity"] == "fail"]
    warned = len(report["problems"]) - len(failed)
    release = report["release"]
    if release is None:
        lists = "No lists were released."
    elif release["current"]:
        lists = "The lists are released and served."
    else:
        lists = "The lists are released; readers get those of another release."
    counted = [text for n, text in ((len(failed), "failed"), (warned, "to look at")) if n for text in [f"{n} {text}"]]
    said = f"{lists} {' and '.join(counted) if counted else 'Nothing needs attention'}."
    return {"level": BAD if failed else (CARE if warned else GOOD), "said": said}
