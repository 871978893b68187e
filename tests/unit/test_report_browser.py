"""The report in a real browser: it needs no network, fits a phone, and can be read by keyboard and by screen reader."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from jobs.report import night_report, write_report
from jobs.settings import Market, Settings
from tests.unit.test_report import DAY, full

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # no name resolves, so whatever asked the network would fail
    "--host-resolver-rules=MAP * ~NOTFOUND",
    # the measuring page has to look into the frame that holds the report
    "--allow-file-access-from-files",
    "--virtual-time-budget=3000",
)
PHONE, DESK = 360, 1200
MEASURE = """<!doctype html><title>measure</title><iframe id="f" src="{page}" width="{width}" height="800"></iframe>
<pre id="out"></pre><script>
function luminance(rgb) {{
  const [r, g, b] = rgb.match(/\\d+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}}
document.getElementById("f").onload = event => {{
  const doc = event.target.contentDocument, view = event.target.contentWindow, root = doc.documentElement;
  const paper = luminance(view.getComputedStyle(doc.body).backgroundColor);
  const contrast = e => {{
    const ink = luminance(view.getComputedStyle(e).color);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  }};
  const shown = [...doc.querySelectorAll("p, th, td, caption, a, h1, h2")].filter(e => e.textContent.trim());
  doc.querySelectorAll("details").forEach(d => d.open = true);
  const stops = [...doc.querySelectorAll("a[href], summary, [tabindex]")].filter(e => e.tabIndex >= 0);
  stops.forEach(e => e.focus());
  document.getElementById("out").textContent = JSON.stringify({{
    width: root.scrollWidth, room: root.clientWidth,
    requests: view.performance.getEntriesByType("resource").length,
    contrast: Math.min(...shown.map(contrast)),
    stops: stops.length, last: doc.activeElement === stops[stops.length - 1],
    unnamed: [...doc.querySelectorAll("svg[role=img]")].filter(e => !e.querySelector("title")).length,
    plots: doc.querySelectorAll("svg").length,
    cut: [...doc.querySelectorAll(".wide")].filter(e => e.scrollWidth > e.clientWidth && e.tabIndex < 0).length,
    language: root.lang, title: doc.title,
  }});
}};
</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium.")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("report")
    settings = Settings(home, home / "lake", home / "landing", Market("shop", groups=("gender",)))
    full(settings)
    return write_report(settings, night_report(settings, DAY))


def browse(page: Path, tmp_path: Path, width: int) -> dict:
    """What the browser sees of a page in a window of a width."""
    measure = tmp_path / "measure.html"
    measure.write_text(MEASURE.format(page=page.as_uri(), width=width))
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", measure.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found and found[1], done.stderr[-2000:]
    return json.loads(unescape(found[1]))


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_page_fits_its_window_and_asks_for_nothing(page, tmp_path, width):
    seen = browse(page, tmp_path, width)
    assert seen["width"] <= seen["room"] <= width
    assert seen["requests"] == 0
    assert seen["title"] == f"Night of {DAY}, market shop" and seen["language"] == "en"


def test_it_is_read_without_a_mouse_and_without_eyes(page, tmp_path):
    seen = browse(page, tmp_path, PHONE)
    # WCAG 2.1, 1.4.3: 4.5 to 1
    assert seen["contrast"] >= 4.5
    assert seen["stops"] > 10 and seen["last"]
    assert seen["cut"] == 0, "a table that scrolls cannot be reached by keyboard"
    assert seen["plots"] > 0 and seen["unnamed"] == 0


def test_the_index_leads_to_the_night(page, tmp_path):
    seen = browse(page.parent / "index.html", tmp_path, PHONE)
    assert seen["title"] == "Nights of market shop" and seen["width"] <= seen["room"]
    assert f'href="{DAY}.html"' in (page.parent / "index.html").read_text()
