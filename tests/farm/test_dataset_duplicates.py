"""Every near duplicate is found and no other; the kept one is that of the smallest key, in whatever order rows come."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.dataset import duplicates
from farm.dataset.duplicates import NONE, find_duplicates, first_near


def by_all_pairs(hashes: np.ndarray, rank: np.ndarray, near_bits: int) -> np.ndarray:
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    return np.where(distance <= near_bits, rank[None, :], np.iinfo(np.int64).max).min(axis=1)


def clustered(seed: int, count: int, clusters: int, flips: int, width: int = 64) -> np.ndarray:
    """Hashes around some centres, each with up to so many of its lowest `width` bits turned."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**64, clusters, dtype=np.uint64)
    made = centres[rng.integers(0, clusters, count)]
    for _ in range(flips):
        bit = rng.integers(0, width, count).astype(np.uint64)
        made ^= np.where(rng.random(count) < 0.7, np.uint64(1) << bit, np.uint64(0))
    return made


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 300),
    clusters=st.integers(1, 40),
    flips=st.integers(0, 5),
    width=st.sampled_from([5, 20, 64]),
    near_bits=st.integers(0, 3),
    bounds=st.sampled_from([(512, 20), (4, 20), (4, 6)]),
)
def test_it_finds_what_all_pairs_find(
    seed: int, count: int, clusters: int, flips: int, width: int, near_bits: int, bounds: tuple[int, int]
) -> None:
    hashes = clustered(seed, count, clusters, flips, width)
    rank = np.random.default_rng(seed).permutation(count)
    with pytest.MonkeyPatch.context() as patch:  # small groups go the ways of crowded ones
        patch.setattr(duplicates, "_MOST_PAIRED", bounds[0])
        patch.setattr(duplicates, "_MOST_TABLED_BITS", bounds[1])
        np.testing.assert_array_equal(first_near(hashes, rank, near_bits), by_all_pairs(hashes, rank, near_bits))


def table(rows: list[tuple[str, str | None, int | None]]) -> tuple[pa.Array, pa.Array, pa.Array]:
    keys, contents, hashes = zip(*rows, strict=True) if rows else ((), (), ())
    texts = [None if value is None else f"{value:016x}" for value in hashes]
    return pa.array(keys, pa.string()), pa.array(contents, pa.string()), pa.array(texts, pa.string())


ROWS = [
    ("d", "s1", 0b0000),
    ("b", "s2", 0b0011),  # two bits from d and e
    ("e", "s1", 0b0000),  # the same file as d
    ("a", "s3", 1 << 60 | 0xFFFF),
    ("c", None, None),
    ("f", None, None),
    ("g", "s4", 0b0111_1100_0000),
]


def named(rows: list[tuple[str, str | None, int | None]], near_bits: int) -> dict[str, tuple[str | None, str | None]]:
    """key -> keys of its exact and of its near duplicate."""
    found = find_duplicates(*table(rows), near_bits)
    keys = [key for key, _, _ in rows]
    return {
        key: tuple(None if at == NONE else keys[at] for at in (found.exact[n], found.near[n]))
        for n, key in enumerate(keys)
    }  # type: ignore[return-value]


def test_the_smallest_key_is_kept_and_null_is_nobodys_duplicate() -> None:
    assert named(ROWS, 3) == {
        "a": (None, None), "b": (None, None), "c": (None, None), "d": (None, "b"), "e": ("d", "b"),
        "f": (None, None), "g": (None, None),
    }  # fmt: skip
    assert named(ROWS, 1)["e"] == ("d", "d")


def test_the_order_of_rows_decides_nothing() -> None:
    for seed in range(10):
        shuffled = [ROWS[n] for n in np.random.default_rng(seed).permutation(len(ROWS))]
        assert named(shuffled, 3) == named(ROWS, 3)


def test_a_chain_is_not_drawn_together() -> None:
    chain = [("a", "1", 0), ("b", "2", 0b111), ("c", "3", 0b111111)]
    assert named(chain, 3) == {"a": (None, None), "b": (None, "a"), "c": (None, "b")}


def test_nothing_and_chunks_are_taken() -> None:
    assert named([], 3) == {}
    keys, contents, hashes = (pa.chunked_array([part, part[:0]]) for part in table(ROWS))
    whole = find_duplicates(*table(ROWS), 3)
    found = find_duplicates(keys, contents, hashes, 3)
    np.testing.assert_array_equal(found.exact, whole.exact)
    np.testing.assert_array_equal(found.near, whole.near)


@pytest.mark.parametrize("kind", ["random", "equal", "within 17 bits", "within 20 bits around two"])
def test_crowds_do_not_cost_pairs(kind: str) -> None:
    """100 000 hashes; all pairs of them would be five thousand million, a minute and more."""
    rng = np.random.default_rng(1)
    count = 100_000
    made = {
        "random": rng.integers(0, 2**64, count, dtype=np.uint64),
        "equal": np.full(count, 77, np.uint64),
        "within 17 bits": rng.integers(0, 2**17, count, dtype=np.uint64) << np.uint64(20),
        "within 20 bits around two": rng.integers(0, 2**20, count, dtype=np.uint64) | np.uint64(rng.integers(2) << 63),
    }[kind]
    started = time.monotonic()
    found = first_near(made, np.arange(count), 3)
    assert time.monotonic() - started < 20
    assert (found <= np.arange(count)).all()


def test_a_distance_that_is_not_searched_is_refused() -> None:
    with pytest.raises(ValueError, match="near_bits 4"):
        first_near(np.zeros(2, np.uint64), np.arange(2), 4)
