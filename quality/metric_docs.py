"""Writes docs/metrics.md from the definitions: ``python -m quality.metric_docs``. A test holds the page to them."""

from __future__ import annotations

from pathlib import Path

from quality.metric_definitions import OPTIONS, Definition, read_definitions

HEAD = """# Metrics

This page is generated from `metrics/*.yaml` (`python -m quality.metric_docs`).

A metric is a file: what is counted, from which table, and in words what counts and what does not. The night
computes every version of every metric into `audit.metrics`, with total and breakdowns; `in_force` marks the
version that people mean on the day.

**To add a metric**, add `metrics/<name>.yaml`. Without a `digest` it is refused, and the message says which one
to record. **To change one**, leave its file as it is and add `metrics/<name>.v2.yaml` with `version: 2` and the
day from which it holds (`valid_from`). Both are then computed side by side. The digest covers all that the figures
depend on, so an edited expression under an old version number is refused; words, owner and breakdowns are free.

- `source` is the table, `days` its window (1 is the day itself; `age` is then how many days back a row lies).
- `scope` is the condition that a row must meet. `expression` is one aggregate (sum, count, count_if, min, max) in
  Spark SQL; a ratio has `numerator` and `denominator` instead. Names in braces are `parameters`.
- `grain` and `measures` make one row of each grain first, for figures such as "people with 3 or more".
- Without a `source`, `numerator` and `denominator` are other metrics as `name@version`.
- Unknown tables and columns are refused when the catalogue is read, with the file and the option.

Options: {options}.

## GMV taken apart

`audit.gmv` splits the day's GMV (metric `gmv`, refunds in):

    GMV = showings x CTR x CVR x AOV   (clicked on the day: lag_0)
        + showings x CTR x CVR x AOV   (clicked on the day before: lag_1)
        + unattributed

An order line is attributed to the last click on the item by the same person before it, if a showing led to that
click. Showings and clicks are those of the day of the click. The four integers behind each product are kept, and
the rates are their exact ratios, so the product is the attributed amount itself and the sum is right to the cent. A
night whose parts do not add up to the GMV that is counted apart from them fails before it is published.
"""


def render() -> str:
    """The page, as Markdown."""
    definitions = read_definitions()
    options = ", ".join(f"`{name}`" for name in sorted(OPTIONS))
    return HEAD.format(options=options) + "\n" + "\n".join(_metric(d) for d in definitions.values())


def _metric(definition: Definition) -> str:
    facts = {
        "Source": f"`{definition.source}`" if definition.source else None,
        "Window": f"{definition.days} days that end on ds" if definition.days > 1 else None,
        "Parameters": ", ".join(f"{k} {v}" for k, v in definition.parameters.items()),
        "Scope": f"`{definition.scope}`" if definition.scope else None,
        "One row each": ", ".join(f"`{c}`" for c in definition.grain),
        "Measures": ", ".join(f"{k} `{v}`" for k, v in definition.measures.items()),
        "Numerator" if definition.denominator else "Expression": f"`{definition.numerator}`",
        "Denominator": f"`{definition.denominator}`" if definition.denominator else None,
        "Broken down by": ", ".join(definition.dimensions),
        "Unit": definition.unit,
        "Owner": definition.owner,
        "Valid from": None if definition.valid_from.year == 1970 else str(definition.valid_from),
    }
    lines = [f"## {definition.name}, version {definition.version}", "", definition.description, ""]
    lines += [f"What counts: {definition.calibre}", ""]
    lines += [f"- {name}: {fact}" for name, fact in facts.items() if fact]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    Path(__file__).parent.parent.joinpath("docs", "metrics.md").write_text(render())
