"""A check says what is in a manifest and everything that is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from farm import catalog
from farm.errors import ManifestError, UsageError


def check(path: Path, **options: object) -> catalog.CheckResult:
    return catalog.check(catalog.CheckConfig(source=str(path), **options))  # pyright: ignore[reportArgumentType]


def manifest(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_manifest_is_counted_by_kind_task_and_model(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"source": "a.png", "bytes": 3},
        {"source": "b.mp4", "bytes": 4, "model": "animevideov3"},
        {"source": "c.png", "task": "degrade"},
        {"source": "d.png", "lq": "e.png"},
        {"source": "e.png", "face": True},
    ]
    result = check(manifest(tmp_path / "m.jsonl", *rows))
    assert (result.rows, result.bytes, result.later, result.exit_code) == (5, 7, 3, 0)
    assert result.kinds == {"image": 4, "video": 1}
    assert result.tasks == {"upscale": 4, "degrade": 1}
    assert result.models == {"": 4, "animevideov3": 1}


def test_every_wrong_row_is_named_and_counted(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"source": f"{at}.png", "outscale": 99 if at % 2 else 2} for at in range(100)]
    result = check(manifest(tmp_path / "m.jsonl", *rows))
    assert (result.rows, result.errors.count, len(result.errors.named), result.exit_code) == (50, 50, 20, 65)
    assert "m.jsonl: row 1 (line 2), column outscale: 99 is not a number" in result.errors.named[0]


def test_rows_that_ask_for_the_same_are_named(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"source": "a.png"},
        {"source": "b.png"},
        {"source": "./a.png", "x_mine": "other"},
        {"source": "a.png", "outscale": 2},
        {"source": "a.png"},
        {"source": "../a.png"},
        {"source": "../a.png"},
    ]
    result = check(manifest(tmp_path / "m.jsonl", *rows))
    assert (result.duplicates.count, result.exit_code) == (2, 65)
    assert [one.partition(":")[0] for one in result.duplicates.named] == ["row 2", "row 4"]
    assert all("row 0" in one for one in result.duplicates.named)
    assert result.unsafe.count == 2


def test_unsafe_paths_fail_rows_and_not_the_manifest(tmp_path: Path) -> None:
    result = check(manifest(tmp_path / "m.jsonl", {"source": "a.png"}, {"source": "../b.png"}))
    assert (result.rows, result.unsafe.count, result.exit_code) == (2, 1, 3)
    assert result.unsafe.named[0].startswith("row 1: unsafe_path")


def test_sources_are_asked_for_only_where_that_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"xyz")
    (tmp_path / "b.png").write_bytes(b"xyz")
    rows: list[dict[str, object]] = [
        {"source": "a.png", "bytes": 3},
        {"source": "b.png", "bytes": 4},
        {"source": "gone.png"},
        {"source": "a.png", "lq": "gone.png"},
        {"source": "frames/%04d.png"},
    ]
    path = manifest(tmp_path / "m.jsonl", *rows)
    assert check(path).exit_code == 0
    result = check(path, stat=True)
    assert (result.rows, result.missing.count, result.changed.count, result.exit_code) == (5, 2, 1, 3)
    assert [one.partition(":")[0] for one in result.missing.named] == ["row 2", "row 3"]
    assert "3 bytes, and column bytes says 4" in result.changed.named[0]


def test_a_file_that_cannot_be_read_on_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"source": "a.png"}\n{"source"\n')
    with pytest.raises(ManifestError, match=r"row 1 \(line 2\): is no JSON"):
        check(tmp_path / "m.jsonl")
    with pytest.raises(UsageError, match="is a folder and no manifest"):
        check(tmp_path)
