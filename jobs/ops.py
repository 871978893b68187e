"""The logs of the pipeline: append-only tables, written without Spark."""

from __future__ import annotations

from jobs.contract import Column, Table

RUN = Table(
    name="ops.run",
    group="audit",
    owner="platform",
    description="One row per table and day that a run built: what it read, wrote, refused, and how long it took.",
    columns=[
        Column("run_id", "string", "The run: an Airflow run id or a command's."),
        Column("attempt", "string", "The attempt within the run that did it."),
        Column("table", "string", "Table or artifact."),
        Column("status", "string", "published or failed."),
        Column("rows", "bigint", "Rows in the published day.", unit="rows"),
        Column("quarantined", "bigint", "Rows refused by a rule.", unit="rows"),
        Column("duplicates", "bigint", "Rows that were delivered before.", unit="rows"),
        Column("late", "bigint", "Rows too late for their day.", unit="rows"),
        Column("reconciliation", "string", "JSON: per arrival day, rows written, quarantined, duplicate, late."),
        Column("seconds", "double", "Wall time of the whole build, shared by the days of a range.", "s", digits=3),
        Column("files", "int", "Files of the published day."),
        Column("bytes", "bigint", "Size of the published day.", unit="bytes"),
        Column("version", "bigint", "Delta version that the publish made."),
        Column("inputs", "string", "JSON: Delta version or artifact path of every input."),
        Column("params_hash", "string", "Hash of the node's parameters."),
        Column("code_version", "string", "Hash of the project's source."),
        Column("config_hash", "string", "Hash of the market's configuration."),
        Column("peak_memory", "bigint", "Most memory that the building process held so far; Spark apart.", "bytes"),
        Column("message", "string", "Why it failed, or what is worth knowing of what was delivered."),
        Column("at_ms", "bigint", "When it ended.", unit="ms"),
    ],
    keys=["run_id", "table"],
)

ARTIFACT = Table(
    name="ops.artifact",
    group="audit",
    owner="platform",
    description="Every fitted artifact: where it is, its checksum, what it was made from.",
    columns=[
        Column("artifact", "string", "Name."),
        Column("path", "string", "Folder."),
        Column("checksum", "string", "SHA-256 over its files."),
        Column("facts", "string", "JSON: what its build reported (counts, recall, parameters)."),
        Column("inputs", "string", "JSON: Delta version or artifact path of every input."),
        Column("run_id", "string", "The run that made it."),
        Column("at_ms", "bigint", "When.", unit="ms"),
    ],
    keys=["artifact", "checksum"],
)

MOVES_POINTER = ("nightly", "patch", "rollback")
"""Kinds of releases that readers get from then on."""
RELEASE = Table(
    name="ops.release",
    group="serving",
    owner="platform",
    description="Every release of lists; the newest row whose kind moves the pointer names the current one.",
    columns=[
        Column("release_id", "string", "Day and content hash of the lists."),
        Column("kind", "string", "nightly, backfill (never current), patch or rollback."),
        Column("sequence", "bigint", "Order of the rows."),
        Column("model", "string", "Registered model, empty for popularity."),
        Column("model_version", "string", "Its version."),
        Column("index_path", "string", "Nearest-neighbour index of the items that was used."),
        Column("tables", "string", "JSON: serving table -> rows and Delta version."),
        Column("run_id", "string", "The run that published it."),
        Column("reason", "string", "Why, for a patch or a rollback."),
        Column("at_ms", "bigint", "When.", unit="ms"),
        Column("base_release_id", "string", "The night's release whose lists a patch changed; else null."),
        Column("artifacts", "string", "JSON: every artifact that candidates and lists were made with -> its folder."),
    ],
    keys=["sequence"],
)

TAKEDOWN = Table(
    name="ops.takedown",
    group="features",
    owner="platform",
    description="Items that were ordered off every list, and back; the newest row of an item holds, from its day on.",
    columns=[
        Column("item_id", "bigint", "Surrogate item key."),
        Column("original_id", "string", "The source's id."),
        Column("active", "boolean", "True takes it down, false lifts that."),
        Column("reason", "string", "Why."),
        Column("run_id", "string", "The run that ordered it."),
        Column("at_ms", "bigint", "When.", unit="ms"),
    ],
    keys=["item_id", "at_ms"],
)

