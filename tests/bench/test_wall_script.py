"""The bench of the wall clock: parts of a film that is played several times are counted as often."""

from __future__ import annotations

import importlib

import pytest

from .scripts import bench_module


def test_the_wall_is_held_against_the_median_of_the_parts_times_how_often_the_film_is_played() -> None:
    with bench_module("wall") as wall:
        alone = importlib.import_module("alone")
        once = [alone.Cost(network_s=10, decode_s=0.5, encode_s=network) for network in (1, 1.5, 2)]
        costs = {alone.BUSY: [wall.scaled(cost, 4) for cost in once]}
        found = {alone.BUSY: wall.wall_by(costs[alone.BUSY], 25.2, 2)}
        assert found[alone.BUSY] == pytest.approx(25.2 / 24)
        assert wall.rows(costs, found) == [
            (alone.BUSY, "40.0 to 40.0", "2.0 to 2.0", "4.0 to 8.0", "1.050"),
        ]
