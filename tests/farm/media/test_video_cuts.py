"""Films are cut into segments that are nearly of one length, and that begin with keyframes where there are some."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.media.video.cuts import segments


def lengths(keys: list[int], frames: int, most: int) -> list[int]:
    return [end - start for start, end in segments(keys, frames, most)]


@pytest.mark.parametrize(
    ("keys", "frames", "most", "expected"),
    [
        ([], 48, 48, [48]),
        ([], 49, 48, [24, 25]),
        ([], 100, 48, [33, 33, 34]),
        ([48, 96], 120, 30, [24] * 5),  # not 30, 18, 30, 18, 24, of which two workers need 66 frames' time
        ([10], 100, 48, [33, 33, 34]),  # a segment of ten frames would cost more than a keyframe saves
        ([24], 100, 48, [24, 38, 38]),
        ([23], 100, 48, [33, 33, 34]),
        ([12, 24, 36], 40, 12, [12, 12, 12, 4]),
        ([12, 24, 36], 40, 18, [12, 12, 16]),
        ([12, 24, 36], 40, 7, [6] * 6 + [4]),
        ([3], 9, 2, [2, 2, 2, 2, 1]),  # no two segments of one frame
        ([1, 2, 3], 4, 1, [1, 1, 1, 1]),
        ([], 0, 48, []),
        ([], 1, 48, [1]),
    ],
)
def test_where_films_are_cut(keys: list[int], frames: int, most: int, expected: list[int]) -> None:
    assert lengths(keys, frames, most) == expected


@given(st.sets(st.integers(1, 400), max_size=40), st.integers(1, 400), st.integers(2, 60))
def test_of_any_film_nothing_is_left_out_and_no_segment_is_much_shorter(keys: set[int], frames: int, most: int) -> None:
    starts = sorted(key for key in keys if key < frames)
    found = list(segments(starts, frames, most))
    assert [start for start, _ in found] == [0, *(end for _, end in found[:-1])]
    assert found[-1][1] == frames
    made = [end - start for start, end in found]
    assert max(made) <= most
    assert all(length >= max(2, -(-most // 2)) for length in made[:-1])
    cuts = {end for _, end in found}
    for start, end in found[:-1]:  # whatever keyframe was within reach is where it ends, or none was far enough
        near = [key for key in starts if start + max(2, -(-most // 2)) <= key <= start + most]
        assert not near or end == near[-1]
    for first, then in pairwise([0, *sorted(cuts & set(starts)), frames]):
        within = [end - start for start, end in found if first <= start and end <= then]
        if most > 2 and not any(first < key < then for key in starts):
            assert max(within) - min(within) <= 1


def test_a_long_film_without_keyframes_is_cut_at_once() -> None:
    assert len(lengths([], 10_000_000, 48)) == 208_334
