"""The bench of the wall clock: parts of a film that is played several times are counted as often."""

from __future__ import annotations

import importlib

from .scripts import bench_module


def test_the_wall_is_held_against_the_median_of_the_parts_times_how_often_the_film_is_played() -> None:
    with bench_module("wall") as wall:
        alone = importlib.import_module("alone")
        once = [alone.Cost(network_s=10, decode_s=0.5, encode_s=network) for network in (1, 1.5, 2)]
        costs = {alone.BUSY: [wall.scaled(cost, 4) for cost in once]}
        *_, line = wall.cost_table(costs, 63.0, 2, "the parts")
        assert line.endswith("| 24.00 | 2.625 |")
        (held,) = wall.wall_limits(63.0, costs, 2)
        assert (held.found, held.holds) == (2.625, False)
        assert wall.wall_limits(59.9, costs, 2) == [], "too short to be held to it"
