"""A seeded world of people, things and behaviour, whose truth is known: landing files to build and test with."""

from jobs.simulator.config import WorldConfig, demo_market
from jobs.simulator.policy import ReleasedLists
from jobs.simulator.run import simulate
from jobs.simulator.truth import world_of
from jobs.simulator.world import World

__all__ = ["ReleasedLists", "World", "WorldConfig", "demo_market", "simulate", "world_of"]