FEEDBACK = Table(
    name="ops.feedback",
    group="serving",
    owner="platform",
    description="Every look for feedback and takedowns since the current release: what was read, what it changed.",
    columns=[
        Column("run_id", "string", "The run that looked."),
        Column("base_release_id", "string", "The night's release whose lists were served."),
        Column("release_id", "string", "What is served since."),
        Column("read", "string", "Hash of the landed files and takedowns that were read."),
        Column("files", "int", "Landed files that were read."),
        Column("takedowns", "int", "Items that are taken down."),
        Column("blocks", "bigint", "Pairs of user and item that feedback excludes."),
        Column("withdrawn", "bigint", "Users who withdrew consent to personalised lists."),
        Column("users", "bigint", "Users whose lists changed."),
        Column("seconds", "double", "How long it took.", "s", digits=3),
        Column("at_ms", "bigint", "When it ended.", unit="ms"),
    ],
    keys=["run_id", "at_ms"],
)

WITHHELD = Table(
    name="ops.withheld",
    group="serving",
    owner="platform",
    description="What looks for feedback keep from a user since the night's release: an item that was refused, whose "
    "creator was blocked or that was bought; without an item every list of the user's own, as consent was withdrawn.",
    columns=[
        Column("base_release_id", "string", "The night's release."),
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("item_id", "bigint", "Surrogate item key; null: all personal lists."),
        Column("run_id", "string", "The run that looked."),
        Column("at_ms", "bigint", "When.", unit="ms"),
    ],
    keys=[],
)

INDEX = Table(
    name="ops.index",
    group="fit",
    owner="candidates",
    description="Every nearest-neighbour index that was built: what it holds, how it was measured, where it is.",
    columns=[
        Column("artifact", "string", "Name of the index."),
        Column("path", "string", "Folder with the index, its id map and index.json."),
        Column("checksum", "string", "SHA-256 over the folder's files."),
        Column("kind", "string", "flat, hnsw, ivf or ivfpq."),
        Column("count", "bigint", "Vectors.", unit="vectors"),
        Column("dimension", "int", "Components of a vector."),
        Column("metric", "string", "cosine or inner_product."),
        Column("parameters", "string", "JSON: the parameters of its kind, as reached by the measurement."),
        Column("recall_at_100", "double", "Share of the exact 100 nearest that it finds; null when empty.", digits=4),
        Column("ids_sha256", "string", "SHA-256 of the id map."),
        Column("vectors_sha256", "string", "SHA-256 of the vectors that it was built from."),
        Column("build_seconds", "double", "Time of the build.", "s", digits=3),
        Column("run_id", "string", "The run that built it."),
        Column("at_ms", "bigint", "When.", unit="ms"),
    ],
    keys=["artifact", "checksum", "at_ms"],
)

MODEL_PIN = Table(
    name="ops.model_pin",
    group="serving",
    owner="model-life",
    description="The model that each day and role used; the newest row of a day holds.",
    columns=[
        Column("role", "string", "What the model is for: ranker."),
        Column("model", "string", "Registered name; empty: popularity, no model existed yet."),
        Column("version", "string", "Version in the registry."),
        Column("path", "string", "Local copy of the model's files."),
        Column("checksum", "string", "SHA-256 over its files."),
        Column("run_id", "string", "The run that pinned it."),
        Column("reason", "string", "Why, for a deliberate re-pin."),
        Column("at_ms", "bigint", "When.", unit="ms"),
    ],
    keys=["role", "at_ms"],
)


def _change(of: str) -> list[Column]:
    said = f"{of}, the week or two that ended on ds against the reference week"
    return [
        Column(
            f"{of.lower()}_change", "double", f"Relative change of {said}; null where it cannot be judged.", digits=6
        ),
        Column(f"{of.lower()}_lo", "double", "Lower end of its 95 % interval.", digits=6),
        Column(f"{of.lower()}_hi", "double", "Upper end of it.", digits=6),
    ]


