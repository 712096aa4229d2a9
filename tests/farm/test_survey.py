"""What is to be done for a row, by what the ledger says of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from farm import ledger, plan
from farm.config import FidelityConfig, RunConfig, VideoConfig
from farm.entries import done_entry, failed_entry
from farm.errors import ErrorKind
from farm.feed import standing_pieces
from farm.film import SegmentReport
from farm.records import Failed, LedgerEntry, Part, PartKind
from farm.summary import RowState
from farm.survey import PendingRow, ShardPlan, Surveyor

from .items import DONE as ANY_DONE
from .test_plan import BOOK

DONE = replace(ANY_DONE, bytes=len(b"made"))


class Folder:
    """Films of which only the names matter, and what a ledger says of them."""

    def __init__(self, folder: Path) -> None:
        self.source, self.out = folder / "in", folder / "out"
        self.suspect = "publish"
        self.source.mkdir()
        self.out.mkdir()
        (self.source / "a.mkv").write_bytes(b"film")

    @contextmanager
    def planned(self, *allowed: str, entries: Sequence[LedgerEntry] = ()) -> Iterator[ShardPlan]:
        """The only shard, planned against these entries and no other."""
        shutil.rmtree(self.out / ".farm", ignore_errors=True)
        with ledger.Ledger(str(self.out), "run") as book:
            for entry in entries:
                book.append(entry)
        video = VideoConfig(**dict.fromkeys(allowed, True))  # pyright: ignore[reportArgumentType]
        config = RunConfig(manifest=str(self.source), video=video, fidelity=FidelityConfig(suspect=self.suspect))
        planner = plan.Planner(config, BOOK, str(self.out), "cpu", cpu_bf16=True)
        with Surveyor(config, planner, str(self.out)) as surveyor:
            ((_, shard),) = surveyor.plans(surveyor.survey())
            yield shard

    def pending(self, *allowed: str, entries: Sequence[LedgerEntry] = ()) -> PendingRow:
        with self.planned(*allowed, entries=entries) as shard:
            (row,) = shard.rows()
        assert isinstance(row, PendingRow)
        return row

    def done(self, *allowed: str, lacking: bool) -> LedgerEntry:
        item = self.pending(*allowed).item
        Path(item.output_url).write_bytes(b"made")
        done = replace(DONE, url=item.output_url, lacking=lacking)
        return done_entry(Part(item=item, kind=PartKind.JOIN), done, 1, "run")

    def failed(self, kind: ErrorKind, *allowed: str) -> LedgerEntry:
        failed = Failed(part_id="p", kind=kind, message="said", node="n", worker="w")
        return failed_entry(self.pending(*allowed).item, failed, 1, "run")

    def state(self, entry: LedgerEntry, *allowed: str) -> RowState:
        with self.planned(*allowed, entries=[entry]) as shard:
            (row,) = shard.rows()
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


def test_a_cut_picture_is_done_only_where_that_is_allowed(folder: Folder) -> None:
    (folder.source / "a.mkv").rename(folder.source / "a.jpg")
    strict, made = folder.failed(ErrorKind.TRUNCATED), folder.done("salvage", lacking=True)
    assert folder.state(strict) is RowState.SETTLED
    assert folder.state(strict, "salvage") is RowState.PENDING
    assert folder.state(made, "salvage") is RowState.REUSED
    assert folder.state(made) is RowState.PENDING
    assert folder.state(folder.done("salvage", lacking=False)) is RowState.REUSED


@pytest.mark.parametrize("name", ["a.mkv", "a.png"])
def test_suspect_outputs_are_made_again_where_they_are_wanted_otherwise(folder: Folder, name: str) -> None:
    (folder.source / "a.mkv").rename(folder.source / name)
    made = folder.done(lacking=False)
    refused = folder.failed(ErrorKind.SUSPECT_OUTPUT)
    suspect, declined = replace(made, suspect="stripes"), replace(refused, suspect="stripes")
    assert folder.state(made) is folder.state(suspect) is RowState.REUSED
    assert folder.state(refused) is RowState.SETTLED, "black: refused whatever the flag"
    assert folder.state(declined) is RowState.PENDING
    folder.suspect = "refuse"
    assert folder.state(made) is RowState.REUSED
    assert folder.state(suspect) is RowState.PENDING
    assert folder.state(refused) is folder.state(declined) is RowState.SETTLED


def test_segments_with_concealed_frames_are_of_no_use_where_none_are_allowed(folder: Folder) -> None:
    item = folder.pending("allow_damaged").item
    entries: list[LedgerEntry] = []
    for index, damaged in enumerate(((), (5,))):
        part = Part(item=item, kind=PartKind.SEGMENT, index=index)
        url = str(folder.out / f"{index}.piece")
        Path(url).write_bytes(b"made")
        report, lacking = SegmentReport(damaged=damaged), bool(damaged)
        done = replace(DONE, url=url, extent=(4 * index, 4 * index + 4), report=report, lacking=lacking)
        entries.append(done_entry(part, done, 1, "run"))
    assert [entry.key for entry in folder.pending("allow_damaged", entries=entries).pieces] == [
        f"{item.item_id}/segment/0",
        f"{item.item_id}/segment/1",
    ]
    strict, loose = folder.pending(entries=entries), folder.pending("allow_damaged", entries=entries)
    assert list(standing_pieces(strict.pieces, strict.item)) == [f"{item.item_id}/segment/0"]
    assert len(standing_pieces(loose.pieces, loose.item)) == 2
    (folder.out / "1.piece").unlink()
    assert len(standing_pieces(loose.pieces, loose.item)) == 1


def test_pending_rows_are_guessed_by_kind(folder: Folder) -> None:
    (folder.source / "b.png").write_bytes(b"1234567890")
    (folder.source / "c.avi").write_bytes(b"1234567890")
    with folder.planned() as shard:
        assert {like.extension: px for like, px in shard.guesses().items()} == {"mkv": 240, "png": 7, "avi": 600}
        assert shard.pending == 3
