"""Where people are: a home and a workplace each, the way between them, districts; as exact as a phone tells.

Latitudes and longitudes are in degrees; 0.01 degrees of latitude are 1.1 km.
"""

from __future__ import annotations

import numpy as np

from jobs.simulator.catalogue import DISTRICTS

CENTRES = np.array(
    [[39.9, 116.4], [31.2, 121.5], [23.1, 113.3], [30.6, 114.3], [30.7, 104.1], [34.3, 108.9], [41.8, 123.4]]
)
"""Latitude and longitude of the regions, in the order of catalogue.REGIONS."""
HOMES_SD, WORKPLACES_SD, PHONE_SD = 0.15, 0.08, 0.0003
_TURN = 2 * np.pi * np.arange(len(DISTRICTS)) / len(DISTRICTS)
_DISTRICTS = 0.1 * np.stack([np.sin(_TURN), np.cos(_TURN)], axis=1)
"""Districts lie on a ring around the centre of their region."""
PLACES = ("home", "work", "transit", *DISTRICTS)
HOME, WORK, TRANSIT, FIRST_DISTRICT = range(4)


def settle(rng: np.random.Generator, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Homes and workplaces of people, who live and work in the same region; ``(people, 2)`` each."""
    n = len(region)
    home = CENTRES[region] + rng.normal(0, HOMES_SD, (n, 2))
    return home, CENTRES[region] + rng.normal(0, WORKPLACES_SD, (n, 2))


def spots(
    rng: np.random.Generator, place: np.ndarray, region: np.ndarray, home: np.ndarray, work: np.ndarray
) -> np.ndarray:
    """Coordinates ``(n, 2)`` of pages opened at a place (index of `PLACES`); in transit is half the way to work."""
    district = CENTRES[region] + _DISTRICTS[np.maximum(place - FIRST_DISTRICT, 0)]
    where = np.choose(np.minimum(place, FIRST_DISTRICT)[:, None], [home, work, (home + work) / 2, district])
    return where + rng.normal(0, PHONE_SD, where.shape)
