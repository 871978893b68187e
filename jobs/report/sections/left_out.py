"""What the market's data does not have, said once."""

from __future__ import annotations

from jobs.landing import FEEDS
from jobs.report.night import Night
from jobs.report.page import items
from jobs.report.section import Section
from jobs.report.terminal import wrapped
from jobs.unsupported import unsupported

LEFT_OUT = {
    "users": "people's attributes: fairness by group and by tenure",
    "creators": "creators' names and stages",
    "impressions": "rates per showing and position; training draws its negatives from the items of the day",
    "events": "tracked actions; tastes come from orders alone",
    "orders": "purchases, amounts and conversion",
    "reviews": "ratings, and reasons that name them",
    "surveys": "NPS and stated interests",
    "campaigns": "campaign periods as a context",
    "curated": "slots filled by hand",
    "costs": "costs and margins",
    "consent": "stated consent; the market's default holds for everyone",
}


def gather(night: Night) -> list[str]:
    """What the market's data does not have, and what is therefore not there; a sentence each."""
    from jobs.steps import catalog

    settings, lake = night.settings, night.lake
    market = settings.market
    landing = settings.landing / market.name
    landed = {feed.name for feed in FEEDS if any((landing / feed.name).glob("ds=*/_manifest*.json"))}
    said = [
        f"Feed {feed.name} has never landed. Left out: {LEFT_OUT[feed.name]}."
        for feed in FEEDS
        if feed.name in LEFT_OUT and feed.name not in landed
    ]
    said += unsupported(lake, catalog(), landed, night.day)
    items = lake.open("silver.items")
    if items is not None:
        prices = items.to_pyarrow_table(columns=["price_minor"], filters=[("ds", "=", night.day)])["price_minor"]
        if len(prices) and prices.null_count == len(prices):
            said.append("No item has a price: price features and reasons that name a price are left out.")
    if not market.groups:
        said.append("The market names no groups of people: fairness by group is left out, save by tenure if known.")
    return said


def text(sentences: list[str]) -> list[str]:
    return [line for said in sentences for line in wrapped(said)]


SECTION = Section("Left out, because the data does not have it", 170, gather, items, text)
