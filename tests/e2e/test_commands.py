"""The small commands, as a user calls them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ..runs import Farm, files

Make = Callable[..., Path]


def test_models_are_listed_and_wrong_weights_are_found(farm: Farm, tmp_path: Path) -> None:
    listed = farm.run("models", "list")
    assert listed.returncode == 0, listed.stderr
    assert "animevideov3" in listed.stdout
    assert "training only" in listed.stdout
    assert farm.run("models").stdout == listed.stdout, "what there is, as the README has it"
    (tmp_path / "realesr-animevideov3.pth").write_bytes(b"not what it should be")
    wrong = farm.run("models", "verify", "animevideov3", "--weights-dir", tmp_path)
    assert wrong.returncode == 78, wrong.stdout
    assert "realesr-animevideov3.pth" in wrong.stderr
    unknown = farm.run("models", "fetch", "x4pluss")
    assert unknown.returncode == 78
    assert "did you mean x4plus?" in unknown.stderr


def test_the_doctor_looks_at_everything(farm: Farm) -> None:
    said = farm.run("doctor")
    assert said.returncode == 0, said.stderr
    for topic in ("python", "ray", "torch", "gpu", "cpu", "memory", "codecs", "weights", "storage", "face", "train"):
        assert topic in said.stdout


def test_quiet_says_nothing_when_all_is_well(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    for index in range(3):
        make_picture(tmp_path / "in" / f"{index}.png", 30, 20, seed=index)
    flags = ("--quiet", "--suffix", "big", "--limit", "2", "--alpha", "lanczos", "--no-stamp")
    made = farm.submit(tmp_path / "in", tmp_path / "out", *flags)
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    assert files(tmp_path / "out") == {"0_big.png", "1_big.png", "results.parquet"}


def test_what_contradicts_itself_is_a_usage_error(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "a.png")
    for flags in (("--workers", "2", "--gpus", "1"), ("--tile-px", "3"), ("--name", "{nonsense}.png"), ("--gpus", "x")):
        made = farm.run("submit", picture, "--model", farm.model, *flags)
        assert made.returncode == 2, flags
        assert flags[0] in made.stderr
        assert "Traceback" not in made.stderr


def test_a_folder_becomes_a_manifest_that_is_checked_converted_split_and_run(
    farm: Farm, make_picture: Make, tmp_path: Path
) -> None:
    for index in range(5):
        make_picture(tmp_path / "in" / f"{index}, a.png", 30 + index, 20, seed=index)
    (tmp_path / "in" / "notes.txt").write_text("nothing")
    table = tmp_path / "in" / "m.parquet"
    scanned = farm.run("scan", tmp_path / "in", "-o", table, "--probe", "--sniff", "--sort", "size")
    assert (scanned.returncode, scanned.stderr) == (0, "")
    assert scanned.stdout.startswith("5 rows (5 pictures, 0 films, ")
    checked = farm.run("manifest", "check", table, "--stat")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "image 5" in checked.stdout
    refused = farm.run("manifest", "convert", table, "-o", tmp_path / "in" / "m.txt")
    assert refused.returncode == 65
    assert "column bytes: has no place in meta_info text" in refused.stderr
    converted = farm.run("manifest", "convert", table, "-o", tmp_path / "in" / "m.txt", "--drop")
    assert (converted.returncode, "columns left out: bytes" in converted.stderr) == (0, True)
    assert len((tmp_path / "in" / "m.txt").read_text().splitlines()) == 5
    parts = farm.run("manifest", "split", table, "-o", tmp_path / "parts", "--rows", "3")
    assert (parts.returncode, "5 rows" in parts.stdout, "in 2 parts" in parts.stdout) == (0, True, True)
    made = farm.submit(tmp_path / "parts" / "part-00001.parquet", tmp_path / "out")
    assert made.returncode == 0, made.stderr
    assert len([name for name in files(tmp_path / "out") if name.endswith(".png")]) == 2


def test_tonights_manifest_is_the_difference_to_last_nights_results(
    farm: Farm, make_picture: Make, tmp_path: Path
) -> None:
    for index in range(3):
        make_picture(tmp_path / "in" / f"{index}.png", 30, 20, seed=index)
    assert farm.submit(tmp_path / "in", tmp_path / "out").returncode == 0
    make_picture(tmp_path / "in" / "1.png", 31, 20, seed=7)
    make_picture(tmp_path / "in" / "new.png", 30, 20, seed=8)
    scanned = farm.run("scan", tmp_path / "in", "-o", tmp_path / "in" / "m.csv", "--newer-than", tmp_path / "out")
    assert scanned.returncode == 0, scanned.stderr
    assert "2 rows" in scanned.stdout
    assert "2 unchanged" in scanned.stdout
    assert [line.split(",")[0] for line in (tmp_path / "in" / "m.csv").read_text().splitlines()[1:]] == [
        "1.png",
        "new.png",
    ]


def test_what_is_wrong_with_a_manifest_is_told_by_row_and_column(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("source,outscale,task\na.png,2,\nb.png,99,\n../c.png,,\na.png,2,\nd.png,,degrade\n")
    checked = farm.run("manifest", "check", tmp_path / "m.csv")
    assert checked.returncode == 65
    assert "m.csv: row 1 (line 3), column outscale" in checked.stderr
    assert "row 3: asks for the same" in checked.stderr
    assert "unsafe_path" in checked.stderr
    assert "1 rows ask for what is not built" in checked.stdout


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--codec", "prores", "--container", "webm"), "prores does not go into webm; ask for --container mov or mkv"),
        (("--preset", "slowest"), "no codec has a preset slowest; ask for one of placebo, "),
        (("--preset", "hq", "--codec", "h264"), "libx264 has no preset hq; ask for one of placebo, "),
        (("--crf", "60", "--codec", "hevc"), "libx265 has no CRF of 60; ask for one from 0 (best) to 51"),
        (("--pix-fmt", "yuv421p"), "no codec takes the pixel format yuv421p; leave it at auto"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else "",
)
def test_what_no_film_could_be_encoded_as_is_a_usage_error(
    farm: Farm, make_picture: Make, tmp_path: Path, flags: tuple[str, ...], says: str
) -> None:
    make_picture(tmp_path / "in" / "a.png")
    made = farm.submit(tmp_path / "in", tmp_path / "out", *flags)
    assert made.returncode == 2, made.stderr
    assert made.stderr.startswith(f"farm: {flags[0]}: {says}")
    assert not (tmp_path / "out").exists(), "nothing was started"
