"""Small data sets of real pairs, and configurations that train on them in a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from farm.sample import Member, Sample, SourceReport
from farm.shards import DatasetIndex, write_index, write_pack
from tests.farm.packs import row, spec
from tests.pictures import photo, png_of
from tests.stores import output

ROLES = ("gt", "lq")
GT_PX = 48


def member(role: str, pixels: np.ndarray) -> Member:
    side = pixels.shape[0]
    return Member(role=role, extension="png", data=png_of(pixels), width=side, height=side, channels=3)


def make_pairs(
    url: str, count: int = 8, *, first: int = 0, side: int = GT_PX, scale: int = 4, spoilt: int | None = None
) -> str:
    """Pictures of so many pixels a side, and their means over scale x scale pixels, in one tar shard; the poor picture
    of the pair `spoilt` is none."""
    reports: list[SourceReport] = []
    for number in range(first, first + count):
        good = photo(number, side, side)
        poor = good.reshape(side // scale, scale, side // scale, scale, 3).mean((1, 3)).round().astype(np.uint8)
        record = {"index": 0, "sigma": 0.0, "kind": None, "flip": False}
        low = member("lq", poor)
        if number == spoilt:
            low = replace(low, data=b"no picture")
        sample = Sample(key=f"pic_{number}", members=(member("gt", good), low), record=record)
        found = {"width": side, "sharpness": 0.0}
        source = row(number, f"pic_{number}")
        reports.append(SourceReport(row=source, status="done", samples=(sample,), record=found))
    part = write_pack(spec("tar", roles=ROLES), reports, output(url)).part
    write_index(DatasetIndex(form="tar", operation="degrade", roles=ROLES, options={}, parts=(part,)), output(url))
    return url


CONFIG = """
name = "tiny"
seed = 3
ema = 0.9
discriminator_features = 4
[network]
kind = "srvgg"
features = 8
blocks = 2
[schedule]
iterations = 12
rate = 1e-3
[losses]
perceptual = 0.0
[data]
gt = "gt"
patch = 32
batch = 4
loaders = 0
[[data.sources]]
pairs = "pairs"
[validation]
pairs = "pairs"
every = 6
most = 2
pictures = 1
[keep]
every = 4
log = 2
"""


def make_config(folder: Path, text: str = CONFIG) -> Path:
    """A configuration with the data set that it names beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    make_pairs(str(folder / "pairs"))
    path = folder / "train.toml"
    path.write_text(text)
    return path
