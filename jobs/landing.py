"""The landing zone: the feeds that Nightjar takes from outside, their columns and their manifests.

This is the product's contract with its sources (an event tracking plan). A feed's day is a folder
``<landing>/<market>/<feed>/ds=YYYY-MM-DD`` of arrival, with data files (``.csv``, ``.csv.gz``,
``.jsonl``, ``.jsonl.gz``, ``.parquet``) and one or more manifests (``_manifest*.json``) that name
each file with its rows, bytes and SHA-256. Files are immutable; late files come with a manifest
of their own.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.contract import make_params
from jobs.errors import LandingError
from jobs.settings import Market

SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")
ACTIONS = (
    "click",
    "view",
    "favourite",
    "add_to_cart",
    "purchase",
    "like",
    "dislike",
    "comment",
    "share",
    "not_interested",
    "block_author",
    "follow_author",
    "unfollow_author",
    "already_purchased",
    "login",
    "search",
)
_SHIPPED = sorted(path.stem for path in (Path(__file__).parents[1] / "models" / "surfaces").glob("*.yaml"))
SURFACES = tuple(dict.fromkeys(("feed", "search", "detail", *_SHIPPED)))
"""Every market's surfaces: those without lists of their own and the shipped ones; `allowed` adds the market's own."""
SLOT_TYPES = ("organic", "exploration", "curated", "ad")


@dataclass(frozen=True)
class Field:
    """One delivered column.

    Parameters
    ----------
    ident
        The id's kind (``user``, ``item`` or ``creator``): silver replaces it by the surrogate key.
    required
        A row without a value is quarantined.
    low, high, values
        Bounds; a row outside is quarantined.
    keep
        False: read for a derived column only and not kept after silver, nor in quarantine (raw coordinates).
    """

    name: str
    type: str
    description: str
    ident: str | None = None
    required: bool = False
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] | None = None
    subject: bool = False
    sensitive: bool = False
    unit: str | None = None
    keep: bool = True


@dataclass(frozen=True)
class Feed:
    """A landing table.

    ``facts`` happen at ``time`` and belong to that day, however late they arrive (up to the late
    limit); ``state`` rows replace what was known of their ``key`` from their arrival day on, unless they
    have a ``time`` and were said before it.
    ``needed`` feeds stop the night where they have not come in time; others are gone without, which the
    report says. A market's file may say otherwise (`waits`).
    """

    name: str
    description: str
    mode: str
    key: Sequence[str]
    fields: Sequence[Field]
    time: str | None = None
    needed: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.fields)

    def field(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        raise LandingError(f"Feed {self.name} has no column {name!r}; it has {list(self.names)}.")


def _user(required: bool = True) -> Field:
    return Field("user_id", "string", "The user, by the source's id.", "user", required, subject=True)


def _item(required: bool = True) -> Field:
    return Field("item_id", "string", "The item, by the source's id.", "item", required)


def _time(name: str, description: str, required: bool = True) -> Field:
    return Field(name, "timestamp", description + " ISO 8601; UTC where it has no offset.", required=required)


def allowed(field: Field, market: Market) -> tuple[str, ...]:
    """What a value of the column must be one of, empty where anything goes: a surface may be the market's own."""
    own = market.surfaces if field.values and field.name == "surface" else ()
    return tuple(dict.fromkeys((*(field.values or ()), *own)))


INTRADAY = "intraday"
"""Parts of this name, or that begin so, are deliveries during the day: they do not complete it."""
TERMINALS = ("app", "mini_program", "h5")
_DWELL_DAY_MS = 86_400_000
_DONE = "What was done; author actions are on an item, and mean its creator."

