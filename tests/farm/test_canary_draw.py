"""Which rows a sample has, what is remembered of them, and what they say of all: pure, whatever number of rows."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.canary.draw import MOST_STRATA, Crowd, Draw, Drawn, Stratum, added, hash_of, with_sample
from farm.canary.kept import Sample, read_sample, write_sample
from farm.canary.measured import Ended, without_starts
from farm.canary.reckon import Spent, reckon
from farm.kinds import MediaKind
from farm.progress import Likeness
from farm.records import ManifestRow, WorkItem

from .items import PARAMS, make_item


def row(at: int, folder: str = "a", px: int = 1000, ext: str = "png", model: str = "animevideov3") -> WorkItem:
    """A row that is to do; its id is a digest, as ids of the plan are."""
    made = make_item(at, replace(PARAMS, model=model), cost_px=px)
    url = f"/in/{folder}/{at}.{ext}"
    kind = MediaKind.VIDEO if ext == "mkv" else MediaKind.IMAGE
    source = ManifestRow(index=at, source_url=url, relative_path=f"{folder}/{at}.{ext}", kind=kind)
    return replace(made, item_id=sha256(url.encode("utf-8", "surrogateescape")).hexdigest()[:32], row=source)


def draw_of(items: Iterable[WorkItem], most: int) -> Draw:
    draw = Draw(most)
    for item in items:
        draw.add(item)
    return draw


def drawn(items: Iterable[WorkItem], most: int) -> list[Drawn]:
    return [one for _, one in draw_of(items, most).sample()]


ROWS = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 5), st.sampled_from(["png", "jpg", "mkv"])), max_size=120
).map(lambda told: [row(at, folder, 4**size * 100, ext) for at, (folder, size, ext) in enumerate(told)])


@given(ROWS, st.integers(1, 150))
def test_every_stratum_has_its_rows_and_no_sample_is_too_large(items: list[WorkItem], most: int) -> None:
    draw = draw_of(items, most)
    sample = [one for _, one in draw.sample()]
    assert len(sample) == len({one.item_id for one in sample}) == min(most, len(items))
    taken, there = Counter(one.stratum for one in sample), draw.crowds
    assert sum(crowd.rows for crowd in there.values()) == len(items) == draw.rows
    assert len(taken) == min(most, len(there)), "as many strata as the sample has room for"
    most_taken = max(taken.values(), default=0)
    for stratum, crowd in there.items():
        assert taken[stratum] >= min(crowd.rows, most_taken - 1), "none has two more than another that has some left"


@given(ROWS, st.integers(1, 150), st.randoms(use_true_random=False))
def test_equal_rows_give_equal_samples_in_any_order(items: list[WorkItem], most: int, chance: random.Random) -> None:
    shuffled = list(items)
    chance.shuffle(shuffled)
    assert drawn(items, most) == drawn(shuffled, most)
    assert draw_of(items, most).digest == draw_of(shuffled, most).digest


@given(ROWS, st.integers(1, 150))
def test_of_a_stratum_those_are_drawn_whose_hashes_are_lowest(items: list[WorkItem], most: int) -> None:
    draw = draw_of(items, most)
    ids = {one.item_id for _, one in draw.sample()}
    taken, left = defaultdict[Stratum, list[int]](list), defaultdict[Stratum, list[int]](list)
    for item in items:
        (mine,) = draw_of([item], 1).crowds
        (taken if item.item_id in ids else left)[mine].append(hash_of(item.item_id))
    assert all(max(taken[stratum]) < min(left[stratum]) for stratum in taken if left[stratum])


@given(ROWS, st.integers(1, 150))
def test_what_is_held_is_bounded_at_every_step(items: list[WorkItem], most: int) -> None:
    draw = Draw(most)
    for item in items:
        draw.add(item)
        assert draw.held <= 2 * (most + len(draw.crowds))


def test_a_long_manifest_of_many_folders_is_never_held() -> None:
    """What is held depends on the sample and on the strata, which are bounded, and not on the rows."""

    def rows(count: int) -> Iterator[WorkItem]:
        base = row(0)
        for at in range(count):
            source = replace(base.row, source_url=f"/in/{at % 20_000}/{at}.png")
            yield replace(base, item_id=f"{at:032x}", row=source, cost_px=4 ** (at % 6) * 100)

    draw = Draw(50)
    most_held = 0
    for item in rows(150_000):
        draw.add(item)
        most_held = max(most_held, draw.held)
    assert draw.rows == 150_000
    assert MOST_STRATA < len(draw.crowds) <= MOST_STRATA + 6, "all sizes, and no more folders"
    assert most_held <= 2 * (50 + len(draw.crowds))
    assert len(draw.sample()) == 50


def test_a_small_sample_has_all_kinds_and_sizes_before_it_has_all_folders() -> None:
    items = [row(at, f"{at % 300}") for at in range(900)]
    items += [
        row(900, "0", ext="mkv"),
        row(901, "1", px=10**8),
        row(902, "2", ext="jpg"),
        row(903, "3", model="x4plus"),
    ]
    sample = drawn(items, 8)
    assert {one.stratum.likeness.extension for one in sample} == {"png", "jpg", "mkv"}
    assert {one.stratum.likeness.model for one in sample} == {"animevideov3", "x4plus"}
    assert max(one.px for one in sample) == 10**8
    assert len({one.stratum.folder for one in sample}) >= 6


def test_another_plan_draws_other_rows() -> None:
    items = [row(at) for at in range(500)]
    others = [replace(item, item_id=sha256(f"{item.item_id} otherwise".encode()).hexdigest()[:32]) for item in items]
    places = [{item.row.index for item, _ in draw_of(some, 20).sample()} for some in (items, others)]
    assert len(places[0] & places[1]) < 10


# -- what is remembered --------------------------------------------------------------------------------------------


def remembered(items: list[WorkItem], asked: int) -> Sample:
    draw = draw_of(items, asked)
    found = tuple(one for _, one in draw.sample())
    return Sample(asked=asked, population=draw.rows, digest=draw.digest, drawn=found)


def is_of(sample: Sample, items: list[WorkItem], asked: int) -> bool:
    draw = draw_of(items, asked)
    return sample.is_of(asked, draw.rows, draw.digest, {item.item_id: item for item in items})


@given(ROWS.filter(bool), st.integers(1, 20), st.data())
def test_a_sample_is_known_again_whatever_is_done_of_it(items: list[WorkItem], asked: int, data: st.DataObject) -> None:
    sample = remembered(items, asked)
    done = data.draw(st.sets(st.sampled_from([one.item_id for one in sample.drawn])))
    left = [item for item in items if item.item_id not in done]
    assert is_of(sample, left, asked)
    assert not is_of(sample, left, asked + 1)
    assert not is_of(sample, [*left, row(1000)], asked), "there are new rows"
    others = [item for item in left if item.item_id not in {one.item_id for one in sample.drawn}]
    if others:
        assert not is_of(sample, [item for item in left if item is not others[0]], asked), "others are done"


def test_a_sample_survives_its_file(tmp_path: Path) -> None:
    items = [row(at, "b\udcff\u202e", px=50, ext=ext) for at, ext in enumerate(("png", "mkv", "weird"))]
    sample = remembered(items, 3)
    write_sample(str(tmp_path), "run", sample)
    assert read_sample(str(tmp_path)) == sample


@pytest.mark.parametrize("change", [{"schema": 2}, {"drawn": [["a", 0, 1, 7]]}, {"drawn": 5}, {"strata": [{}]}])
def test_what_is_no_sample_is_none(tmp_path: Path, change: dict[str, object]) -> None:
    assert read_sample(str(tmp_path)) is None
    write_sample(str(tmp_path), "run", remembered([row(0)], 1))
    place = tmp_path / ".farm" / "canary.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | change))
    assert read_sample(str(tmp_path)) is None
    place.write_bytes(b"\xff")
    assert read_sample(str(tmp_path)) is None


# -- what the whole takes ------------------------------------------------------------------------------------------


def stratum(folder: str = "a", size: int = 5, kind: MediaKind = MediaKind.IMAGE, model: str = "m") -> Stratum:
    alike = Likeness(model=model, kind=kind, extension="png", sized=False)
    return Stratum(likeness=alike, size=size, folder=folder)


def spent(one: Stratum, guess_px: int, times: float) -> Spent:
    """A row whose guess was off by `times`, which took a second and ten bytes a source pixel."""
    px = int(guess_px * times)
    return Spent(stratum=one, guess_px=guess_px, source_px=px, seconds=float(px), output_bytes=10 * px)


def test_strata_are_scaled_each_by_its_own_pixels_and_not_by_rows() -> None:
    small, large = stratum(size=3), stratum(size=9)
    crowds = {small: Crowd(1000, 10_000), large: Crowd(2, 1_000_000)}
    whole = reckon(crowds, [spent(small, 10, 2.0), spent(small, 30, 2.0), spent(large, 600_000, 0.5)])
    assert whole is not None
    assert (whole.source_px, whole.worker_seconds, whole.output_bytes) == pytest.approx((520_000, 520_000, 5_200_000))


def test_the_first_row_of_a_model_at_a_worker_takes_no_longer_than_the_others_did() -> None:
    """Of a GPU, which compiles in it; whichever order the ledger has, and of one row a worker nothing is known."""
    slow = Spent(stratum=stratum(), guess_px=100, source_px=200, seconds=90.0, output_bytes=7)
    fast = Spent(stratum=stratum("b", size=3), guess_px=100, source_px=100, seconds=2.0, output_bytes=7)
    rows = [Ended(spent=fast, worker=name, finished_unix=9.0) for name in ("w0", "w1", "w1")]
    rows += [Ended(spent=slow, worker=name, finished_unix=5.0) for name in ("w0", "w1")]
    other = Ended(spent=replace(slow, stratum=stratum(model="n")), worker="w0", finished_unix=1.0)
    assert without_starts([*rows, other]) == [fast] * 3 + [replace(slow, seconds=4.0)] * 2 + [other.spent]
    quick = Ended(spent=replace(slow, seconds=0.5), worker="w2", finished_unix=1.0)
    assert without_starts([*rows, quick])[-1] == quick.spent, "one that was faster stays"


def test_a_stratum_without_a_sample_is_like_the_nearest_that_has_one() -> None:
    near, far = stratum("a"), stratum("a", size=9)
    film = stratum("f", kind=MediaKind.VIDEO, model="v")
    known = [spent(near, 100, 3.0), spent(far, 100, 7.0), spent(film, 100, 11.0)]
    for asked, times in (
        (stratum("b"), 3.0),
        (stratum("b", size=1), 5.0),
        (stratum("b", model="other"), 5.0),
        (stratum("b", kind=MediaKind.VIDEO, model="other"), 11.0),
        (stratum("b", kind=MediaKind.PACK, model="p"), 7.0),
    ):
        whole = reckon({asked: Crowd(1, 1000)}, known)
        assert whole is not None
        assert whole.source_px == pytest.approx(1000 * times), asked


def test_where_nothing_was_restored_nothing_is_reckoned() -> None:
    assert reckon({stratum(): Crowd(1, 1)}, []) is None
    assert reckon({stratum(): Crowd(1, 1)}, [spent(stratum(), 0, 1.0)]) is None


def test_what_is_done_of_a_sample_belongs_to_the_whole() -> None:
    one = Drawn(item_id="x", shard=0, px=7, stratum=stratum())
    crowds = {stratum(): Crowd(2, 10)}
    assert with_sample(crowds, [one, replace(one, stratum=stratum("b"))]) == {
        stratum(): Crowd(3, 17),
        stratum("b"): Crowd(1, 7),
    }
    assert crowds == {stratum(): Crowd(2, 10)}
    assert added((1 << 64) - 1, 2) == 1
