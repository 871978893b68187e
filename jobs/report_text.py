"""The night's report for a terminal: no line is wider than 120 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

WIDTH = 120


def render_text(report: dict[str, Any]) -> str:
    """Render what `jobs.report.night_report` gathered.

    Returns
    -------
    str
        Lines of at most 120 characters.
    """
    title = f"Night of {report['ds']}, market {report['market']}"
    lines = ["", title, "═" * len(title)]
    for section in (_release, _tables, _gates, _lists, _evaluation, _diversity, _fairness, _left_out, _next):
        lines += section(report)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def heading(text: str) -> list[str]:
    return ["", text, "─" * len(text)]


def wrapped(text: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(plain(text), WIDTH, initial_indent=indent, subsequent_indent=indent + "  ") or [indent]


def plain(text: Any) -> str:
    """Text on one line, without control characters that would act on a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def cut(text: Any, width: int) -> str:
    text = plain(text)
    return text if len(text) <= width else text[: width - 1] + "…"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), widest: int = 44) -> list[str]:
    """Columns side by side: ``right`` are flush right; cells are cut at ``widest``, then lines at the page's width."""
    cells = [[cut(cell, widest) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    made = []
    for row in cells:
        parts = [c.rjust(w) if at in right else c.ljust(w) for at, (c, w) in enumerate(zip(row, widths, strict=True))]
        line = "  " + "  ".join(parts)
        made.append(line if len(line.rstrip()) <= WIDTH else line[: WIDTH - 1] + "…")
    return made


def number(value: float | int | None, digits: int = 3) -> str:
    """A figure; a dash where it cannot be said."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"


def interval(figure: dict[str, Any] | None, digits: int = 3) -> str:
    """``0.123 [0.110 0.140]``, the ends left out where they are not known."""
    if figure is None or figure["value"] is None:
        return "–"
    ends = (
        ""
        if figure["lo"] is None or figure["hi"] is None
        else (f" [{number(figure['lo'], digits)} {number(figure['hi'], digits)}]")
    )
    return number(figure["value"], digits) + ends


def _release(report: dict[str, Any]) -> list[str]:
    release, model = report["release"], report["model"]
    if release is None:
        lines = ["  No lists were released."]
    else:
        served = "the one that readers get" if release["current"] else "not the one that readers get"
        lines = [f"  Release  {plain(release['release_id'])} ({plain(release['kind'])}), {served}"]
    if model is None:
        return [*lines, "  Model    none was pinned"]
    if not model["model"]:
        return [*lines, "  Model    popularity: no model existed yet"]
    trained = f", fitted on {' to '.join(model['days'])}" if model["days"] else ""
    lines.append(f"  Model    {plain(model['model'])} version {plain(model['version'])}{trained}")
    for line in model["metrics"]:
        verdict = "pass" if line["passed"] else "FAIL"
        said = f"{line['metric']} {number(line['value'], 4)}, limit {number(line['threshold'], 4)}: {verdict}"
        lines += wrapped(said, " " * 11)
    return lines


def _tables(report: dict[str, Any]) -> list[str]:
    rows = [
        [
            t["table"],
            number(t["rows"]),
            number(t["seconds"], 1),
            number(t["quarantined"]),
            number(t["duplicates"]),
            number(t["late"]),
            "" if t["status"] == "published" else f"{t['status']}: {t['message'] or ''}",
        ]
        for t in report["tables"]
    ]
    if not rows:
        return [*heading("Tables"), "  Nothing was built."]
    head = ["table", "rows", "seconds", "quarantined", "duplicates", "late", ""]
    seconds = sum(t["seconds"] or 0 for t in report["tables"])
    lines = [*heading(f"Tables: {len(rows)}, {seconds:,.0f} s of building"), *grid(head, rows, (1, 2, 3, 4, 5))]
    for t in report["tables"]:
        if t["status"] == "published" and t["message"]:
            lines += wrapped(f"{t['table']}: {t['message']}")
    return lines


def _gates(report: dict[str, Any]) -> list[str]:
    lines = heading("Gates")
    if not report["gates"]:
        return [*lines, "  No gate ran."]
    for gate in report["gates"]:
        lines.append(f"  {gate['gate']}: {gate['verdict']}, {gate['checks']} checks of {gate['tables']} tables")
        for broken in gate["broken"]:
            lines += wrapped(
                f"{broken['verdict_if_failed']}: {broken['table']} {broken['check']} found {broken['observed']}", "    "
            )
    return lines


def _lists(report: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for each in report["lists"]:
        lines += heading(f"List of user {plain(each['user'])} ({plain(each['surface'])})")
        rows = [[str(i["rank"]), i["title"] or i["item"], i["channel"] or "", i["reason"]] for i in each["items"]]
        lines += grid(["#", "title", "channel", "why"], rows, (0,))
    return lines


EVALUATED = ("ndcg@10", "recall@20", "recall@100")
SPREAD = ("coverage@10", "gini@10")


def _evaluation(report: dict[str, Any]) -> list[str]:
    if not report["evaluation"]:
        return [*heading("What the lists were worth"), "  Not known yet: it takes lists, and a day after them."]
    lines: list[str] = []
    for list_ds, horizon, subjects in horizons(report):
        days = "next day" if horizon == 1 else f"next {horizon} days"
        lines += heading(f"Lists of {list_ds} against what their users took in the {days}, 95 % intervals")
        rows = [
            [
                s["subject"],
                number(s["n"]),
                *[interval(s["figures"].get(m)) for m in EVALUATED],
                *[number((s["figures"].get(m) or {}).get("value")) for m in SPREAD],
            ]
            for s in subjects
        ]
        lines += grid(["subject", "users", *EVALUATED, *SPREAD], rows, (1, 5, 6))
    return lines


def horizons(report: dict[str, Any]) -> Iterator[tuple[str, int, list[dict[str, Any]]]]:
    """Evaluated subjects by day of the lists and horizon."""
    keys = dict.fromkeys((s["list_ds"], s["horizon_days"]) for s in report["evaluation"])
    for list_ds, horizon in keys:
        yield (
            list_ds,
            horizon,
            [s for s in report["evaluation"] if (s["list_ds"], s["horizon_days"]) == (list_ds, horizon)],
        )


def _diversity(report: dict[str, Any]) -> list[str]:
    if not report["diversity"]:
        return []
    rows = [
        [r["subject"], r["metric"], interval(r), number(r["n"]), number(r["threshold"], 2), r["verdict"] or ""]
        for r in report["diversity"]
    ]
    head = ["surface", "metric", "value", "n", "limit", "verdict"]
    return [*heading("Spread of the lists"), *grid(head, rows, (3, 4))]


def compared(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Fairness as the differences between groups: the groups themselves are in the table."""
    return [r for r in report["fairness"] if r["kind"] == "difference"]


def metric_name(row: dict[str, Any]) -> str:
    name = row["metric"] if row["metric"] == "served" else f"{row['metric']}@{row['k']}"
    return f"{name}, {row['horizon_days']} d" if row["horizon_days"] else name


def _fairness(report: dict[str, Any]) -> list[str]:
    if not report["fairness"]:
        return []
    rows = [
        [r["attribute"], metric_name(r), interval(r), number(r["n"]), number(r["threshold"], 2), r["verdict"] or ""]
        for r in compared(report)
    ]
    head = ["by", "metric", "greatest less least", "users", "limit", "verdict"]
    return [*heading("Difference between groups of people"), *grid(head, rows, (3, 4))]


def _left_out(report: dict[str, Any]) -> list[str]:
    if not report["left_out"]:
        return []
    return [
        *heading("Left out, because the data does not have it"),
        *[line for said in report["left_out"] for line in wrapped(said)],
    ]


def _next(report: dict[str, Any]) -> list[str]:
    lines = heading("Where to look next")
    for step in report["next"]:
        line = f"  {plain(step['what']):<34}{plain(step['how'])}"
        # an address is not cut, because then it would lead nowhere
        lines += [line] if len(line) <= WIDTH else [f"  {plain(step['what'])}", *wrapped(step["how"], "    ")]
    return lines
