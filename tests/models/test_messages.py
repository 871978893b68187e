"""Texts: the same codes and names in every language, each row in its reader's."""

from __future__ import annotations

import pytest
import yaml
from pyspark.sql import functions as F

from jobs.errors import ContractError, SettingsError
from jobs.settings import Market
from models.messages import language_of, messages, say
from models.reasons import declared, suggested
from models.recommendations import Params

GOOD = {"popular": {"text": "By {people}", "detail": "In all {people}"}}


def test_every_code_is_said_in_every_language_and_every_message_is_used(spark):
    found = messages()
    assert set(found) >= {"en", "zh"}
    codes = {reason.code for reason in [*declared(Params()), suggested()]}
    assert all(set(of) == codes for of in found.values())


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({}, r"do not both have \['popular'\]"),
        ({"popular": {"text": "Von {people}"}}, r"popular has \['text'\]; it needs \['text', 'detail'\]"),
        ({"popular": {"text": "Beliebt", "detail": "{people}"}}, r"popular.text uses \[\], en.yaml \['people'\]"),
    ],
)
def test_a_language_that_says_less_is_refused(tmp_path, other, said):
    for name, codes in (("en", GOOD), ("fr", other)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(codes))
    with pytest.raises(ContractError, match=said):
        messages(tmp_path)


def test_the_language_is_the_reader_s_where_there_are_messages_in_it(frame):
    rows = frame("at int, tag string", list(enumerate(["en-GB", "ZH_hans", "fr", None, ""])))
    said = rows.select("at", language_of(F.col("tag"), Market("demo", language="zh")).alias("l")).orderBy("at")
    assert [r["l"] for r in said.collect()] == ["en", "zh", "zh", "zh", "zh"]


def test_a_market_without_messages_in_its_language_is_told(spark):
    with pytest.raises(SettingsError, match="Market demo: language 'tlh' has no messages; there are"):
        language_of(F.col("tag"), Market("demo", language="tlh"))


def test_names_are_filled_in_each_row_s_language(frame):
    rows = frame("l string, people int", [("en", 5), ("zh", 7), ("en", None)])
    text = say("popular", "text", F.col("l"), {"people": F.col("people")})
    assert [r["t"] for r in rows.select(text.alias("t")).collect()] == [
        "Liked by 5 people this week",
        "本周有7人喜欢",
        None,
    ]


def test_a_text_with_a_name_that_it_is_not_given_is_refused(spark):
    with pytest.raises(ContractError, match=r"Message en: popular.text uses \['people'\]; it is given \['users'\]"):
        say("popular", "text", F.lit("en"), {"users": F.lit(1)})