OBJECTIVE_WEIGHTS = Table(
    name="ops.objective_weights",
    group="serving",
    owner="ranking",
    description="The fusion weights that each day used for each content type, with the figures and the reason; the "
    "newest row of a day holds.",
    columns=[
        Column("content_type", "string", "Kind of content."),
        Column("ctr", "double", "Weight of pCTR.", digits=6),
        Column("cvr", "double", "Weight of pCVR by pCTR.", digits=6),
        Column("dwell", "double", "Weight of the expected dwell.", digits=6),
        Column("first_ctr", "double", "Weight of pCTR at which it started.", digits=6),
        Column("first_cvr", "double", "Likewise of pCVR by pCTR.", digits=6),
        Column("first_dwell", "double", "Likewise of the expected dwell.", digits=6),
        Column("move", "string", "first, lowered, restored, held, or reset."),
        Column("reason", "string", "Why, with the figures."),
        Column("ctr_rate", "double", "Clicks by showing in the week that ended on ds.", digits=6),
        Column("cvr_rate", "double", "Sales by click in it.", digits=6),
        Column("dwell_rate", "double", "Seconds by click in it.", "s", digits=6),
        *[column for name in ("CTR", "CVR", "Dwell") for column in _change(name)],
        Column("reference_ds", "date", "Last day of the week that rates are held against; null: a week before ds."),
        Column("moved_ds", "date", "Day of the last move."),
        Column("returned", "boolean", "That move was one back."),
        Column("relapses", "int", "Moves away that followed one back."),
        Column("run_id", "string", "The run that decided."),
        Column("at_ms", "bigint", "When.", unit="ms"),
    ],
    keys=["content_type", "at_ms"],
)

QUARANTINE = Table(
    name="ops.quarantine",
    group="silver",
    owner="platform",
    description="Rows that a rule refused, as delivered, with the rule, the run and the source file.",
    columns=[
        Column("source", "string", "Silver table that refused the row."),
        Column("rule", "string", "The rule, with its column."),
        Column("arrival_ds", "date", "Day on which the row was delivered."),
        Column("file", "string", "File that delivered it."),
        Column("row", "string", "The row as JSON without coordinates, or the line that could not be parsed."),
        Column("run_id", "string", "The run that refused it."),
    ],
    keys=[],
    replace_by="source",
)

DATA_QUALITY = Table(
    name="audit.data_quality",
    group="audit",
    owner="quality",
    description="Every check of every gate: what was expected of a staged table, and what was found.",
    columns=[
        Column("run_id", "string", "The run whose staged rows were judged."),
        Column("gate", "string", "The group that was held back until its checks ran."),
        Column("table", "string", "The judged table."),
        Column("check", "string", "The rule with its bounds."),
        Column("column", "string", "The judged column, where the rule is about one."),
        Column(
            "verdict_if_failed", "string", "fail stops the publish, warn is reported; what could not be judged is fail."
        ),
        Column("success", "boolean", "Whether it held."),
        Column("observed", "string", "What was found, in words."),
        Column("unexpected", "bigint", "Rows that break the rule.", unit="rows"),
        Column("rows", "bigint", "Rows that were judged.", unit="rows"),
        Column("waiver", "string", "Who let the failure pass, until when and why; null where nobody did."),
        Column("at_ms", "bigint", "When.", unit="ms"),
    ],
    keys=["run_id", "gate", "table", "check", "at_ms"],
)

WAIVER = Table(
    name="ops.waiver",
    group="audit",
    owner="quality",
    description="Failures of one check of one table that a person lets pass, from ds to an end.",
    columns=[
        Column("table", "string", "The judged table."),
        Column("check", "string", "The check, as in audit.data_quality."),
        Column("until", "date", "Last night on which it holds."),
        Column("person", "string", "Who answers for it."),
        Column("reason", "string", "Why."),
        Column("at_ms", "bigint", "When it was given.", unit="ms"),
    ],
    keys=["table", "check", "at_ms"],
)

HOLD = Table(
    name="ops.hold",
    group="serving",
    owner="platform",
    description="Publishing of releases stopped and started by a person; the newest row holds.",
    columns=[
        Column("action", "string", "hold or resume."),
        Column("person", "string", "Who did it."),
        Column("reason", "string", "Why."),
        Column("at_ms", "bigint", "When.", unit="ms"),
    ],
    keys=["at_ms"],
)

