"""The guide for one's own data, followed to the letter: files, mapping, import and a night, by the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.lake import Lake
from jobs.settings import load_settings
from tests.e2e.conftest import enter

GUIDE = Path(__file__).parents[2] / "docs" / "bring-your-own-data.md"
NIGHT = "2024-03-04"


def block(after: str) -> str:
    """The first code block after a text of the guide."""
    return re.search(r"```\w*\n(.*?)```", GUIDE.read_text().split(after, 1)[1], re.DOTALL)[1]


@pytest.mark.slow
def test_a_shop_of_the_guide_gets_lists_and_is_told_what_they_lack(tmp_path, monkeypatch, spark_server, capsys, caplog):
    enter(tmp_path / "home", monkeypatch)
    monkeypatch.delenv("NIGHTJAR_MARKET", raising=False)
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "sales.csv").write_text(block("`shop/sales.csv`"))
    (shop / "goods.csv").write_text(block("`shop/goods.csv`"))
    (tmp_path / "shop.yaml").write_text(block("### 2. The mapping"))

    given = ["import", "--mapping", str(tmp_path / "shop.yaml"), "--source", str(shop)]
    assert main(given) == 0, capsys.readouterr().err
    monkeypatch.setenv("NIGHTJAR_MARKET", "shop")
    assert main(["night", "--ds", NIGHT]) == 0, capsys.readouterr().err
    assert "2024-03-01 to 2024-03-03 are missing before 2024-03-04: they are built first." in caplog.text

    lake = Lake(load_settings("shop"))
    # ann and bob were told of on the first day alone, and are known on the last
    users = lake.rows("silver.users", ["user_id", "original_id"], ds=NIGHT).to_pylist()
    assert {u["original_id"] for u in users} == {"ann", "bob"}
    lists = lake.rows("serving.recommendations", ["user_id", "item_id"]).to_pylist()
    assert {row["user_id"] for row in lists} == {u["user_id"] for u in users}
    assert main(["report", "--ds", NIGHT]) == 0
    report = " ".join(capsys.readouterr().out.split())
    for missing in ("impressions", "reviews", "consent"):
        assert f"Feed {missing} has never landed." in report
