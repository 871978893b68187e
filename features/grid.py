"""A grid over the Earth with cells of about 500 m: what is left of coordinates after silver.

Rows are 0.0045 degrees of latitude. A row has as many columns as keep its cells square, so a cell is as coarse in
Tromsø as in Singapore. A cell is one BIGINT: row x 100,000 + column.
"""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

ROWS = 40_000
_ROOM = 100_000


def cell_of(latitude: Column, longitude: Column) -> Column:
    """The cell of a point in degrees; null where a coordinate is. Longitudes 180 and -180 are the same."""
    row = F.least(F.floor((latitude + 90) / 180 * ROWS), F.lit(ROWS - 1))
    columns = _columns(row)
    turn = F.pmod(longitude + 180, F.lit(360.0)) / 360
    cell = row * _ROOM + F.least(F.floor(turn * columns), columns - 1)
    # least() skips nulls: half a point would be a point at the border
    return F.when(latitude.isNotNull() & longitude.isNotNull(), cell)


def near(cell: Column, other: Column) -> Column:
    """True for the same cell and for those that touch it: a place at a border shows in both. False for nulls."""
    row, other_row = F.floor(cell / _ROOM), F.floor(other / _ROOM)
    apart = F.abs(_turn(cell, row) - _turn(other, other_row))
    beside = F.least(apart, 1 - apart) * _columns(row) <= 1.5
    # in this order: most cells are rows apart, and the rest is not computed then
    return cell.isNotNull() & other.isNotNull() & (F.abs(row - other_row) <= 1) & beside


def _columns(row: Column) -> Column:
    middle = F.radians((row + 0.5) / ROWS * 180 - 90)
    return F.greatest(F.round(F.cos(middle) * 2 * ROWS).cast("bigint"), F.lit(1))


def _turn(cell: Column, row: Column) -> Column:
    """Longitude of a cell's middle, as a part of the full turn."""
    return (cell - row * _ROOM + 0.5) / _columns(row)
