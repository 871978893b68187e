"""Small deliveries of the events feed, written by hand."""

from __future__ import annotations

import json

from jobs.landing import day_folder, write_manifest


def event(number, **more):
    row = {"event_id": f"e{number}", "user_id": "u1", "item_id": "i1", "at": "2024-03-14T10:00:00Z", "action": "click"}
    return row | more


def land_events(settings, day, rows):
    folder = day_folder(settings.landing, settings.market.name, "events", day)
    folder.mkdir(parents=True)
    (folder / "part.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    write_manifest(folder, "events", day, {"part.jsonl": len(rows)})
