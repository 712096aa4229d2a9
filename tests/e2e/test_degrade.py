"""Training pairs by the command: the same shards whoever makes them, in whatever order."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import pyvips

from ..runs import Farm, files, results

Make = Callable[..., Path]
GOOD = 32
FLAGS = ("--gpus", "0", "--gt-size", "96", "--per-image", "2", "--form", "tar", "--shard-size", "1", "--seed", "7")
"""packs of some seven pictures"""
DATA = ("shards", "samples", "sources")


def save(pixels: np.ndarray, path: Path, interpretation: str) -> None:
    pyvips.Image.new_from_array(pixels, interpretation=interpretation).write_to_file(str(path))


def write_bad(folder: Path) -> None:
    """One of each picture that is no plain RGB of 8 bits."""
    noise = np.random.default_rng(5)
    save(noise.integers(0, 256, (120, 130, 1), dtype=np.uint8), folder / "gray.png", "b-w")
    save(noise.integers(0, 256, (120, 130, 4), dtype=np.uint8), folder / "alpha.png", "srgb")
    save(noise.integers(0, 65536, (120, 130, 3), dtype=np.uint16), folder / "deep.png", "rgb16")
    save(noise.integers(0, 256, (120, 130, 4), dtype=np.uint8), folder / "ink.jpg", "cmyk")
    save(noise.integers(0, 256, (9, 7, 3), dtype=np.uint8), folder / "tiny.png", "srgb")
    whole = (folder / "deep.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "words.png").write_text("no picture")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pictures")
    random_ = np.random.default_rng(3)
    for index in range(GOOD):
        coarse = random_.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        image = pyvips.Image.new_from_array(coarse, interpretation="srgb").resize(8, kernel="cubic")
        image.crop(0, 0, 120 + index, 110).write_to_file(str(made / f"p{index:02d}.png"))
    write_bad(made)
    return made


@pytest.fixture(scope="module")
def undisturbed(farm: Farm, cluster: dict[str, str], folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set that nothing happened to, of one worker."""
    out = tmp_path_factory.mktemp("undisturbed")
    done = farm.run("degrade", folder, "--out", out, *FLAGS, "--workers", "1", env=cluster)
    assert done.returncode == 3, done.stderr  # two pictures are none
    return out


def digests(out: Path) -> dict[str, str]:
    """Of everything that was published for training to read."""
    found = {name for name in files(out) if name.partition("/")[0] in DATA} | {"dataset.json"}
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in found}


def shuffled_manifest(folder: Path, path: Path, seed: int) -> Path:
    names = sorted(one.name for one in folder.iterdir())
    random.Random(seed).shuffle(names)
    path.write_text("source\n" + "".join(f"{name}\n" for name in names))
    return path


def rows(out: Path, table: str) -> Iterator[dict[str, object]]:
    for path in sorted((out / table).iterdir()):
        yield from pq.read_table(path).to_pylist()


def test_every_source_ends_once_and_says_how(undisturbed: Path, folder: Path) -> None:
    sources = {str(row["relative_path"]): row for row in rows(undisturbed, "sources")}
    assert set(sources) == {path.name for path in folder.iterdir()}
    assert {name: row["reason"] for name, row in sources.items() if row["status"] == "failed"} == {
        "cut.png": "truncated",
        "words.png": "not_an_image",
    }
    rules = {name: row["rules"] for name, row in sources.items() if row["rules"]}
    assert rules == {
        "gray.png": ["gray_expanded"],
        "alpha.png": ["alpha_dropped"],
        "deep.png": ["depth_reduced"],
        "ink.jpg": ["cmyk_converted"],
        "tiny.png": ["reflected"],
    }
    keys = [str(row["key"]) for row in rows(undisturbed, "samples")]
    assert len(keys) == len(set(keys)) == 2 * (GOOD + 5)


def test_shards_keep_the_size_bound_and_there_are_several(undisturbed: Path) -> None:
    shards = sorted((undisturbed / "shards").iterdir())
    assert len(shards) > 3
    assert max(path.stat().st_size for path in shards) <= (1 << 20) + 20 * 10240  # and tar's own headers


def test_two_and_four_workers_and_another_order_change_nothing(
    farm: Farm, cluster: dict[str, str], undisturbed: Path, folder: Path, tmp_path: Path
) -> None:
    for workers in (2, 4):
        manifest = shuffled_manifest(folder, tmp_path / f"{workers}.csv", workers)
        out = tmp_path / f"out{workers}"
        flags = (*FLAGS, "--workers", str(workers), "--root", folder)
        done = farm.run("degrade", manifest, "--out", out, *flags, env=cluster)
        assert done.returncode == 3, done.stderr
        assert digests(out) == digests(undisturbed)


def test_a_rerun_does_nothing(farm: Farm, undisturbed: Path, folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.tar")}
    started = time.monotonic()
    again = farm.run("degrade", folder, "--out", undisturbed, *FLAGS, "--workers", "1")
    assert again.returncode == 3, again.stderr
    assert time.monotonic() - started < 6, "Ray was started"
    assert before == {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.tar")}


def test_a_picture_that_comes_changes_its_own_pack_only(
    farm: Farm, cluster: dict[str, str], undisturbed: Path, folder: Path, make_picture: Make, tmp_path: Path
) -> None:
    manifest = shuffled_manifest(folder, tmp_path / "m.csv", 1)
    out = tmp_path / "out"
    args = ("degrade", manifest, "--root", folder, "--out", out, *FLAGS, "--workers", "2")
    assert farm.run(*args, env=cluster).returncode == 3
    added = make_picture(folder / "added.png", 120, 110, seed=99)
    try:
        manifest.write_text(manifest.read_text() + "added.png\n")
        done = farm.run(*args, env=cluster)
        assert done.returncode == 3, done.stderr
        before, after = digests(undisturbed), digests(out)
        shards = {name for name in after if name.startswith("shards/")}
        assert 1 <= sum(before.get(name) != after[name] for name in shards) <= 2
        assert sum(1 for _ in rows(out, "samples")) == 2 * (GOOD + 6)
    finally:
        added.unlink()


def test_one_submit_does_all_tasks_on_the_same_actors(
    farm: Farm, cluster: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    tasks = ["upscale", "degrade", "subimages", "upscale", "degrade", "subimages"]
    lines = [f"p{index:02d}.png,{task}" for index, task in enumerate(tasks)]
    manifest.write_text("source,task\n" + "\n".join([*lines, "words.png,degrade"]) + "\n")
    args = farm.submit_args(manifest, out, "--root", folder, "--workers", "1", "--crop", "64", "--step", "32")
    done = farm.run(*args, env=cluster)
    assert done.returncode == 3, done.stderr
    ended = results(out)
    assert [row["status"] for row in ended] == ["done"] * 6 + ["failed"]
    assert {row["worker"] for row in ended} == {"mixed-0"}
    made = files(out)
    assert {"p00_4x.png", "gt/p01_d000.png", "lq/p01_d000.png", "images/p02_s001.png"} <= made
    assert "sources/p01.degrade.parquet" in made
    again = farm.run(*args)
    assert "6 done before" in again.stderr
