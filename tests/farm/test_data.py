"""Pairs for torch: the values that were kept or that farm degrade would write, by every kind of worker."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from farm.data import PairDataset
from farm.errors import ErrorKind, ItemError, UsageError
from farm.media.image import ReadLimits, decode
from farm.media.jpeg_codec import jpeg_bytes_and_back
from farm.media.rgb import to_rgb8
from farm.sample import FORMS, DegradeOptions, PrepareParams, SourceReport, SourceRow, safe_key
from farm.shards import DatasetIndex, write_index, write_pack
from farm.tasks.operations.base import Content
from farm.tasks.operations.degrade import Degrade
from sr_kernel.degrade.crop import cut_crop
from sr_kernel.degrade.draw import draw_sample
from sr_kernel.degrade.pipeline import degrade
from sr_kernel.degrade.recipe import RECIPES
from sr_kernel.degrade.recipe_toml import recipe_to_toml
from tests.farm.packs import SCALE, expected, make, member, pair, row, spec
from tests.outside import real_picture
from tests.pictures import bad_pictures, good_pictures, photo, png_of
from tests.sr_kernel.degrade.recipe_files import X4PLUS_YML
from tests.stores import KINDS, Store, opened, output

SMALL = replace(RECIPES["x4plus"], gt_size=96)
GOOD = [one for one in good_pictures() if min(one.shape[:2]) > 8]


def unit(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255))


def pixels_of(data: bytes) -> np.ndarray:
    return to_rgb8(decode(data, "x.png", ReadLimits()))[0]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with opened(request.param, tmp_path, monkeypatch) as found:
        yield found


# --- kept pairs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_kept_pairs_are_given_as_they_are(form: str, store: Store) -> None:
    make(form, store.root)
    for gt in ("gt", "gt_usm"):
        pairs = PairDataset(store.root, gt=gt)
        assert len(pairs) == len(expected())
        for number, sample in enumerate(expected()):
            found = pairs[number]
            files = {one.role: one.data for one in sample.members}
            assert set(found) == {gt, "lq", "key"}
            assert found["key"] == sample.key
            for role in (gt, "lq"):
                assert torch.equal(found[role], unit(pixels_of(files[role])))
                assert found[role].is_contiguous()


def test_patches_lie_on_whole_pixels_of_both(tmp_path: Path) -> None:
    """The low-quality picture is every fourth pixel of the good one here, so that each patch shows where it lies."""
    good = photo(1, 64, 48)
    low = good[::SCALE, ::SCALE]
    members = tuple(
        replace(member(role, 1, 8), data=png_of(one), width=one.shape[1], height=one.shape[0])
        for role, one in (("gt", good), ("lq", low))
    )
    make_one(tmp_path, members)
    places: set[tuple[float, ...]] = set()
    flips = 0
    pairs = PairDataset(str(tmp_path), patch=16, flip=True)
    for epoch in range(60):
        pairs.set_epoch(epoch)
        found = pairs[0]
        assert (found["gt"].shape, found["lq"].shape) == ((3, 16, 16), (3, 4, 4))
        straight = torch.equal(found["gt"][:, ::SCALE, ::SCALE], found["lq"])
        mirrored = torch.equal(found["gt"].flip(-1)[:, ::SCALE, ::SCALE], found["lq"].flip(-1))
        assert straight or mirrored
        flips += not straight
        places.add(tuple(sorted(found["lq"].flatten().tolist())))
    assert 15 < flips < 45
    assert len(places) > 40
    whole = PairDataset(str(tmp_path), patch=48)
    assert whole[0]["gt"].shape == (3, 48, 48)


def make_one(folder: Path, members: tuple[Any, ...]) -> None:
    sample = replace(pair("k", 1, ()), members=members)
    report = SourceReport(row=row(0, "k"), status="done", samples=(sample,))
    part = write_pack(spec("tar"), [report], output(str(folder))).part
    index = DatasetIndex(form="tar", operation="degrade", roles=("gt", "lq"), options={}, parts=(part,))
    write_index(index, output(str(folder)))


def test_what_is_drawn_depends_on_seed_epoch_and_key_alone(tmp_path: Path) -> None:
    make("tar", str(tmp_path))

    def keys_and_sums(pairs: PairDataset, order: list[int]) -> dict[str, float]:
        return {found["key"]: float(found["gt"].sum()) for found in (pairs[number] for number in order)}

    pairs = PairDataset(str(tmp_path), patch=16, flip=True, seed=1)
    first = keys_and_sums(pairs, list(range(12)))
    assert keys_and_sums(pairs, list(reversed(range(12)))) == first
    assert keys_and_sums(PairDataset(str(tmp_path), patch=16, flip=True, seed=2), list(range(12))) != first
    pairs.set_epoch(1)
    assert keys_and_sums(pairs, list(range(12))) != first
    pairs.set_epoch(0)
    assert keys_and_sums(pairs, list(range(12))) == first


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("form", FORMS)
def test_workers_give_what_this_process_gives(form: str, method: str, tmp_path: Path) -> None:
    make(form, str(tmp_path))
    pairs = PairDataset(str(tmp_path), patch=16, flip=True)
    here = [pairs[number] for number in range(len(pairs))]
    loader = DataLoader(pairs, batch_size=4, num_workers=2, multiprocessing_context=method, persistent_workers=True)
    for _ in range(2):
        batches = [*loader]
        assert [key for batch in batches for key in batch["key"]] == [one["key"] for one in here]
        for role in ("gt", "lq"):
            assert torch.equal(torch.cat([one[role] for one in batches]), torch.stack([one[role] for one in here]))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_that_live_on_hear_of_the_next_epoch(method: str, tmp_path: Path) -> None:
    make("tree", str(tmp_path))
    pairs = PairDataset(str(tmp_path), patch=16)
    loader = DataLoader(pairs, batch_size=12, num_workers=1, multiprocessing_context=method, persistent_workers=True)
    (before,) = [*loader]
    pairs.set_epoch(5)
    (after,) = [*loader]
    assert not torch.equal(before["gt"], after["gt"])
    assert torch.equal(after["gt"], torch.stack([pairs[number]["gt"] for number in range(12)]))


def test_pairs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    make_one(tmp_path, (member("gt", 1, 45), member("lq", 2, 12)))
    assert PairDataset(str(tmp_path))[0]["gt"].shape == (3, 45, 45)
    with pytest.raises(ItemError, match="k: sizes of 45x45 and 12x12, no multiple of each other"):
        PairDataset(str(tmp_path), patch=16)[0]
    make_one(tmp_path, (member("gt", 1, 48), member("lq", 2, 12)))
    with pytest.raises(ItemError, match="smaller than the patch, 64"):
        PairDataset(str(tmp_path), patch=64)[0]
    with pytest.raises(UsageError, match="18 is no multiple of the scale, 4"):
        PairDataset(str(tmp_path), patch=18)[0]


def test_a_data_set_without_pairs_is_refused(tmp_path: Path) -> None:
    make("tar", str(tmp_path / "a"), roles=("image",))
    with pytest.raises(UsageError, match="has no gt, lq but image; name a data set of farm degrade"):
        PairDataset(str(tmp_path / "a"))
    make("tar", str(tmp_path / "b"), roles=("gt", "lq"))
    with pytest.raises(UsageError, match="has no gt_usm"):
        PairDataset(str(tmp_path / "b"), gt="gt_usm")
    with pytest.raises(UsageError, match="'best' is not one of gt, gt_usm"):
        PairDataset(str(tmp_path / "b"), gt="best")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_picture_that_is_damaged_stops_the_loader_and_is_not_replaced(tmp_path: Path) -> None:
    make("tree", str(tmp_path))
    (tmp_path / "gt" / f"{expected()[3].key}.png").write_bytes(b"no picture")
    pairs = PairDataset(str(tmp_path))
    with pytest.raises(ItemError, match="row 3 names other bytes than gt has"):
        pairs[3]
    loader = DataLoader(pairs, batch_size=2, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(Exception, match="row 3 names other bytes than gt has"):
        list(loader)


def test_sources_that_failed_when_it_was_made_are_told(tmp_path: Path) -> None:
    make("tar", str(tmp_path))
    found = [*PairDataset(str(tmp_path)).failures()]
    assert [(one.source, one.reason) for one in found] == [
        ("/pictures/bad_3.jpg", "truncated"),
        ("/pictures/bad_13.jpg", "truncated"),
    ]


# --- on the fly ------------------------------------------------------------------------------------------------------


def degraded(data: bytes, name: str, seed: int, index: int, recipe: Any, codec: Any = None) -> dict[str, torch.Tensor]:
    """The pair as the kernel makes it, and as 8-bit files would hold it."""
    drawn = draw_sample(recipe, seed, name, index)
    crop = cut_crop(pixels_of(data), drawn, recipe.gt_size)
    made = degrade(unit(crop)[None], [drawn], recipe, codec)
    files = {"gt": made.gt, "gt_usm": made.gt_usm, "lq": made.lq}
    levels = {role: (one[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy() for role, one in files.items()}
    return {role: torch.from_numpy(one.astype(np.float32) / np.float32(255)) for role, one in levels.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of every kind, among them ones smaller than the crop, some in folders."""
    for number, good in enumerate(GOOD):
        path = tmp_path / "in" / f"dir {number % 3}" / good.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(good.data)
    return tmp_path / "in"


