"""What is disturbed: manifests of many small items, so that a run commits several times a second."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyvips

from ..moving_pattern import encode
from ..runs import Farm
from ..videos import AAC, H264, make_film
from .watch import Watch

Make = Callable[..., Path]
SEGMENT = 8
FILM_FRAMES = 96
OTHER_FILMS = ("av1.mp4", "main10.mkv", "odd.webm")
"""further codecs, in 24 frames each"""
BANDS = ("--band-px", "12000", "--tile-px", "64")
DEGRADE = ("--gt-size", "96", "--per-image", "2", "--seed", "7")
TAR = ("--form", "tar", "--shard-size", "1")
"""packs of some seven pictures"""


@dataclass(frozen=True)
class Kind:
    """One command that can be started again and again."""

    name: str
    command: str
    folder: Path
    columns: str
    rows: tuple[str, ...]
    """of its manifest"""
    flags: tuple[str | Path, ...]
    code: int
    """how it ends when it is left alone: some rows of the training data are no pictures"""
    farm: Farm

    def args(self, out: Path, workers: int, chance: random.Random | None = None) -> tuple[str | Path, ...]:
        """The command; its manifest is left as it was, or put in an order that is drawn."""
        rows = list(self.rows)
        manifest = out.with_name(f"{out.name}.csv")
        if chance or not manifest.exists():
            if chance:
                chance.shuffle(rows)
            manifest.write_text("".join(f"{row}\n" for row in [self.columns, *rows]))
        where = ("--root", self.folder, "--out", out, "--gpus", "0", "--workers", str(workers))
        return (self.command, manifest, *self.flags, *where)

    def undisturbed(self, out: Path, environment: dict[str, str]) -> int:
        """A run that nothing happens to, of one worker, on a cluster that is there; returns how often it commits."""
        watch = Watch(out)
        driver = self.farm.start(*self.args(out, 1), env=environment)
        said = watch.to_end(driver)
        assert driver.returncode == self.code, said
        return len(watch.entries)


@dataclass(frozen=True)
class Subject:
    """What is disturbed, and what must come of it."""

    kind: Kind
    undisturbed: Path
    commits: int


def write_pictures(folder: Path, count: int, large: int, make: Make) -> None:
    """Small pictures, and large ones that are cut into a dozen bands each."""
    made = [make(folder / f"p{index:03d}.png", 104 + index, 96, seed=index) for index in range(min(count, 8))]
    for index in range(len(made), count):
        shutil.copy(made[index % len(made)], folder / f"p{index:03d}.png")
    for index in range(large):
        make(folder / f"large{index}.png", 230 + index, 300, seed=100 + index)


def write_films(folder: Path, copies: int, films: Path) -> None:
    """Films of several segments with sound, of several codecs."""
    folder.mkdir(parents=True, exist_ok=True)
    groups = ("-g", "24", "-sc_threshold", "0", "-bf", "2")
    for copy in range(copies):
        first = folder / "film.mp4"
        if copy:
            shutil.copy(first, folder / f"film{copy}.mp4")
        else:
            encode(first, *H264, *groups, *AAC, frames=FILM_FRAMES, size=(144, 96))
    for name in OTHER_FILMS:
        shutil.copyfile(make_film(name, films), folder / name)


def write_sources(folder: Path, count: int) -> set[str]:
    """Pictures for training, one of 16 bits, and two that are no pictures; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.iterdir())
    noise = np.random.default_rng(3)
    for index in range(count):
        coarse = noise.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        image = pyvips.Image.new_from_array(coarse, interpretation="srgb").resize(8, kernel="cubic")
        image.crop(0, 0, 120 + index % 40, 110).write_to_file(str(folder / f"s{index:03d}.png"))
    deep = noise.integers(0, 65536, (120, 130, 3), dtype=np.uint16)
    pyvips.Image.new_from_array(deep, interpretation="rgb16").write_to_file(str(folder / "deep.png"))
    whole = (folder / "deep.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "words.png").write_text("no picture")
    return {path.name for path in set(folder.iterdir()) - before}


def make_kind(name: str, folder: Path, farm: Farm, make: Make, films: Path, size: int) -> Kind:
    """A kind by its name; `size` 1 for the short form, more for runs that are to be hit often."""
    upscale: tuple[str | Path, ...] = ("--model", farm.model, *BANDS, "--segment-frames", str(SEGMENT))
    if name in ("pictures", "mixed"):
        write_pictures(folder, (60 if name == "pictures" else 16) * size, size, make)
    if name in ("films", "mixed"):
        write_films(folder, size, films)
    trained: set[str] = set()
    if name in ("tar", "tree", "mixed"):
        trained = write_sources(folder, (6 if name == "mixed" else 40) * size)
    names = sorted(path.name for path in folder.iterdir())
    if name in ("tar", "tree"):
        flags = (*DEGRADE, *(TAR if name == "tar" else ("--form", "tree")))
        return Kind(name, "degrade", folder, "source", tuple(names), flags, 3, farm)
    rows = tuple(f"{one},{'degrade' if one in trained else 'upscale'}" for one in names)
    return Kind(name, "submit", folder, "source,task", rows, (*upscale, "--gt-size", "96"), 3 if trained else 0, farm)