FEEDS: tuple[Feed, ...] = (
    Feed(
        "users",
        "People, as they were last known.",
        "state",
        ("user_id",),
        (
            _user(),
            _time("registered_at", "When the person joined.", required=False),
            Field("birth_year", "int", "Year of birth.", low=1900, high=2030, sensitive=True, subject=False),
            Field("age_band", "string", "Age band, where the year of birth is not known.", sensitive=True),
            Field("gender", "string", "Gender as stated.", sensitive=True),
            Field("income_band", "string", "Income band.", sensitive=True),
            Field("region", "string", "Region of residence."),
            Field("city_tier", "int", "Tier of the city, 1 is largest.", low=1, high=6),
            Field("device", "string", "Usual device."),
            Field("language", "string", "Language tag, BCP 47."),
        ),
    ),
    Feed(
        "items",
        "What can be recommended, as last known.",
        "state",
        ("item_id",),
        (
            _item(),
            Field("title", "string", "Title that people see.", required=True),
            Field("description", "string", "Longer text."),
            Field("category", "string", "Primary category.", required=True),
            Field("subcategory", "string", "Finer category."),
            Field("brand", "string", "Brand."),
            Field("creator_id", "string", "Creator, seller or manufacturer.", "creator"),
            Field("content_type", "string", "Kind of content: product, video, article, service."),
            Field("duration_ms", "bigint", "Length of playable content.", low=0, unit="ms"),
            Field("price_minor", "bigint", "Price in minor units of the market's currency.", low=0, unit="minor"),
            Field("stock", "int", "Units in stock; null where stock is no limit.", low=0),
            Field("status", "string", "active, or delisted.", values=("active", "delisted")),
            Field("regions", "string", "Regions where it may be shown, separated by |; null is everywhere."),
            Field("age_limit", "int", "Least age in years to see it.", low=0, high=99, unit="years"),
            Field("place", "string", "Place (business district) it belongs to."),
            _time("created_at", "When it was first offered.", required=False),
        ),
        needed=True,
    ),
    Feed(
        "creators",
        "Authors, sellers, manufacturers.",
        "state",
        ("creator_id",),
        (
            Field("creator_id", "string", "The creator, by the source's id.", "creator", True),
            Field("name", "string", "Name that people see."),
            Field(
                "stage",
                "string",
                "Stage as the source knows it: novice, waist, head.",
                values=("novice", "waist", "head"),
            ),
            Field("category", "string", "Main category."),
            Field("region", "string", "Region."),
            Field("followers", "bigint", "Followers.", low=0, unit="people"),
            _time("joined_at", "When the creator joined.", required=False),
        ),
    ),
    Feed(
        "impressions",
        "What was shown to whom, where and why.",
        "facts",
        ("impression_id",),
        (
            Field("impression_id", "string", "Id of the showing.", required=True),
            Field("request_id", "string", "The page or refresh it was part of."),
            _user(),
            _item(),
            _time("at", "When it was shown."),
            Field("surface", "string", "Where it was shown.", required=True, values=SURFACES),
            Field("position", "int", "Place in the list, from 1.", required=True, low=1, high=10_000),
            Field("slot_type", "string", "organic, exploration, curated or ad.", values=SLOT_TYPES),
            Field("terminal", "string", "app, mini_program or h5.", values=TERMINALS),
            Field("policy", "string", "Name of the policy that chose it."),
            Field("propensity", "double", "Probability with which the policy chose it.", low=0, high=1),
            Field("load_ms", "int", "Time to load.", low=0, high=600_000, unit="ms"),
            Field("place", "string", "Place hint: home, work, transit, or a district."),
            Field("latitude", "double", "Latitude; silver keeps a cell of 500 m.", low=-90, high=90, keep=False),
            Field("longitude", "double", "Longitude; silver keeps a cell of 500 m.", low=-180, high=180, keep=False),
            Field("swipe_speed", "double", "Speed of the swipe past it.", low=0, unit="screens/s"),
        ),
        time="at",
    ),
    Feed(
        "events",
        "What people did.",
        "facts",
        ("event_id",),
        (
            Field("event_id", "string", "Id of the event.", required=True),
            _user(),
            _item(required=False),
            _time("at", "When it happened."),
            Field("action", "string", _DONE, required=True, values=ACTIONS),
            Field("impression_id", "string", "The showing that led to it."),
            Field("request_id", "string", "The page or refresh it was part of."),
            Field("surface", "string", "Where.", values=SURFACES),
            Field("terminal", "string", "app, mini_program or h5.", values=TERMINALS),
            Field("dwell_ms", "bigint", "Time spent.", low=0, high=_DWELL_DAY_MS, unit="ms"),
            Field("play_ratio", "double", "Part played, 1 is to the end.", low=0, high=100),
            Field("rating", "double", "Rating given with it, 0 to 5.", low=0, high=5),
            Field("query", "string", "Search text."),
            Field("place", "string", "Place hint."),
        ),
        time="at",
    ),
    Feed(
        "orders",
        "Order lines, sales and refunds.",
        "facts",
        ("order_line_id",),
        (
            Field("order_line_id", "string", "Id of the line.", required=True),
            Field("order_id", "string", "Order (basket) of the line.", required=True),
            _user(),
            _item(),
            _time("at", "When it was paid or refunded."),
            Field("kind", "string", "sale or refund.", required=True, values=("sale", "refund")),
            Field("quantity", "int", "Units.", low=0, high=1_000_000),
            Field("amount_minor", "bigint", "Amount paid or given back.", required=True, low=0, unit="minor"),
            Field("discount_minor", "bigint", "Discount within the list price.", low=0, unit="minor"),
            Field(
                "source_system", "string", "Where the line was booked: payment or order.", values=("payment", "order")
            ),
        ),
        time="at",
    ),
    Feed(
        "reviews",
        "Review texts and customer-service texts.",
        "facts",
        ("review_id",),
        (
            Field("review_id", "string", "Id of the text.", required=True),
            _user(),
            _item(required=False),
            _time("at", "When it was written."),
            Field("channel", "string", "review or service.", required=True, values=("review", "service")),
            Field("text", "string", "The text.", required=True, subject=False),
            Field("rating", "double", "Rating given, 0 to 5.", low=0, high=5),
            Field("language", "string", "Language tag, BCP 47."),
        ),
        time="at",
    ),
    Feed(
        "surveys",
        "Answers to surveys.",
        "facts",
        ("survey_id",),
        (
            Field("survey_id", "string", "Id of the answer.", required=True),
            _user(),
            _time("at", "When it was given."),
            Field("kind", "string", "nps or interests.", required=True, values=("nps", "interests")),
            Field("score", "int", "0 to 10, for nps.", low=0, high=10),
            Field("answer", "string", "Chosen categories, separated by |, for interests."),
        ),
        time="at",
    ),
    Feed(
        "campaigns",
        "Campaign periods, as last known.",
        "state",
        ("campaign_id",),
        (
            Field("campaign_id", "string", "Id of the campaign.", required=True),
            Field("name", "string", "Name."),
            Field("kind", "string", "Kind of campaign."),
            _time("starts_at", "First moment."),
            _time("ends_at", "Last moment."),
            Field("segment", "string", "Segment it addresses; null is all."),
        ),
    ),
    Feed(
        "curated",
        "Items that operations want shown.",
        "state",
        ("curated_id",),
        (
            Field("curated_id", "string", "Id of the entry.", required=True),
            _item(),
            Field("surface", "string", "Where.", required=True, values=SURFACES),
            _time("starts_at", "First moment."),
            _time("ends_at", "Last moment."),
            Field("boost", "double", "Boost of the score.", low=0, high=100),
            Field("cap", "int", "Most lists it may enter a day.", low=0),
            Field("approver", "string", "Who approved it.", required=True),
        ),
    ),
    Feed(
        "costs",
        "Costs by day and kind.",
        "facts",
        ("cost_id",),
        (
            Field("cost_id", "string", "Id of the entry.", required=True),
            _time("at", "The day, at its start, that bears the cost."),
            Field("kind", "string", "Kind of cost.", required=True),
            Field("amount_minor", "bigint", "Amount.", required=True, low=0, unit="minor"),
            Field("campaign_id", "string", "Campaign that caused it."),
        ),
        time="at",
    ),
    Feed(
        "consent",
        "Consent, as last given or withdrawn.",
        "state",
        ("user_id", "purpose"),
        (
            _user(),
            Field("purpose", "string", "personalisation or ads.", required=True, values=("personalisation", "ads")),
            Field("granted", "boolean", "Given (true) or withdrawn.", required=True),
            _time("at", "When it was given or withdrawn."),
        ),
        time="at",
    ),
)

