"""Packs of sources: bounded, complete, and the same whatever order the rows come in."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.config import degrade_options
from farm.dataset.packs import DUPLICATE_ROW, plan_packs, remove_old, rows_of_pack
from farm.errors import UsageError
from farm.sample import SourceRow, StatsOptions, read_pack, safe_key
from sr_kernel.degrade.recipe import RECIPES


def source(path: str, **others: object) -> SourceRow:
    return replace(
        SourceRow(url=f"/root/{path}", relative_path=path, key=safe_key(path), version="stat:1:1"),
        **others,  # type: ignore[arg-type]
    )


def packs_of(sources: list[SourceRow], out: Path, most_rows: int) -> dict[str, tuple[SourceRow, ...]]:
    planned = plan_packs(sources, str(out), most_rows=most_rows, run="test")
    return {file: read_pack((out / ".farm" / "packs" / file).read_bytes()) for file in planned.files}


SOURCES = [source(f"folder {index % 7}/picture.{index:04d}.png") for index in range(500)]


@pytest.mark.parametrize("most_rows", [1, 7, 64, 1000])
def test_every_source_is_in_one_pack_and_no_pack_has_too_many(tmp_path: Path, most_rows: int) -> None:
    packs = packs_of(SOURCES, tmp_path, most_rows)
    assert max(map(len, packs.values())) <= most_rows
    found = [row for rows in packs.values() for row in rows]
    assert sorted(row.relative_path for row in found) == sorted(row.relative_path for row in SOURCES)
    assert list(packs) == sorted(packs)


def test_the_order_of_the_rows_decides_nothing(tmp_path: Path) -> None:
    shuffled = random.Random(1).sample(SOURCES, len(SOURCES))
    assert packs_of(SOURCES, tmp_path / "a", 20) == packs_of(shuffled, tmp_path / "b", 20)


def test_a_source_that_comes_changes_one_pack_or_splits_it(tmp_path: Path) -> None:
    before = packs_of(SOURCES, tmp_path, 20)
    for index in range(20):
        after = packs_of([*SOURCES, source(f"new-{index}.png")], tmp_path, 20)
        assert len(set(before) - set(after)) == 1
        assert len(set(after) - set(before)) <= 2


def test_packs_of_earlier_states_are_forgotten(tmp_path: Path) -> None:
    packs_of(SOURCES, tmp_path, 20)
    planned = plan_packs(SOURCES[:5], str(tmp_path), most_rows=20, run="test")
    remove_old(planned)
    left = {path.name for path in (tmp_path / ".farm" / "packs").iterdir()}
    assert left == {*planned.files, planned.manifest.rpartition("/")[2]}


def test_packs_that_are_there_are_not_written_again(tmp_path: Path) -> None:
    packs_of(SOURCES, tmp_path, 20)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / ".farm" / "packs").iterdir()}
    packs_of(SOURCES, tmp_path, 20)
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / ".farm" / "packs").iterdir()}


def test_sources_that_differ_in_their_extension_get_keys_of_their_own(tmp_path: Path) -> None:
    ((rows),) = packs_of([source("a.png"), source("a.jpg"), source("b.png")], tmp_path, 9).values()
    keys = {row.relative_path: row.key for row in rows}
    assert keys["b.png"] == "b"
    assert keys["a.png"].startswith("a-")
    assert keys["a.jpg"].startswith("a-")
    assert len(set(keys.values())) == 3


def test_a_row_that_stands_twice_is_done_once(tmp_path: Path) -> None:
    ((rows),) = packs_of([source("a.png"), source("b.png"), source("a.png")], tmp_path, 9).values()
    assert sorted((row.relative_path, row.skip) for row in rows) == [
        ("a.png", ""),
        ("a.png", DUPLICATE_ROW),
        ("b.png", ""),
    ]


def test_no_sources_make_no_packs(tmp_path: Path) -> None:
    planned = plan_packs([], str(tmp_path), most_rows=9, run="test")
    assert planned.files == ()
    assert Path(planned.manifest).read_text() == ""


def test_the_manifest_of_packs_says_their_digests(tmp_path: Path) -> None:
    planned = plan_packs(SOURCES, str(tmp_path), most_rows=50, run="test")
    lines = [json.loads(line) for line in Path(planned.manifest).read_text().splitlines()]
    assert [line["source"] for line in lines] == list(planned.files)
    assert all(line["source"].endswith(f"{line['sha256'][:16]}.pack") for line in lines)


def test_rows_of_a_pack_keep_the_bound_whatever_the_pictures_are() -> None:
    options = degrade_options(RECIPES["x4plus"], per_image=3)
    rows = rows_of_pack(options, "degrade", 64 << 20)
    raw = 3 * 3 * (2 * 400 * 400 + 100 * 100)
    assert 0.9 * (64 << 20) < rows * raw < (64 << 20)
    with pytest.raises(UsageError, match=r"--shard-size: 300 pairs of one picture may take .* MiB"):
        rows_of_pack(replace(options, per_image=300), "degrade", 64 << 20)
    assert rows_of_pack(StatsOptions(), "stats", 1) > 100


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("a/b_c-1.png", "a/b_c-1"),
        ("noext", "noext"),
        ("a b.png", "a_b-"),
        ("x.2.png", "x_2-"),
        ("фото/снимок.jpg", "____/______-"),
    ],
)
def test_keys_hold_nothing_that_upstream_splits_at(path: str, key: str) -> None:
    assert safe_key(path) == key or (key.endswith("-") and safe_key(path).startswith(key))


@given(st.lists(st.text(min_size=1, max_size=40), min_size=2, max_size=2, unique=True))
def test_keys_of_different_names_are_different_or_told_by_the_extension_only(names: list[str]) -> None:
    first, second = (f"{name}.png" for name in names)
    assert safe_key(first) != safe_key(second)


def test_a_pack_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    odd = source("ä\u2028\n.png", refusal=("missing", "no\nsuch"), sha256="0" * 64, bytes=7, lq_url="/x", skip="r")
    ((rows),) = packs_of([odd], tmp_path, 1).values()
    assert rows == (odd,)