def test_pairs_on_the_fly_are_what_would_be_written(folder: Path) -> None:
    pairs = {gt: PairDataset.on_the_fly(str(folder), SMALL, seed=4, per_image=2, gt=gt) for gt in ("gt", "gt_usm")}
    assert len(pairs["gt"]) == 2 * len(GOOD)
    names = {f"dir {number % 3}/{good.name}": good.data for number, good in enumerate(GOOD)}
    keys = {safe_key(name): name for name in names}
    seen: set[str] = set()
    for number in range(len(pairs["gt"])):
        found = {gt: one[number] for gt, one in pairs.items()}
        key, _, index = found["gt"]["key"].rpartition("_d")
        wanted = degraded(names[keys[key]], keys[key], 4, int(index), SMALL)
        for gt in pairs:
            assert torch.equal(found[gt][gt], wanted[gt])
            assert torch.equal(found[gt]["lq"], wanted["lq"])
            assert found[gt]["key"] == found["gt"]["key"]
        seen.add(found["gt"]["key"])
    assert seen == {f"{key}_d00{index}" for key in keys for index in range(2)}


@pytest.mark.parametrize("jpeg", ["diff", "codec"])
def test_pairs_on_the_fly_are_those_of_the_operation(jpeg: str, folder: Path, tmp_path: Path) -> None:
    """Keys too, so that patches and flips are the same."""
    asked = DegradeOptions(recipe=recipe_to_toml(SMALL), gt_px=96, lq_px=24, per_image=2, seed=9, jpeg=jpeg)
    params = PrepareParams(
        operation="degrade",
        options=asked,
        form="tar",
        device_class="cpu",
        max_pixels_in=10**6,
        pixel_epoch=1,
        roles=asked.roles,
    )
    operation = Degrade(params, lambda work: work(), "cpu")
    reports: list[SourceReport] = []
    for path in sorted(folder.rglob("*.*"))[:6]:
        name = str(path.relative_to(folder))
        source = SourceRow(url=str(path), relative_path=name, key=safe_key(name))
        made = operation.make(source, Content(data=path.read_bytes()), 0, 2)
        reports.append(SourceReport(row=source, status="done", samples=made.samples))
    how = replace(spec("tar", roles=asked.roles), sample_columns=operation.sample_columns)
    part = write_pack(how, reports, output(str(tmp_path / "out"))).part
    index = DatasetIndex(form="tar", operation="degrade", roles=asked.roles, options={}, parts=(part,))
    write_index(index, output(str(tmp_path / "out")))
    for gt in asked.roles[:2]:
        same = {"patch": 32, "flip": True, "seed": 9, "gt": gt}
        kept = PairDataset(str(tmp_path / "out"), **same)
        made_now = PairDataset.on_the_fly(str(folder), SMALL, per_image=2, jpeg=jpeg, **same)
        by_key = {found["key"]: found for found in (made_now[number] for number in range(len(made_now)))}
        for number in range(len(kept)):
            found = kept[number]
            assert torch.equal(by_key[found["key"]][gt], found[gt])
            assert torch.equal(by_key[found["key"]]["lq"], found["lq"])


