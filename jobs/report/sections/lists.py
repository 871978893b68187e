"""The first places of three users' lists, as people see them."""

from __future__ import annotations

from typing import Any

from jobs.report.night import Night
from jobs.report.page import folded, table
from jobs.report.section import Section
from jobs.report.sections import release
from jobs.report.terminal import grid, plain

USERS, LIST_LENGTH = 3, 10
TABLE = "serving.recommendations"


def gather(night: Night) -> list[dict[str, Any]]:
    """Three users' lists by original ids, with titles and main reasons.

    The users are the first, the middle and the last by surrogate key: a key is a hash, so they are a
    sample that any rerun draws again.
    """
    made = release.gather(night)
    if made is None:
        return []
    of_release = [("release_id", "=", made["release_id"])]
    users = sorted({row["user_id"] for row in night.read(TABLE, ["user_id"], [*of_release, ("rank", "=", 1)])})
    chosen = list(dict.fromkeys(users[at] for at in (0, len(users) // 2, len(users) - 1)))[:USERS] if users else []
    if not chosen:
        return []
    columns = ["surface", "user_id", "rank", "item_id", "channel", "slot_type", "reasons"]
    theirs = [*of_release, ("user_id", "in", chosen), ("rank", "<=", LIST_LENGTH)]
    rows = sorted(night.read(TABLE, columns, theirs), key=lambda r: (r["surface"], r["user_id"], r["rank"]))
    people = night.names("silver.users", "user_id", chosen, "original_id")
    items = night.names("silver.items", "item_id", {r["item_id"] for r in rows}, "original_id", "title")
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["surface"], row["user_id"]), []).append(place(row, items.get(row["item_id"], {})))
    return [
        {"surface": surface, "user": people.get(user, {}).get("original_id", str(user)), "items": shown}
        for (surface, user), shown in found.items()
    ]


def place(row: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    reasons = row["reasons"] or []
    return {
        "rank": row["rank"],
        "item": item.get("original_id", str(row["item_id"])),
        "title": item.get("title", ""),
        "channel": row["channel"],
        "slot_type": row["slot_type"],
        "reason": reasons[0]["text"] if reasons else "",
    }


def html(lists: list[dict[str, Any]]) -> str:
    return "".join(
        folded(
            f"User {each['user']}, {each['surface']}",
            table(
                f"List of user {each['user']}, {each['surface']}",
                ["place", "title", "item", "channel", "why"],
                [[i["rank"], i["title"], i["item"], i["channel"] or "", i["reason"]] for i in each["items"]],
            ),
        )
        for each in lists
    )


def text(lists: list[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for each in lists:
        rows = [[str(i["rank"]), i["title"] or i["item"], i["channel"] or "", i["reason"]] for i in each["items"]]
        lines += [
            f"  User {plain(each['user'])}, {plain(each['surface'])}",
            *grid(["#", "title", "channel", "why"], rows, (0,)),
        ]
    return lines


SECTION = Section("Lists of three users", 160, gather, html, text)
