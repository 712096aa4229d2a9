"""What a room gives back is what was put in, sorted, however little memory it had."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import DiskError
from farm.spill import Room, hashes

KEYS = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 5), max_size=60)


def filled(keys: list[int], bound_bytes: int) -> Room:
    room = Room(("at", "<i4"), bound_bytes=bound_bytes)
    for start in range(0, len(keys), 7):
        piece = np.array(keys[start : start + 7], np.uint64)
        room.add(piece, at=np.arange(start, start + len(piece), dtype=np.int32))
    return room


@pytest.mark.parametrize("bound_bytes", [0, 100, 1 << 20])
@given(keys=KEYS)
def test_records_come_back_sorted_and_equal_keys_in_order(bound_bytes: int, keys: list[int]) -> None:
    with filled(keys, bound_bytes) as room:
        pieces = list(room.iter_sorted())
    found = [(int(key), int(at)) for piece in pieces for key, at in piece]
    assert found == sorted((key, at) for at, key in enumerate(keys))
    assert all(set(one["key"]).isdisjoint(two["key"]) for one, two in pairwise(pieces))


@pytest.mark.parametrize("bound_bytes", [0, 100, 1 << 20])
@given(keys=KEYS, asked=KEYS)
def test_an_index_finds_every_record_of_a_key(bound_bytes: int, keys: list[int], asked: list[int]) -> None:
    with filled(keys, bound_bytes) as room:
        index = room.index()
    wanted = [*asked, *keys[:3]]
    for _ in range(2):  # pages that were let go of are read again
        at, records = index.find(np.array(wanted, np.uint64))
        found = sorted(zip(at.tolist(), records["at"].tolist(), strict=True))
        assert found == sorted((a, b) for a, one in enumerate(wanted) for b, two in enumerate(keys) if one == two)


def test_scratch_has_no_name_and_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_SCRATCH_DIR", str(tmp_path))
    with filled(list(range(1000)), 100) as room:
        assert list(tmp_path.iterdir()) == []
        index = room.index()
        assert list(tmp_path.iterdir()) == []
    assert index.find(np.array([7], np.uint64))[1]["at"].tolist() == [7]
    assert str(tmp_path) in Path("/proc/self/maps").read_text(), "it was in that folder"
    del index
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_scratch_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_SCRATCH_DIR", str(tmp_path / "gone"))
    with pytest.raises(DiskError, match="gone"):
        filled(list(range(1000)), 100)


def test_equal_texts_have_equal_hashes() -> None:
    one, two = hashes(["a", "b", "a"], 3), hashes(["b"], 1)
    assert one[0] == one[2] != one[1] == two[0]