def test_real_jpeg_on_the_fly(folder: Path) -> None:
    name = "dir 0/" + GOOD[0].name
    pairs = PairDataset.on_the_fly(str(folder / name), SMALL, jpeg="codec")
    wanted = degraded(GOOD[0].data, GOOD[0].name, 0, 0, SMALL, jpeg_bytes_and_back)
    assert torch.equal(pairs[0]["lq"], wanted["lq"])
    assert not torch.equal(PairDataset.on_the_fly(str(folder / name), SMALL)[0]["lq"], wanted["lq"])
    with pytest.raises(UsageError, match="jpeg"):
        PairDataset.on_the_fly(str(folder), SMALL, jpeg="none")


def test_further_epochs_take_further_samples(folder: Path) -> None:
    path = folder / "dir 0" / GOOD[0].name
    pairs = PairDataset.on_the_fly(str(path), SMALL, per_image=2)
    pairs.set_epoch(3)
    found = pairs[1]
    assert found["key"] == f"{safe_key(GOOD[0].name)}_d007"
    assert torch.equal(found["lq"], degraded(GOOD[0].data, GOOD[0].name, 0, 7, SMALL)["lq"])


def test_recipes_are_named_or_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_of(photo(1, 80, 80)))
    (tmp_path / "small.toml").write_text(recipe_to_toml(SMALL))
    (tmp_path / "x4.yml").write_text(X4PLUS_YML)
    picture = str(tmp_path / "a.png")
    by_value = PairDataset.on_the_fly(picture, SMALL)[0]
    assert torch.equal(PairDataset.on_the_fly(picture, tmp_path / "small.toml")[0]["lq"], by_value["lq"])
    assert PairDataset.on_the_fly(picture, "bicubic")[0]["gt"].shape == (3, 400, 400)
    official = PairDataset.on_the_fly(picture, str(tmp_path / "x4.yml"))[0]
    assert torch.equal(official["lq"], PairDataset.on_the_fly(picture)[0]["lq"])
    with pytest.raises(UsageError, match="'x9' is not one of"):
        PairDataset.on_the_fly(picture, "x9")


