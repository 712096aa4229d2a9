"""basicsr's own datasets read what was written, as files by a list, as folders and as LMDB, and give our values."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from farm.data import PairDataset
from farm.sample import Member, SourceReport
from farm.shards import DatasetIndex, lmdb_folder, strip_data, tree_path, write_index, write_pack
from farm.shards.access import _databases
from tests.basicsr_reference import reference_module
from tests.farm.packs import GT_PX, SCALE, expected, make, pair, publish_tree, row, spec
from tests.pictures import photo, png_of
from tests.stores import output

CROP_PX = 400
"""what upstream's code fixes"""
GT_OPTIONS: dict[str, Any] = {
    **{f"blur_kernel_size{stage}": 21 for stage in ("", "2")},
    **{f"kernel_list{stage}": ["iso", "aniso"] for stage in ("", "2")},
    **{f"kernel_prob{stage}": [0.5, 0.5] for stage in ("", "2")},
    **{f"sinc_prob{stage}": 0.1 for stage in ("", "2")},
    **{f"blur_sigma{stage}": [0.2, 3] for stage in ("", "2")},
    **{f"betag_range{stage}": [0.5, 4] for stage in ("", "2")},
    **{f"betap_range{stage}": [1, 2] for stage in ("", "2")},
    "final_sinc_prob": 0.8,
    "use_hflip": False,
    "use_rot": False,
}
PAIR_OPTIONS: dict[str, Any] = {
    "scale": SCALE,
    "phase": "val",
    "gt_size": GT_PX,
    "use_hflip": False,
    "use_rot": False,
}


def same(ours: PairDataset, upstream: Any, keys: list[str]) -> None:
    """Whether both give the same tensors for the same keys; ours stand in the order of the data set."""
    by_key = {one["key"]: one for one in (ours[number] for number in range(len(ours)))}
    assert sorted(by_key) == sorted(keys)
    assert len(upstream) == len(keys)
    for key, theirs in zip(keys, (upstream[number] for number in range(len(keys))), strict=True):
        assert torch.equal(by_key[key]["gt"], theirs["gt"])
        assert torch.equal(by_key[key]["lq"], theirs["lq"])
        assert by_key[key]["gt"].dtype == theirs["gt"].dtype == torch.float32


def test_a_list_of_pairs_over_the_tree(tmp_path: Path) -> None:
    make("tree", str(tmp_path))
    keys = [one.key for one in expected()]
    lines = [f"{tree_path('gt', key, 'png')}, {tree_path('lq', key, 'png')}\n" for key in keys]
    (tmp_path / "pairs.txt").write_text("".join(lines))
    upstream = reference_module("data.realesrgan_paired_dataset").RealESRGANPairedDataset(
        {
            **PAIR_OPTIONS,
            "dataroot_gt": str(tmp_path),
            "dataroot_lq": str(tmp_path),
            "meta_info": str(tmp_path / "pairs.txt"),
            "io_backend": {"type": "disk"},
        }
    )
    same(PairDataset(str(tmp_path)), upstream, keys)


def test_folders(tmp_path: Path) -> None:
    """Upstream looks into the folders themselves only: names have no folders of their own here."""
    keys = ["a_1", "b_2", "c_3"]
    samples = tuple(pair(key, seed) for seed, key in enumerate(keys))
    publish_tree(iter(samples), output(str(tmp_path)))
    report = strip_data(SourceReport(row=row(0, "a"), status="done", samples=samples))
    part = write_pack(spec("tree"), [report], output(str(tmp_path))).part
    index = DatasetIndex(form="tree", operation="degrade", roles=("gt", "gt_usm", "lq"), options={}, parts=(part,))
    write_index(index, output(str(tmp_path)))
    upstream = reference_module("data.paired_image_dataset").PairedImageDataset(
        {
            **PAIR_OPTIONS,
            "dataroot_gt": str(tmp_path / "gt"),
            "dataroot_lq": str(tmp_path / "lq"),
            "io_backend": {"type": "disk"},
        }
    )
    found = [Path(one["gt_path"]).stem for one in upstream.paths]
    same(PairDataset(str(tmp_path)), upstream, found)


@pytest.mark.parametrize("name", ["paired_image_dataset.PairedImageDataset", "realesrgan_paired_dataset"])
def test_databases(name: str, tmp_path: Path) -> None:
    make("lmdb", str(tmp_path), parts=1)
    module, _, kind = name.partition(".")
    upstream = getattr(reference_module(f"data.{module}"), kind or "RealESRGANPairedDataset")(
        {
            **PAIR_OPTIONS,
            "dataroot_gt": str(tmp_path / lmdb_folder("gt", "part-0")),
            "dataroot_lq": str(tmp_path / lmdb_folder("lq", "part-0")),
            "io_backend": {"type": "lmdb"},
        }
    )
    keys = sorted(one.key for one in expected(1))
    theirs = [upstream[number] for number in range(len(keys))]
    for client in upstream.file_client.client._client.values():
        client.close()  # LMDB opens a file once a process
    same(PairDataset(str(tmp_path)), theirs, keys)
    _databases.cache_clear()


@pytest.mark.parametrize("form", ["tree", "lmdb"])
def test_good_pictures_by_a_list_or_database(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RealESRGANDataset makes the other picture itself; its good crop is ours at the place that it draws."""
    pixels = {f"dir_1/k{seed}": photo(seed, 450 + seed, 430) for seed in range(3)}
    samples = tuple(_picture(key, value) for key, value in pixels.items())
    one = spec(form, roles=("gt",))
    report = SourceReport(row=row(0, "a"), status="done", samples=samples)
    if form == "tree":
        publish_tree(iter(samples), output(str(tmp_path)))
        report = strip_data(report)
    write_pack(one, [report], output(str(tmp_path)))
    (tmp_path / "gt.txt").write_text("".join(f"{tree_path('gt', key, 'png')}\n" for key in pixels))
    root = tmp_path / lmdb_folder("gt", "part-0") if form == "lmdb" else tmp_path
    upstream = reference_module("data.realesrgan_dataset").RealESRGANDataset(
        {
            **GT_OPTIONS,
            "dataroot_gt": str(root),
            "meta_info": str(tmp_path / "gt.txt"),
            "io_backend": {"type": "lmdb" if form == "lmdb" else "disk"},
        }
    )
    monkeypatch.setattr(random, "randint", lambda _low, high: high)
    for number, value in enumerate(pixels.values()):
        theirs = upstream[number]["gt"]
        ours = np.ascontiguousarray(value[-CROP_PX:, -CROP_PX:].transpose(2, 0, 1), dtype=np.float32) / np.float32(255)
        assert torch.equal(theirs, torch.from_numpy(ours))


def _picture(key: str, pixels: np.ndarray) -> Any:
    height, width, _ = pixels.shape
    member = Member(role="gt", extension="png", data=png_of(pixels), width=width, height=height, channels=3)
    return pair(key, 1, ()).__class__(key=key, members=(member,))
