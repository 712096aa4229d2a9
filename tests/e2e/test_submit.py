from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pyvips
import torch

from ..chaos.watch import Watch
from ..outside import data_folder
from ..runs import Farm, files, identity, results
from ..seeded import save_rrdb, save_srvgg

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, cluster: dict[str, str]) -> Farm:
    """What is made is what counts here; runs that start a Ray of their own are in other files."""
    folder = tmp_path_factory.mktemp("model")
    model = save_srvgg(folder / "tiny.pth", features=8, convs=2)
    return Farm(model=model, cache=folder, environment=cluster)


@pytest.fixture(scope="module")
def slow_farm(slow_farm: Farm, cluster: dict[str, str]) -> Farm:
    """The slow one, on the same cluster."""
    return replace(slow_farm, environment=cluster)


def test_a_folder_is_restored_and_the_second_run_does_nothing(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    make_picture(source / "a.png", 40, 30, seed=1)
    make_picture(source / "deep" / "b c%.jpg", 33, 47, seed=2)
    make_picture(source / "gray.png", 50, 21, seed=3, bands=1)
    first = farm.submit(source, out)
    assert first.returncode == 0, first.stderr
    assert files(out) == {"a_4x.png", "deep/b c%_4x.jpg", "gray_4x.png", "results.parquet"}
    rows = results(out)
    assert [row["status"] for row in rows] == ["done"] * 3
    assert {row["mode"] for row in rows} == {"exact"}
    image = pyvips.Image.new_from_file(str(out / "gray_4x.png"))
    assert (image.width, image.height, image.bands) == (200, 84, 1)

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != "lock"}
    started = time.monotonic()
    second = farm.submit(source, out)
    assert second.returncode == 0, second.stderr
    assert time.monotonic() - started < 5, "nothing to do must not start Ray or load a model"
    assert "3 done before" in second.stderr
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != "lock"}
    assert after == before


def test_one_picture_says_one_line_and_its_path(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "photo.png", 30, 20)
    started = time.monotonic()
    made = farm.run("submit", picture, "--model", farm.model, "--workers", "1", "--outscale", "2.5")
    taken_s = time.monotonic() - started
    assert made.returncode == 0, made.stderr
    assert made.stdout == f"{tmp_path}/farm-out/photo_2.5x.png\n"
    *progress, _ = made.stderr.strip().splitlines()
    assert len(progress) <= taken_s // 15, made.stderr  # a plain line each 15 s, so none of a usual run
    assert all(line.startswith("[") for line in progress), made.stderr
    image = pyvips.Image.new_from_file(made.stdout.strip())
    assert (image.width, image.height) == (75, 50)


