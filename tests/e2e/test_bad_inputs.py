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


def damaged(good_png: Path, good_jpg: Path, folder: Path) -> dict[str, str]:
    """Ten kinds of bad pictures and the class each must get."""
    png, jpg = good_png.read_bytes(), good_jpg.read_bytes()
    kinds: dict[str, tuple[bytes, str]] = {
        "empty.png": (b"", "empty_input"),
        "one-byte.png": (b"x", "not_an_image"),
        "error-page.jpg": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not_an_image"),
        "text.png": (b"just some words, no picture at all\n" * 20, "not_an_image"),
        "cut.jpg": (jpg[: len(jpg) // 2], "truncated"),
        "cut.png": (png[: len(png) * 2 // 3], "truncated"),
        "signature.png": (b"\x89PNX" + png[4:], "not_an_image"),
        "newlines.png": (png.replace(b"\r\n", b"\n"), "corrupt"),
        "header-crc.png": (png[:29] + bytes([png[29] ^ 255]) + png[30:], "corrupt"),
        "giant.png": (giant_header(png), "too_large"),
    }
    for name, (data, _) in kinds.items():
        (folder / name).write_bytes(data)
    return {name: kind for name, (_, kind) in kinds.items()}


def giant_header(png: bytes) -> bytes:
    """The same file, claiming 30 000 x 30 000 pixels, with a right checksum."""
    import struct
    import zlib

    header = b"IHDR" + struct.pack(">II", 30_000, 30_000) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def test_every_good_picture_is_done_and_every_bad_one_has_its_class(
    farm: Farm, make_picture: Make, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for index in range(6):
        make_picture(source / f"good-{index}.png", 40 + index, 30, seed=index)
    jpg = make_picture(source / "good.jpg", 90, 80, seed=9)
    expected = damaged(source / "good-0.png", jpg, source)
    made = farm.submit(source, out)
    assert made.returncode == 3, made.stderr
    rows = {Path(str(row["source"])).name: row for row in results(out)}
    assert len(rows) == 17
    assert {name: rows[name]["error"] for name in expected} == expected
    assert all(row["status"] == "done" for name, row in rows.items() if name.startswith("good"))
    for name, kind in expected.items():
        message = str(rows[name]["message"])
        assert message.startswith(f"{kind}: ")
        assert name in message
        assert "; " in message, "what to do"
    assert len(files(out)) == 8

    again = farm.submit(source, out)
    assert again.returncode == 3
    assert "7 done before, 10 failed" in again.stderr, again.stderr
    shutil.copy(jpg, source / "cut.jpg")
    mended = farm.submit(source, out)
    assert mended.returncode == 3
    assert "1 done, 7 done before, 9 failed" in mended.stderr, mended.stderr


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