BY_NAME = {feed.name: feed for feed in FEEDS}
GONE_WITHOUT = "The feed had not landed: gone without."


@dataclass(frozen=True)
class Wait:
    """How a market waits for a feed.

    Parameters
    ----------
    needed
        A night without it fails; any other feed is gone without.
    wait_hours
        Hours after the end of the day, in the market's time zone, for which a night waits for it.
    """

    needed: bool = False
    wait_hours: float = 8.0


def waits(market: Market) -> dict[str, Wait]:
    """How the market waits for each feed: as its file says (``feeds: {reviews: {wait_hours: 2}}``), else as usual.

    Raises
    ------
    LandingError
        The file names a feed that there is not.
    ContractError
        It gives an option that a feed has not.
    """
    for name in market.feeds:
        feed(name)
    return {
        each.name: make_params(
            Wait, {"needed": each.needed, **market.feeds.get(each.name, {})}, f"market {market.name}, feed {each.name}"
        )
        for each in FEEDS
    }


def feed(name: str) -> Feed:
    """The feed of that name, or an error that lists them all."""
    try:
        return BY_NAME[name]
    except KeyError:
        raise LandingError(f"There is no feed {name!r}; the landing zone has {sorted(BY_NAME)}.") from None


def day_folder(landing: Path, market: str, feed_name: str, ds: dt.date) -> Path:
    return Path(landing) / market / feed_name / f"ds={ds:%Y-%m-%d}"