def test_only_what_changed_is_done_again(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for index in range(4):
        make_picture(source / f"{index}.png", seed=index)
    assert farm.submit(source, out).returncode == 0
    before = {name: (out / name).stat().st_mtime_ns for name in files(out)}
    make_picture(source / "2.png", seed=99)
    make_picture(source / "00.png", seed=98)
    again = farm.submit(source, out, "--quality", "50", "--resize", "official")
    assert again.returncode == 0, again.stderr
    assert "2 done, 3 done before" in again.stderr
    changed = {name for name, at in before.items() if (out / name).stat().st_mtime_ns != at}
    assert changed == {"2_4x.png", "results.parquet"}
    names = [(row["row"], Path(str(row["source"])).name) for row in results(out)]
    assert names == [(0, "0.png"), (1, "00.png"), (2, "1.png"), (3, "2.png"), (4, "3.png")]


def test_a_lost_output_is_made_again(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    make_picture(source / "a.png")
    make_picture(source / "b.png", seed=1)
    assert farm.submit(source, out).returncode == 0
    before = identity(out)
    (out / "a_4x.png").unlink()
    again = farm.submit(source, out)
    assert "1 done, 1 done before" in again.stderr
    assert identity(out) == before


def test_bands_over_two_actors_give_the_bytes_of_one(slow_farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    source = tmp_path / "in"
    make_picture(source / "large.png", 400, 700, seed=5)
    make_picture(source / "small.png", 50, 40, seed=6)
    flags = ("--band-px", "30000", "--tile-px", "64")
    driver = slow_farm.start(*slow_farm.submit_args(source, tmp_path / "two", *flags, "--workers", "2"))
    watch = Watch(tmp_path / "two")
    said = watch.to_end(driver)
    assert driver.returncode == 0, said
    bands = {str(entry["key"]): entry["worker"] for entry in watch.entries if "/band/" in str(entry["key"])}
    assert len(bands) > 4, "the picture was cut"
    assert set(bands.values()) == {"upscale-slow-0", "upscale-slow-1"}, "and its bands went to both actors"
    one = slow_farm.submit(source, tmp_path / "one", *flags, "--workers", "1")
    assert one.returncode == 0, one.stderr
    assert identity(tmp_path / "one") == identity(tmp_path / "two")
    whole = slow_farm.submit(source, tmp_path / "whole", "--no-stamp", "--workers", "2")
    assert whole.returncode == 0, whole.stderr
    pixels = [pyvips.Image.new_from_file(str(tmp_path / name / "large_4x.png")).numpy() for name in ("one", "whole")]
    assert (pixels[0] == pixels[1]).all(), "seams do not exist"
    assert not (tmp_path / "two" / ".farm" / "parts").exists() or not list(
        (tmp_path / "two" / ".farm" / "parts").iterdir()
    )
    assert len(results(tmp_path / "two")) == 2


def test_bounded_bands_do_not_depend_on_the_number_of_actors(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    source = tmp_path / "in"
    make_picture(source / "large.png", 210, 500, seed=7)
    make_picture(source / "small.png", 60, 40, seed=8)
    rrdb = replace(farm, model=save_rrdb(tmp_path / "rrdb.pth", features=8, blocks=7, growth=4))
    flags = ("--exact-px", "20000", "--band-px", "30000", "--tile-px", "64")
    for workers in ("1", "2"):
        made = rrdb.submit(source, tmp_path / workers, *flags, "--workers", workers)
        assert made.returncode == 0, made.stderr
    assert identity(tmp_path / "1") == identity(tmp_path / "2")
    modes = {Path(str(row["source"])).name: row["mode"] for row in results(tmp_path / "2")}
    assert modes == {"large.png": "bounded", "small.png": "exact"}


def test_a_manifest_overrides_scale_format_and_output_row_by_row(
    farm: Farm, make_picture: Make, tmp_path: Path
) -> None:
    for index in range(3):
        make_picture(tmp_path / f"{index}.png", 40, 30, seed=index)
    manifest = tmp_path / "rows.csv"
    manifest.write_text("source,outscale,format,output\n0.png,2,webp,\n1.png,,,kept/one.tiff\n2.png,,,\n")
    made = farm.submit(manifest, tmp_path / "out")
    assert made.returncode == 0, made.stderr
    assert files(tmp_path / "out") == {"0_2x.webp", "kept/one.tiff", "2_4x.png", "results.parquet"}
    sizes = {Path(str(row["output"])).name: (row["width"], row["height"]) for row in results(tmp_path / "out")}
    assert sizes == {"0_2x.webp": (80, 60), "one.tiff": (160, 120), "2_4x.png": (160, 120)}

    manifest.write_text("source,face\n0.png,1\n")
    refused = farm.submit(manifest, tmp_path / "other")
    assert refused.returncode == 65, refused.stderr
    assert "face" in refused.stderr


def test_a_scan_can_be_submitted(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    make_picture(tmp_path / "in" / "deep" / "a.png", 30, 20)
    scanned = farm.run("scan", tmp_path / "in", "-o", tmp_path / "manifest.parquet")
    assert scanned.returncode == 0, scanned.stderr
    assert "1 rows" in scanned.stdout
    planned = farm.submit(tmp_path / "manifest.parquet", tmp_path / "out", "--dry-run")
    assert "1 to do" in planned.stdout
    assert not (tmp_path / "out").exists(), "a dry run writes nothing"


@pytest.mark.parametrize("network", ["srvgg", "rrdb"])
def test_workers_batch_and_order_change_no_byte(farm: Farm, make_picture: Make, tmp_path: Path, network: str) -> None:
    for index in range(6):
        make_picture(tmp_path / "in" / f"{index}.png", 90 + 3 * index, 70, seed=index)
    names = [f"in/{index}.png" for index in range(6)]
    (tmp_path / "forth.txt").write_text("\n".join(names))
    (tmp_path / "back.txt").write_text("\n".join(reversed(names)))
    if network == "rrdb":
        farm = replace(farm, model=save_rrdb(tmp_path / "rrdb.pth", features=8, blocks=2, growth=4))
    digests = []
    for manifest, flags in (("forth", ("--workers", "1")), ("back", ("--workers", "2", "--batch", "8"))):
        out = tmp_path / manifest
        made = farm.submit(tmp_path / f"{manifest}.txt", out, "--no-stamp", "--tile-px", "32", *flags)
        assert made.returncode == 0, made.stderr
        digests.append({name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in files(out)})
        digests[-1].pop("results.parquet")
        assert {row["mode"] for row in results(out)} == {"exact"}
    assert digests[0] == digests[1]
    assert len(digests[0]) == 6


def test_weights_that_give_nan_end_the_run(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    state = torch.load(farm.model, weights_only=True)["params"]
    state["body.0.weight"][0, 0, 0, 0] = float("nan")
    torch.save({"params": state}, tmp_path / "nan.pth")
    picture = make_picture(tmp_path / "a.png")
    made = farm.run("submit", picture, "--model", tmp_path / "nan.pth", "--workers", "1")
    assert made.returncode == 78, made.stderr
    assert "not finite" in made.stderr
    assert files(tmp_path / "farm-out") <= {"results.parquet"}


def test_two_models_in_one_run(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    data = data_folder()
    make_picture(tmp_path / "a.png", 40, 30)
    make_picture(tmp_path / "b.png", 40, 30, seed=1)
    (tmp_path / "rows.csv").write_text("source,model\na.png,\nb.png,animevideov3\n")
    made = farm.submit(tmp_path / "rows.csv", tmp_path / "out", "--weights-dir", f"{data}/weights")
    assert made.returncode == 0, made.stderr
    assert [row["model"] for row in results(tmp_path / "out")] == ["file:tiny", "animevideov3"]
