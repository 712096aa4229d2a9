"""Whole runs with --face-enhance: real pictures and the real small detector, seeded weights of the official shapes.

The networks take a face some ten seconds on one core, so that there are as few faces as possible.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips

from ..outside import face_weights, real_picture, require_face
from ..runs import Farm, files, results
from ..seeded import save_srvgg

TIMEOUT_S = 900


@pytest.fixture(scope="module")
def enhance(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Submits with faces; the arguments are source, output root and further flags."""
    require_face()
    from ..face_files import DETECTOR_FILE, save_seeded

    folder = tmp_path_factory.mktemp("faces")
    seeded = save_seeded(folder)
    model = save_srvgg(folder / "tiny.pth", features=8, convs=2, scale=2)
    farm = Farm(
        model=model,
        cache=folder / "cache",
        timeout_s=TIMEOUT_S,
        environment={"FARM_WEIGHTS_DIR": str((folder / DETECTOR_FILE).resolve().parent)},
    )
    flags = ("--face-model", seeded.gfpgan, "--face-parser", seeded.parser, "--face-detector", "mobile0.25")

    def submit(source: Path, out: Path, *more: str, faces: bool = True) -> None:
        done = farm.submit(source, out, *((*flags, "--face-enhance") if faces else ()), *more)
        assert done.returncode == 0, done.stderr

    return submit


@pytest.mark.timeout(3 * TIMEOUT_S)
def test_faces_are_restored_alike_by_one_and_two_workers_and_other_pictures_stay(
    enhance: Callable[..., None], tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("Lincoln.png", "OST_009.png"):
        shutil.copy(real_picture(name), source / name)
    plain, one, two = (tmp_path / name for name in ("plain", "one", "two"))
    enhance(source, plain, "--workers", "1", faces=False)
    enhance(source, one, "--workers", "1")
    enhance(source, two, "--workers", "2")
    assert files(one) == {"Lincoln_2x.png", "OST_009_2x.png", "results.parquet"}
    for name in ("Lincoln_2x.png", "OST_009_2x.png"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert (one / "OST_009_2x.png").read_bytes() == (plain / "OST_009_2x.png").read_bytes()
    before, after = (pixels(root / "Lincoln_2x.png") for root in (plain, one))
    assert (before != after).any(axis=2).mean() > 0.02
    assert {row["status"] for row in results(one)} == {"done"}


def pixels(path: Path) -> Any:
    return np.atleast_3d(pyvips.Image.new_from_file(str(path)).numpy())


def test_weights_that_nobody_has_are_said_before_anything_starts(farm: Farm, tmp_path: Path) -> None:
    require_face()
    done = farm.submit(
        real_picture("Lincoln.png"), tmp_path / "out", "--face-enhance", "--face-model", tmp_path / "none.pth"
    )
    assert done.returncode == 78
    assert "none.pth" in done.stderr
    assert not (tmp_path / "out" / "results.parquet").exists()


@pytest.mark.timeout(TIMEOUT_S)
def test_with_the_released_weights_faces_are_sharper_and_stay_the_same_person(tmp_path: Path) -> None:
    """A small picture of a face, enlarged with and without GFPGAN; with weights that only a machine with them has."""
    require_face()
    weights = face_weights()
    farm = Farm(
        model=Path("animevideov3"),
        cache=tmp_path,
        timeout_s=TIMEOUT_S,
        environment={"FARM_WEIGHTS_DIR": str(weights)},
    )
    flags = ("--face-model", "gfpgan-1.4", "--outscale", "2", "--workers", "1")
    truth = pyvips.Image.new_from_file(str(real_picture("Lincoln.png"))).colourspace("srgb").extract_band(0, n=3)
    truth.resize(0.5).write_to_file(str(tmp_path / "small.png"))
    for out, more in ((tmp_path / "plain", ()), (tmp_path / "faces", ("--face-enhance",))):
        done = farm.submit(tmp_path / "small.png", out, *flags, *more)
        assert done.returncode == 0, done.stderr
    plain, faces = (pixels(tmp_path / out / "small_2x.png").astype(float) for out in ("plain", "faces"))
    assert detail(faces) > 1.1 * detail(plain)
    assert np.abs(faces.mean() - plain.mean()) < 10


def detail(rgb: Any) -> float:
    """Mean step between neighbouring pixels."""
    return float(np.abs(np.diff(rgb, axis=0)).mean() + np.abs(np.diff(rgb, axis=1)).mean())