ALERT = Table(
    name="ops.alert",
    group="audit",
    owner="platform",
    description="Every alert that was delivered, so that none is sent twice.",
    columns=[
        Column("kind", "string", "page, digest or late."),
        Column("key", "string", "What it is about; the same key of a day is sent once."),
        Column("owner", "string", "Who was alerted."),
        Column("said", "string", "The sentence."),
        Column("at_ms", "bigint", "When.", unit="ms"),
    ],
    keys=["kind", "key", "at_ms"],
)

ALERT_OWED = Table(
    name="ops.alert_owed",
    group="audit",
    owner="platform",
    description="Pages that the receiver did not take; the next look sends those that ops.alert does not have.",
    columns=[
        Column("key", "string", "What it is about, as in ops.alert."),
        Column("owner", "string", "Who is to be alerted."),
        Column("table", "string", "The table or task that it is about."),
        Column("said", "string", "The sentence."),
        Column("figure", "string", "What was found."),
        Column("threshold", "string", "What it is held against."),
        Column("link", "string", "Where to read on."),
        Column("at_ms", "bigint", "When the receiver failed.", unit="ms"),
    ],
    keys=["key", "at_ms"],
)

FINDING = Table(
    name="audit.finding",
    group="audit",
    owner="quality",
    description="Findings of reviews and flags of people, from open to answered; the newest row of a finding holds.",
    columns=[
        Column("finding", "string", "Id: the same cause is the same finding in every review."),
        Column("kind", "string", "fairness, counterfactual, diversity, health, drift, skew or bias_flag."),
        Column("review", "string", "weekly or quarterly; empty for a flag."),
        Column("status", "string", "open or answered."),
        Column("severity", "string", "low, medium or high."),
        Column("owner", "string", "Who has to answer."),
        Column("due", "date", "Day by which it is to be answered."),
        Column("subject", "string", "What it is about: a table, a group, a list."),
        Column("said", "string", "What was found or flagged, in words."),
        Column("answer", "string", "What was answered."),
        Column("person", "string", "Who flagged or answered it.", subject=True),
        Column("at_ms", "bigint", "When.", unit="ms"),
    ],
    keys=["finding", "at_ms"],
)

ETHICS_REVIEW = Table(
    name="audit.ethics_review",
    group="audit",
    owner="quality",
    description="The ethics review of each version of a model that was pinned; the newest row of a version holds.",
    columns=[
        Column("model", "string", "Registered name."),
        Column("version", "string", "Version in the registry."),
        Column("status", "string", "due, passed or refused."),
        Column("evidence", "string", "JSON: the audited figures that the review is about."),
        Column("person", "string", "Who reviewed it; empty while it is due.", subject=True),
        Column("reason", "string", "Their words."),
        Column("at_ms", "bigint", "When.", unit="ms"),
    ],
    keys=["model", "version", "at_ms"],
)

BACKFILL = Table(
    name="ops.backfill",
    group="audit",
    owner="platform",
    description="What each managed backfill would change, by table and day, before it was swapped in.",
    columns=[
        Column("backfill_id", "string", "The run that staged it."),
        Column("table", "string", "Table."),
        Column("rows_live", "bigint", "Rows of the day that readers had.", unit="rows"),
        Column("rows_staged", "bigint", "Rows of the day as rebuilt.", unit="rows"),
        Column("rows_added", "bigint", "Rows whose key is new.", unit="rows"),
        Column("rows_removed", "bigint", "Rows whose key is gone.", unit="rows"),
        Column("rows_changed", "bigint", "Rows of the same key with other content.", unit="rows"),
        Column("changed_share", "double", "Added, removed and changed rows by the larger number of rows.", digits=6),
        Column("figures", "string", "JSON: number column -> its sum live and staged, where they differ."),
        Column("at_ms", "bigint", "When it was compared.", unit="ms"),
    ],
    keys=["backfill_id", "table", "at_ms"],
)

LOGS = (
    ALERT,
    ALERT_OWED,
    ARTIFACT,
    BACKFILL,
    DATA_QUALITY,
    ETHICS_REVIEW,
    FEEDBACK,
    FINDING,
    HOLD,
    INDEX,
    MODEL_PIN,
    OBJECTIVE_WEIGHTS,
    QUARANTINE,
    RELEASE,
    RUN,
    TAKEDOWN,
    WAIVER,
    WITHHELD,
)
BY_NAME = {log.name: log for log in LOGS}
