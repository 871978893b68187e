from __future__ import annotations

import math

import pytest
from pyspark.sql import functions as F

from features.grid import cell_of, near

BEIJING, SINGAPORE, TROMSO = (39.9042, 116.4074), (1.3521, 103.8198), (69.6492, 18.9553)
METRE = 1 / 111_320


@pytest.fixture
def cells(spark):
    def make(*points: tuple) -> list:
        rows = spark.createDataFrame([(n, *p) for n, p in enumerate(points)], "n int, lat double, lon double")
        return [r[0] for r in rows.orderBy("n").select(cell_of(F.col("lat"), F.col("lon"))).collect()]

    return make


@pytest.fixture
def touching(spark):
    def make(*pairs: tuple) -> list:
        rows = spark.createDataFrame([(n, *p) for n, p in enumerate(pairs)], "n int, a bigint, b bigint")
        return [r[0] for r in rows.orderBy("n").select(near(F.col("a"), F.col("b"))).collect()]

    return make


def moved(point, north_m, east_m):
    latitude, longitude = point
    return latitude + north_m * METRE, longitude + east_m * METRE / math.cos(math.radians(latitude))


@pytest.mark.parametrize("city", [BEIJING, SINGAPORE, TROMSO], ids=["Beijing", "Singapore", "Tromso"])
def test_cells_are_500_m_wide_and_high_everywhere(cells, city):
    steps = range(0, 10_000, 50)
    # 10 km hold 20 cells of 501 m, and parts of one more at an end
    assert 20 <= len(set(cells(*[moved(city, 0, m) for m in steps]))) <= 21
    assert 20 <= len({cell // 100_000 for cell in cells(*[moved(city, m, 0) for m in steps])}) <= 21


@pytest.mark.parametrize("city", [BEIJING, SINGAPORE, TROMSO], ids=["Beijing", "Singapore", "Tromso"])
def test_a_point_is_near_all_within_500_m_and_none_beyond_1500_m(cells, touching, city):
    ring = [(m * math.cos(a), m * math.sin(a)) for m in (400, 1_600) for a in (x * math.pi / 8 for x in range(16))]
    own, *others = cells(city, *[moved(city, n, e) for n, e in ring])
    found = touching(*[(own, other) for other in others])
    assert found == [True] * 16 + [False] * 16


def test_the_ends_of_the_earth(cells, touching):
    east, west, pole, south = cells((0.0, 180.0), (0.0, -179.9999), (90.0, 10.0), (-90.0, 10.0))
    assert east == west
    # the northernmost of 40,000 rows has round(80,000 x cos 89.99775) = 3 columns; 190 / 360 is in the second
    assert (pole, south) == (39_999 * 100_000 + 1, 1)
    nearly = cells((0.0, 179.9999))[0]
    assert touching((nearly, east), (own := pole, own), (pole, None), (None, None)) == [True, True, False, False]


def test_half_a_point_is_none(cells):
    assert cells((None, 1.0), (1.0, None), (None, None), (1.0, 1.0))[:3] == [None] * 3
