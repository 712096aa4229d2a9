"""Which sample comes when follows from the position alone: every one once an epoch, sources by their weights."""

from __future__ import annotations

from collections import Counter

import pytest

from farm.errors import UsageError
from farm.training.order import BLOCK, Order, shuffled


@pytest.mark.parametrize("length", [1, 2, 3, 16, 17, 100])
def test_a_shuffle_is_a_permutation(length: int) -> None:
    orders = [[shuffled(number, length, key) for number in range(length)] for key in ("a", "a", "b")]
    assert sorted(orders[0]) == list(range(length))
    assert orders[0] == orders[1]
    assert length < 16 or (orders[0] != orders[2] and orders[0] != list(range(length)))


def test_an_epoch_holds_every_sample_once() -> None:
    order = Order([7], [1.0], seed=3)
    places = [order[position] for position in range(21)]
    for epoch in range(3):
        part = places[7 * epoch : 7 * epoch + 7]
        assert {place.epoch for place in part} == {epoch}
        assert sorted(place.number for place in part) == list(range(7))
    assert [one.number for one in places[:7]] != [one.number for one in places[7:14]]


def test_sources_are_mixed_by_their_weights() -> None:
    order = Order([5, 300, 40], [2.0, 1.0, 1.0], seed=1)
    places = [order[position] for position in range(2 * BLOCK)]
    assert Counter(one.source for one in places[:BLOCK]) == {0: 500, 1: 250, 2: 250}
    assert Counter(one.source for one in places[BLOCK:]) == {0: 500, 1: 250, 2: 250}
    firsts = Counter(one.source for one in places[:100])
    assert min(firsts.values()) > 10
    for source, length in ((0, 5), (1, 300), (2, 40)):
        mine = [one for one in places if one.source == source]
        for epoch in range(len(mine) // length):
            assert sorted(one.number for one in mine if one.epoch == epoch) == list(range(length))


def test_rare_sources_come_too_and_empty_ones_are_refused() -> None:
    order = Order([10, 10, 10], [1.0, 1e-9, 1.0], seed=1)
    assert Counter(order[position].source for position in range(BLOCK))[1] == 1
    with pytest.raises(UsageError, match=r"data.sources\[1\]: has no pair"):
        Order([10, 0], [1.0, 1.0], seed=1)
