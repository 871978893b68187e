"""The Data Docs site of a market: the library's page of every validation, under an index with history."""

from __future__ import annotations

import datetime as dt
import html
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from quality.gate import Library

KEPT_GATES = 90
"""Gates whose pages are kept: a month of nights with three each."""


@dataclass(frozen=True)
class Page:
    """One validation: its page below the site, and what it found."""

    suite: str
    path: str
    checks: int
    failed: int
    warned: int
    seconds: float

    @classmethod
    def of(cls, suite: str, run: Any, result: Any, rows: Sequence[dict[str, Any]], seconds: float) -> Page:
        """The page that the library makes of ``result``; the folders are the library's own rule."""
        broken = [r["verdict_if_failed"] for r in rows if not r["success"]]
        batch = result.meta["active_batch_definition"]
        identifier = f"{batch['datasource_name']}-{batch['data_asset_name']}"
        path = Path("validations", *suite.split("."), *run.to_tuple(), f"{identifier}.html")
        return cls(suite, path.as_posix(), len(rows), broken.count("fail"), broken.count("warn"), round(seconds, 3))


def publish_docs(library: Library, site: Path, gate: str, ds: dt.date, run_id: str, pages: Sequence[Page]) -> Path:
    """Draw this gate's pages, forget the oldest gates, and renew the index.

    Returns
    -------
    Path
        The site's ``index.html``.

    Notes
    -----
    The library's own index would read every kept result again at each gate and shows a failed warning
    as a failure; this one reads a few lines a gate and shows the verdict that counted.
    """
    site.mkdir(parents=True, exist_ok=True)
    library.context.add_data_docs_site(
        "site",
        {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site)},
        },
    )
    library.context.build_data_docs(site_names=["site"], build_index=False)
    record = {
        "gate": gate,
        "ds": str(ds),
        "run_id": run_id,
        "at_ms": time.time_ns() // 1_000_000,
        "pages": [asdict(page) for page in pages],
    }
    runs = site / "gates"
    runs.mkdir(exist_ok=True)
    replace_text(runs / f"{record['at_ms']}-{gate}.json", json.dumps(record))
    forget(site, KEPT_GATES)
    index = site / "index.html"
    replace_text(index, index_page(history(site)))
    return index


def history(site: Path) -> list[dict[str, Any]]:
    """Records of the kept gates, newest first."""
    return [json.loads(path.read_text()) for path in sorted((site / "gates").glob("*.json"), reverse=True)]


def forget(site: Path, kept: int) -> None:
    """Delete the pages and records of all but the newest ``kept`` gates."""
    for path in sorted((site / "gates").glob("*.json"), reverse=True)[kept:]:
        for page in json.loads(path.read_text())["pages"]:
            shutil.rmtree((site / page["path"]).parent, ignore_errors=True)
        path.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def index_page(records: Sequence[dict[str, Any]]) -> str:
    """The start page: gates newest first, a row a table."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Data Docs</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; color: #1b1f24 }}
table {{ border-collapse: collapse; width: 100% }} th, td {{ text-align: left; padding: .25rem .5rem }}
tr {{ border-bottom: 1px solid #d8dee4 }} .number {{ text-align: right }}
.fail {{ color: #b3261e; font-weight: 600 }} .warn {{ color: #8a5300; font-weight: 600 }} .ok {{ color: #1a6b33 }}
</style></head><body><header><h1>Data Docs</h1></header><main>
{"".join(section(record) for record in records) or "<p>No gate has run yet.</p>"}
</main></body></html>
"""


def section(record: dict[str, Any]) -> str:
    rows = "".join(row(page) for page in record["pages"])
    at = dt.datetime.fromtimestamp(record["at_ms"] / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    title = html.escape(f"{record['ds']} · {record['gate']}")
    return f"""<section><h2>{title}</h2><p>{html.escape(record["run_id"])}, {at}</p>
<table><thead><tr><th scope="col">Table</th><th scope="col">Verdict</th><th scope="col" class="number">Checks</th>
<th scope="col" class="number">Seconds</th></tr></thead><tbody>{rows}</tbody></table></section>
"""


def row(page: dict[str, Any]) -> str:
    if page["failed"]:
        kind, said = "fail", f"{page['failed']} failed"
    elif page["warned"]:
        kind, said = "warn", f"{page['warned']} warned"
    else:
        kind, said = "ok", "passed"
    return (
        f'<tr><th scope="row"><a href="{quote(page["path"])}">{html.escape(page["suite"])}</a></th>'
        f'<td class="{kind}">{said}</td><td class="number">{page["checks"]}</td>'
        f'<td class="number">{page["seconds"]:.2f}</td></tr>'
    )
