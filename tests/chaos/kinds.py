"""What is disturbed: manifests of many small items, so that a run commits several times a second."""

from __future__ import annotations

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
FLAGS = (*BANDS, "--segment-frames", str(SEGMENT))
DEGRADE = ("--gt-size", "96", "--per-image", "2", "--seed", "7")
TAR = ("--form", "tar", "--shard-size", "1")
"""packs of some seven pictures"""


@dataclass(frozen=True)
class Kind:
    """One command that can be started again and again."""

    args: tuple[str | Path, ...]
    code: int
    """how it ends when it is left alone: some rows of the training data are no pictures"""
    farm: Farm

    def start_args(self, out: Path, workers: int) -> tuple[str | Path, ...]:
        return (*self.args, "--gpus", "0", "--out", out, "--workers", str(workers))

    def undisturbed(self, out: Path, environment: dict[str, str]) -> int:
        """A run that nothing happens to, of one worker, on a cluster that is there; returns how often it commits."""
        watch = Watch(out)
        driver = self.farm.start(*self.start_args(out, 1), env=environment)
        said = watch.to_end(driver)
        assert driver.returncode == self.code, said
        return len(watch.entries)


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


def write_sources(folder: Path, count: int) -> None:
    """Good crops for training, one of each picture that is no plain RGB of 8 bits, and two that are no pictures."""
    folder.mkdir(parents=True, exist_ok=True)
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


def make_kind(name: str, folder: Path, farm: Farm, make: Make, films: Path, size: int) -> Kind:
    """A kind by its name; `size` 1 for the short form, more for runs that are to be hit often."""
    submit = ("submit", folder, "--model", farm.model)
    if name == "pictures":
        write_pictures(folder, 60 * size, 3 * size, make)
        return Kind((*submit, *BANDS), 0, farm)
    if name == "films":
        write_films(folder, 2 * size, films)
        return Kind((*submit, "--segment-frames", str(SEGMENT)), 0, farm)
    if name in ("tar", "tree"):
        write_sources(folder, 40 * size)
        return Kind(("degrade", folder, *DEGRADE, *(TAR if name == "tar" else ("--form", "tree"))), 3, farm)
    write_pictures(folder / "p", 16 * size, size, make)
    write_films(folder / "f", 1, films)
    write_sources(folder / "s", 6 * size)
    rows = [f"{path.relative_to(folder)},upscale" for sub in "pf" for path in sorted((folder / sub).iterdir())]
    rows += [f"{path.relative_to(folder)},degrade" for path in sorted((folder / "s").iterdir())]
    (folder / "rows.csv").write_text("source,task\n" + "\n".join(rows) + "\n")
    return Kind(("submit", folder / "rows.csv", "--model", farm.model, *FLAGS, "--gt-size", "96"), 3, farm)
