"""Each gate's verdict, every check that did not hold, and who let which failure pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs import ops
from jobs.report.night import Night, newest
from jobs.report.page import table
from jobs.report.section import FAIL, WARN, Problem, Section
from jobs.report.terminal import wrapped

KEPT = ("table", "check", "observed", "verdict_if_failed", "waiver")


def gather(night: Night) -> list[dict[str, Any]]:
    """Each gate's last verdict for the day, with every check that did not hold."""
    rows = newest(night.read(ops.DATA_QUALITY.name), "gate", "table")
    gates = []
    for gate in sorted({r["gate"] for r in rows}, key=lambda g: min(r["at_ms"] for r in rows if r["gate"] == g)):
        of = [r for r in rows if r["gate"] == gate]
        broken = [
            {name: r[name] for name in KEPT} | {"owner": night.owner(r["table"])}
            for r in sorted(of, key=lambda r: (r["table"], r["check"]))
            if not r["success"]
        ]
        failed = any(b["verdict_if_failed"] == "fail" and not b["waiver"] for b in broken)
        gates.append(
            {
                "gate": gate,
                "tables": len({r["table"] for r in of}),
                "checks": len(of),
                "broken": broken,
                "verdict": "failed" if failed else ("passed with warnings" if broken else "passed"),
            }
        )
    return gates


def verdict_of(broken: dict[str, Any]) -> str:
    return "waived" if broken["waiver"] else broken["verdict_if_failed"]


def html(gates: list[dict[str, Any]]) -> str:
    if not gates:
        return "<p>No gate ran.</p>"
    rows = [[g["gate"], g["verdict"], g["checks"], g["tables"]] for g in gates]
    broken = [
        [b["table"], verdict_of(b), b["check"], b["observed"], b["waiver"] or ""] for g in gates for b in g["broken"]
    ]
    made = table("Verdicts", ["gate", "verdict", "checks", "tables"], rows, (2, 3))
    head = ["table", "verdict", "check", "found", "waived"]
    return made + (table("Checks that did not hold", head, broken) if broken else "")


def text(gates: list[dict[str, Any]]) -> list[str]:
    lines = []
    for gate in gates:
        lines.append(f"  {gate['gate']}: {gate['verdict']}, {gate['checks']} checks of {gate['tables']} tables")
        for b in gate["broken"]:
            waived = f" ({b['waiver']})" if b["waiver"] else ""
            lines += wrapped(f"{verdict_of(b)}: {b['table']} {b['check']} found {b['observed']}{waived}", "    ")
    return lines or ["  No gate ran."]


def problems(gates: list[dict[str, Any]]) -> Iterator[Problem]:
    for gate in gates:
        for b in gate["broken"]:
            severity = FAIL if verdict_of(b) == "fail" else WARN
            said = f"Gate {gate['gate']}: {b['table']} {b['check']} found {b['observed']}"
            said += f"; {b['waiver']}." if b["waiver"] else "."
            # a waiver is one decision, which stands for itself
            kind = "" if b["waiver"] else f"warnings of gate {gate['gate']}, {b['check'].partition('(')[0]}"
            yield Problem(severity, b["table"], said, b["owner"], b["observed"], b["check"], kind)


SECTION = Section("Gates", 40, gather, html, text, problems)