def test_patches_are_cut_on_the_fly_too() -> None:
    pairs = PairDataset.on_the_fly(str(real_picture("0030.jpg")), "bicubic", patch=256)
    assert (pairs[0]["gt"].shape, pairs[0]["lq"].shape) == ((3, 256, 256), (3, 64, 64))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_degrade_as_this_process_does(method: str, folder: Path) -> None:
    pairs = PairDataset.on_the_fly(str(folder), SMALL)
    loader = DataLoader(pairs, batch_size=3, num_workers=2, multiprocessing_context=method)
    low = torch.cat([batch["lq"] for batch in loader])
    assert torch.equal(low, torch.stack([pairs[number]["lq"] for number in range(len(pairs))]))


def test_bad_sources_raise_and_are_told(tmp_path: Path) -> None:
    good = tmp_path / "in" / "a-good.png"
    good.parent.mkdir()
    good.write_bytes(GOOD[0].data)
    for bad in bad_pictures():
        (good.parent / bad.name).write_bytes(bad.data)
    (good.parent / "film.mp4").write_bytes(b"x")
    pairs = PairDataset.on_the_fly(str(good.parent), SMALL)
    ends = {Path(one.source).name: one.reason for one in pairs.failures()}
    listed = {bad.name: bad.kind.value for bad in bad_pictures()} | {"film.mp4": "unsupported"}
    assert ends == listed
    raised: dict[int, ErrorKind] = {}
    for number in range(len(pairs)):
        try:
            pairs[number]
        except ItemError as error:
            raised[number] = error.kind
    assert len(raised) == len(listed) == len(pairs) - 1


def test_rows_that_are_refused_count_and_raise(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(GOOD[0].data)
    (tmp_path / "m.jsonl").write_text(
        '{"source": "a.png"}\n{"source": "../b.png"}\n{"source": "a.png", "task": "upscale"}\n'
    )
    pairs = PairDataset.on_the_fly(str(tmp_path / "m.jsonl"), SMALL)
    assert len(pairs) == 3
    with pytest.raises(ItemError, match="unsafe_path"):
        pairs[1]
    assert [one.reason for one in pairs.failures()] == ["unsafe_path"]
    for beyond in (-1, 3):
        with pytest.raises(IndexError):
            pairs[beyond]


def test_a_manifest_on_a_store_is_degraded_too(store: Store) -> None:
    root = output(store.root)
    for number in range(2):
        root.publish(f"{store.root}/pictures/p{number}.png", png_of(photo(number, 80, 80)))
    pairs = PairDataset.on_the_fly(f"{store.root}/pictures/", SMALL)
    assert len(pairs) == 2
    wanted = degraded(png_of(photo(1, 80, 80)), "p1.png", 0, 0, SMALL)
    assert torch.equal(pairs[1]["lq"], wanted["lq"])


def test_many_rows_take_few_bytes_each(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text(
        "".join(f"folder_{number % 100}/picture_{number}.png\n" for number in range(20_000))
    )
    pairs = PairDataset.on_the_fly(str(tmp_path / "m.txt"))
    assert len(pairs) == 20_000
    assert len(pickle.dumps(pairs)) < 20_000 * 150


def test_the_farm_is_imported_without_torch() -> None:
    code = "import sys, farm, farm.shards; sys.exit('torch' in sys.modules or 'lmdb' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