def sha256(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_manifest(folder: Path, feed_name: str, ds: dt.date, rows: dict[str, int], part: str = "") -> Path:
    """Write the manifest that completes a delivery; ``rows`` maps file names to row counts.

    ``part`` names a later delivery for the same day. The write is atomic, and a manifest that
    is there already is never replaced.
    """
    target = folder / f"_manifest{'.' + part if part else ''}.json"
    if target.exists():
        raise LandingError(f"{target} is there already: landed files are immutable, deliver a later part.")
    files = [
        {"name": name, "rows": count, "bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
        for name, count in sorted(rows.items())
    ]
    body = {"version": 1, "feed": feed_name, "ds": str(ds), "rows": sum(rows.values()), "files": files}
    folder.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(body, indent=1))
    os.replace(partial, target)
    return target


@dataclass(frozen=True)
class LandedFile:
    """A file that a manifest names."""

    path: Path
    rows: int
    bytes: int
    sha256: str


def landed_files(folder: Path) -> list[LandedFile]:
    """Every file that the manifests of a day name, in name order; empty when there is no manifest.

    Raises
    ------
    LandingError
        A manifest cannot be read, or a file is missing, of another size, or of an unknown kind.
    """
    found = _promised(folder)
    for file in found:
        if not file.path.exists():
            raise LandingError(f"{file.path} is named by its manifest but is not there: deliver it again.")
        if not file.path.name.endswith(SUFFIXES):
            raise LandingError(f"{file.path} is of a kind that cannot be read; use one of {SUFFIXES}.")
        if file.path.stat().st_size != file.bytes:
            raise LandingError(
                f"{file.path} has {file.path.stat().st_size} bytes, its manifest says {file.bytes}: deliver it again."
            )
    return sorted(found, key=lambda f: f.path.name)


def _promised(folder: Path) -> list[LandedFile]:
    """Every file that the manifests of a day name, whether it is there or not."""
    found: list[LandedFile] = []
    for manifest in sorted(folder.glob("_manifest*.json")):
        try:
            entries = json.loads(manifest.read_text())["files"]
            found += [LandedFile(folder / e["name"], int(e["rows"]), int(e["bytes"]), e["sha256"]) for e in entries]
        except (ValueError, KeyError, TypeError) as error:
            raise LandingError(f"{manifest} is not a manifest ({error!r}): deliver it again.") from error
    return found


def incomplete(landing: Path, market: str, ds: dt.date, feeds: Iterable[Feed] = FEEDS) -> list[str]:
    """Names of feeds in use by the market (some day landed) that have no completing manifest for ``ds``."""
    root = Path(landing) / market
    used = [f for f in feeds if (root / f.name).is_dir()]
    return [f.name for f in used if not _completing(day_folder(landing, market, f.name, ds))]


def _completing(folder: Path) -> list[Path]:
    manifests = folder.glob("_manifest*.json")
    return [path for path in manifests if not path.name.startswith(f"_manifest.{INTRADAY}")]


def landed_days(landing: Path, market: str, feed_name: str) -> list[dt.date]:
    """Days on which something of a feed has landed, in order."""
    folders = (Path(landing) / market / feed_name).glob("ds=*")
    return sorted(dt.date.fromisoformat(path.name.removeprefix("ds=")) for path in folders)


def landed_rows(landing: Path, market: str, feed_name: str, ds: dt.date) -> int:
    """Rows that the manifests of a day promise, whether their files are still kept or not."""
    return sum(f.rows for f in _promised(day_folder(landing, market, feed_name, ds)))


def first_landed(landing: Path, market: str) -> dt.date | None:
    """The first day on which anything has landed."""
    return min((day for feed in FEEDS for day in landed_days(landing, market, feed.name)[:1]), default=None)
