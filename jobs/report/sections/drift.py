"""Features that are not what they were, and features that scoring and training see differently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.report.night import Night
from jobs.report.page import table
from jobs.report.section import WARN, Problem, Section
from jobs.report.terminal import grid, number

QUIET = ("ok", "no_reference", "young", "too_small")
DRIFTED = ("table", "feature", "verdict", "reason", "psi", "missing_rate", "owner")
SKEWED = ("feature", "verdict", "source", "n", "different", "share", "known_ds")


def gather(night: Night) -> dict[str, Any]:
    """Counts by verdict, and the features that drifted or are skewed."""
    drift, skew = night.audited("audit.drift"), night.audited("audit.skew")
    verdicts: dict[str, int] = {}
    for row in drift:
        verdicts[row["verdict"]] = verdicts.get(row["verdict"], 0) + 1
    moved = [{name: r[name] for name in DRIFTED} for r in drift if r["verdict"] not in QUIET]
    return {
        "features": verdicts,
        "drift": sorted(moved, key=lambda r: (r["verdict"], -(r["psi"] or 0), r["table"], r["feature"])),
        "compared": len(skew),
        "skew": [{name: r[name] for name in SKEWED} for r in skew if r["verdict"] != "ok"],
        "owner": night.owner("audit.skew"),
    }


def summary(data: dict[str, Any]) -> str:
    counts = ", ".join(f"{n} {verdict.replace('_', ' ')}" for verdict, n in sorted(data["features"].items()))
    apart = [r["verdict"] for r in data["skew"]]
    healed = f", {apart.count('healed')} more because late rows changed their tables since" * ("healed" in apart)
    skew = f"; of {data['compared']} features as scored and as trained on, {apart.count('skew')} differ{healed}"
    return f"Features against their last four weeks: {counts or 'none yet'}{skew if data['compared'] else ''}."


def drift_rows(data: dict[str, Any]) -> list[list[str]]:
    return [
        [r["feature"], r["table"], r["verdict"], r["reason"], number(r["psi"]), number(r["missing_rate"]), r["owner"]]
        for r in data["drift"]
    ]


def html(data: dict[str, Any]) -> str:
    if not data["features"] and not data["compared"]:
        return ""
    skewed = [[r["feature"], r["source"], r["verdict"], number(r["different"]), number(r["n"])] for r in data["skew"]]
    head = ["feature", "table", "verdict", "because of", "PSI", "missing", "owner"]
    apart = ["feature", "table", "verdict", "pairs that differ", "pairs"]
    return (
        f"<p>{summary(data)}</p>"
        + (table("Features that moved", head, drift_rows(data), (4, 5)) if data["drift"] else "")
        + (table("Scored and trained apart", apart, skewed, (3, 4)) if skewed else "")
    )


def text(data: dict[str, Any]) -> list[str]:
    if not data["features"] and not data["compared"]:
        return []
    rows = [row[:4] for row in drift_rows(data)]
    return [f"  {summary(data)}", *(grid(["feature", "table", "verdict", "because of"], rows) if rows else [])]


def problems(data: dict[str, Any]) -> Iterator[Problem]:
    for r in data["drift"]:
        if r["verdict"] == "drift":
            name = f"{r['table']}.{r['feature']}"
            because = f"features drifted ({r['reason']})"
            said = f"{name} drifted ({r['reason']})."
            yield Problem(WARN, name, said, r["owner"], f"PSI {number(r['psi'])}", "drift", because)
    for r in (r for r in data["skew"] if r["verdict"] == "skew"):
        said = (
            f"{r['feature']} was scored with other values than it is trained on in {r['different']} of {r['n']} pairs."
        )
        kind = "features were scored with other values than they are trained on"
        yield Problem(WARN, r["feature"], said, data["owner"], number(r["share"]), "equal", kind)


SECTION = Section("Drift and skew", 140, gather, html, text, problems)
