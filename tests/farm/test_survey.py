"""What is to be done for a row, by what the ledger says of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from farm import plan, storage
from farm.config import RunConfig, VideoConfig
from farm.entries import done_entry, failed_entry
from farm.errors import ErrorKind
from farm.film import SegmentReport
from farm.records import Failed, LedgerEntry, Part, PartKind, WorkItem
from farm.summary import RowState
from farm.survey import Surveyor, survey

from .items import DONE as ANY_DONE
from .test_plan import BOOK

DONE = replace(ANY_DONE, bytes=len(b"made"))


class Folder:
    """Films of which only the names matter, and what a ledger says of them."""

    def __init__(self, folder: Path) -> None:
        self.source, self.out = folder / "in", folder / "out"
        self.source.mkdir()
        self.out.mkdir()
        (self.source / "a.mkv").write_bytes(b"film")

    def surveyor(self, *allowed: str, ledger: dict[str, LedgerEntry] | None = None) -> Surveyor:
        video = VideoConfig(**dict.fromkeys(allowed, True))  # pyright: ignore[reportArgumentType]
        config = RunConfig(manifest=str(self.source), video=video)
        planner = plan.Planner(config, BOOK, str(self.out), "cpu", cpu_bf16=True)
        outputs = {stat.url: stat.bytes for stat in storage.list_files(str(self.out))}
        return Surveyor(config, planner, str(self.out), ledger or {}, outputs)

    def item(self, *allowed: str) -> WorkItem:
        (row,) = self.surveyor(*allowed).rows()
        assert row.item is not None
        return row.item

    def done(self, *allowed: str, lacking: bool) -> dict[str, LedgerEntry]:
        item = self.item(*allowed)
        Path(item.output_url).write_bytes(b"made")
        done = replace(DONE, url=item.output_url, lacking=lacking)
        return {item.item_id: done_entry(Part(item=item, kind=PartKind.JOIN), done, 1, "run")}

    def failed(self, kind: ErrorKind, *allowed: str) -> dict[str, LedgerEntry]:
        item = self.item(*allowed)
        failed = Failed(part_id="p", kind=kind, message="said", node="n", worker="w")
        return {item.item_id: failed_entry(item, failed, 1, "run")}

    def state(self, ledger: dict[str, LedgerEntry], *allowed: str) -> RowState:
        (row,) = self.surveyor(*allowed, ledger=ledger).rows()
        return row.state


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_whole_film_is_done_for_whoever_allows_damage(folder: Folder) -> None:
    assert folder.state(folder.done(lacking=False), "salvage", "allow_damaged") is RowState.REUSED


def test_a_whole_film_is_done_for_whoever_allows_none_any_more(folder: Folder) -> None:
    assert folder.state(folder.done("salvage", "allow_damaged", lacking=False)) is RowState.REUSED


def test_a_film_that_lacks_something_is_not_done_where_that_is_not_allowed(folder: Folder) -> None:
    made = folder.done("salvage", lacking=True)
    assert folder.state(made) is RowState.PENDING
    assert folder.state(made, "allow_damaged") is RowState.PENDING
    assert folder.state(made, "salvage") is RowState.REUSED
    assert folder.state(made, "salvage", "allow_damaged") is RowState.REUSED


@pytest.mark.parametrize("kind", [ErrorKind.TRUNCATED, ErrorKind.DECODE_ERRORS])
def test_a_film_that_has_failed_is_tried_again_where_more_is_allowed(folder: Folder, kind: ErrorKind) -> None:
    strict, loose = folder.failed(kind), folder.failed(kind, "salvage", "allow_damaged")
    assert folder.state(strict) is RowState.SETTLED
    assert folder.state(strict, "salvage") is RowState.PENDING
    assert folder.state(loose, "salvage") is RowState.SETTLED
    assert folder.state(loose) is RowState.SETTLED


def test_segments_with_concealed_frames_are_of_no_use_where_none_are_allowed(folder: Folder) -> None:
    item = folder.item("allow_damaged")
    ledger: dict[str, LedgerEntry] = {}
    for index, damaged in enumerate(((), (5,))):
        part = Part(item=item, kind=PartKind.SEGMENT, index=index)
        url = str(folder.out / f"{index}.piece")
        Path(url).write_bytes(b"made")
        report, lacking = SegmentReport(damaged=damaged), bool(damaged)
        done = replace(DONE, url=url, extent=(4 * index, 4 * index + 4), report=report, lacking=lacking)
        ledger[part.part_id] = done_entry(part, done, 1, "run")
    known = [len(folder.surveyor(*allowed, ledger=ledger).pieces(item)) for allowed in ((), ("allow_damaged",))]
    strict = folder.surveyor(ledger=ledger).pieces(folder.item())
    assert known == [2, 2], "what the item allows counts, and this one allows damage"
    assert list(strict) == [f"{item.item_id}/segment/0"]


def test_pending_rows_are_guessed_by_kind(folder: Folder) -> None:
    (folder.source / "b.png").write_bytes(b"1234567890")
    (folder.source / "c.avi").write_bytes(b"1234567890")
    counted = survey(folder.surveyor())
    assert {like.extension: px for like, px in counted.guesses.items()} == {"mkv": 240, "png": 7, "avi": 600}
