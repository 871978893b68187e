"""What each item is about, as a vector: hashed words of its texts, weighted by their rarity."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between


@dataclass(frozen=True)
class Params:
    """``dimensions`` of the hashed space."""

    dimensions: int = 64


CONTRACT = Table(
    name="features.item_content",
    group="features",
    owner="item-understanding",
    description="Unit vector of each item's title, description, category, brand: signed feature hashing of "
    "words with smoothed inverse document frequency (Weinberger et al., 2009).",
    columns=[
        Column("item_id", "bigint", "Surrogate item key."),
        Column("vector", "array<float>", "Unit vector; equal texts give equal vectors."),
        Column("words", "int", "Different words."),
    ],
    keys=["item_id"],
    inputs=[TableInput("silver.items")],
    checks=[between("words", 1, 100_000)],
)


def build(items: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    text = F.lower(F.concat_ws(" ", "title", "description", "category", "subcategory", "brand"))
    words = F.array_distinct(F.filter(F.split(text, r"[^\p{L}\p{N}]+"), lambda w: w != ""))
    # a category is a word of its own, whatever words it is spelt with
    tagged = F.array_append(words, F.concat(F.lit("category="), F.lower("category")))
    each = items.select("ds", "item_id", F.explode(tagged).alias("word"))
    documents = items.groupBy("ds").agg(F.count(F.lit(1)).alias("documents"))
    rarity = (
        each.groupBy("ds", "word")
        .agg(F.count(F.lit(1)).alias("frequency"))
        .join(F.broadcast(documents), "ds")
        .select("ds", "word", (F.log((1 + F.col("documents")) / (1 + F.col("frequency"))) + 1).alias("idf"))
    )
    hashed = F.xxhash64("word")
    weighted = each.join(rarity, ["ds", "word"]).select(
        "ds",
        "item_id",
        "word",
        F.pmod(hashed, F.lit(params.dimensions)).cast("int").alias("at"),
        F.when(F.shiftrightunsigned(hashed, 63) == 0, F.col("idf")).otherwise(-F.col("idf")).alias("value"),
    )
    cells = weighted.groupBy("ds", "item_id", "at").agg(
        F.sum(F.round("value", 9)).alias("value"), F.count(F.lit(1)).alias("n")
    )
    summed = cells.groupBy("ds", "item_id").agg(
        F.map_from_entries(F.collect_list(F.struct("at", "value"))).alias("cells"),
        F.sqrt(F.sum(F.round(F.col("value") * F.col("value"), 9))).alias("norm"),
        F.sum("n").cast("int").alias("words"),
    )
    place = F.sequence(F.lit(0), F.lit(params.dimensions - 1))
    unit = F.transform(
        place,
        lambda at: F.round(F.coalesce(F.try_divide(F.try_element_at("cells", at), F.col("norm")), F.lit(0.0)), 6).cast(
            "float"
        ),
    )
    return summed.select("ds", "item_id", unit.alias("vector"), "words")
