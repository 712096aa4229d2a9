from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ..runs import Farm, files, results

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def farm(farm: Farm, cluster: dict[str, str]) -> Farm:
    """What becomes of pictures is what counts here, not who starts Ray."""
    return replace(farm, environment=cluster)


def test_a_source_that_is_mended_is_done_although_its_digest_stands_in_the_manifest(
    farm: Farm, make_picture: Make, tmp_path: Path
) -> None:
    right = make_picture(tmp_path / "right.png", 30, 20, seed=1)
    digest = hashlib.sha256(right.read_bytes()).hexdigest()
    make_picture(tmp_path / "a.png", 30, 20, seed=2)
    (tmp_path / "rows.csv").write_text(f"source,sha256\na.png,{digest}\ngone.png,\n")
    wrong = farm.submit(tmp_path / "rows.csv", tmp_path / "out")
    assert wrong.returncode == 3, wrong.stderr
    assert [row["error"] for row in results(tmp_path / "out")] == ["changed_during_read", "missing"]
    shutil.copy(right, tmp_path / "a.png")
    make_picture(tmp_path / "gone.png", 30, 20, seed=3)
    mended = farm.submit(tmp_path / "rows.csv", tmp_path / "out")
    assert mended.returncode == 0, mended.stderr
    assert [row["status"] for row in results(tmp_path / "out")] == ["done", "done"]


def test_names_that_collide_are_found_before_any_work(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    make_picture(source / "a.png")
    make_picture(source / "a.jpg")
    made = farm.submit(source, out, "--format", "png")
    assert made.returncode == 65
    assert "a.png" in made.stderr
    assert "a.jpg" in made.stderr
    assert files(out) == set()


def test_sizes_a_format_cannot_hold_are_found_before_any_work(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    make_picture(source / "long.png", 5000, 10)
    planned = farm.submit(source, out, "--format", "webp", "--dry-run")
    assert "too_large" in planned.stdout
    assert "16383" in planned.stdout
    made = farm.submit(source, out, "--format", "webp")
    assert made.returncode == 3
    assert files(out) == {"results.parquet"}
