"""The worlds that benchmarks run on: sizes of simulated ones, a real one, and how either lands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.settings import Settings
    from jobs.simulator import WorldConfig

ROOT = Path(__file__).resolve().parents[1]
SHOP = "completejourney"

WORLDS: dict[str, dict[str, Any]] = {
    "tiny": {"users": 300, "items": 300, "creators": 30, "days": 5},
    "small": {"users": 2000, "items": 1500, "creators": 150, "days": 14},
    "medium": {"users": 50_000, "items": 20_000, "creators": 2_000, "days": 30},
    # lists are judged on it alone: nothing is tuned on it
    "judged": {"users": 2000, "items": 1500, "creators": 150, "days": 28, "seed": 2026},
}

SERVICES: dict[str, dict[str, str]] = {
    "tiny": {},
    "small": {},
    "judged": {},
    "medium": {"NIGHTJAR_SPARK_MEMORY": "7g", "NIGHTJAR_SPARK_JIT": "full", "NIGHTJAR_SHUFFLE_PARTITIONS": "8"},
}
"""Variables of an installation that suit a world; docs/operations.md says what each is for."""


def land(config: WorldConfig) -> Settings:
    """Simulate a world as its market; returns the market's settings."""
    from jobs.settings import load_settings, save_market
    from jobs.simulator import demo_market, simulate

    save_market(demo_market(config))
    settings = load_settings(config.market)
    simulate(config, settings.landing, settings.home / "truth")
    return settings


def import_shop(source: str | None = None) -> None:
    """Import the year of completejourney from a folder, by default the shared one; a Spark server must run."""
    from jobs.importer import import_data
    from jobs.session import connect
    from jobs.settings import Market, Settings, home_dir

    home, folder = home_dir(), Path(source) if source else ROOT.parent / "shared" / "data" / SHOP
    spark = connect(Settings(home, home / "lake", home / "landing", Market(SHOP)))
    import_data(spark, home, ROOT / "mappings" / f"{SHOP}.yaml", folder)
    spark.stop()
