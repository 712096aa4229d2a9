"""Output roots as runs leave them, without a run: real files, a real ledger, whatever figures a test wants."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from farm import plan, storage
from farm.ledger import Ledger, RunNote, compact, write_note
from farm.records import ItemStatus, LedgerEntry
from tests.clips import film as clip
from tests.pictures import photo, png_of

RUN = "20260102T030405Z-0000abcd"


def entry(root: str, row: int, name: str = "", **changes: Any) -> LedgerEntry:
    """A done row, of a picture of 96 x 64 that was enlarged four times."""
    name = name or f"{row}.png"
    made = LedgerEntry(
        key=f"{row:032x}",
        shard=row // plan.SHARD_ROWS,
        row=row,
        source=f"{root}-in/{name}",
        output=f"{root}/{name}",
        status=ItemStatus.DONE,
        sha256="0" * 64,
        bytes=1000,
        width=384,
        height=256,
        source_px=96 * 64,
        model="animevideov3",
        scale="4",
        mode="exact",
        precision="fp32",
        consistency=31.5,
        colour=1.5,
        off=0.0,
        stripes=0.02,
        lattice=0.1,
        seam=0.9,
        attempts=1,
        infer_s=0.5,
        total_s=1.0,
        read_s=0.125,
        decode_s=0.25,
        wait_s=1.0,
        encode_s=0.0625,
        write_s=0.03125,
        node="host",
        worker="cpu-0",
        finished_unix=1_767_323_045.0 + row,
        run=RUN,
    )
    return replace(made, **changes)


def failed(root: str, row: int, kind: str = "truncated", **changes: Any) -> LedgerEntry:
    """A row that failed."""
    nothing = dict.fromkeys(("consistency", "colour", "off", "stripes", "lattice", "seam"))
    stages = dict.fromkeys(("read_s", "decode_s", "wait_s", "encode_s", "write_s"))
    said = {"error": kind, "message": f"{kind}: {root}-in/{row}.png: is so; mend it", "status": ItemStatus.FAILED}
    empty = {"bytes": 0, "width": 0, "height": 0, "source_px": 0, "sha256": "", "infer_s": 0.0, "total_s": 0.0}
    return entry(root, row, **{**nothing, **stages, **said, **empty, **changes})


def published(root: str, row: int, name: str, **changes: Any) -> LedgerEntry:
    """A done row whose source and output are there: each source pixel is four by four of the output."""
    one = entry(root, row, name)
    pixels = photo(row)
    put(one.source, png_of(pixels))
    put(one.output, png_of(pixels.repeat(4, axis=0).repeat(4, axis=1)))
    return _as_stored(one, **changes)


def film(root: str, row: int, **changes: Any) -> LedgerEntry:
    """A film of four frames that was restored to itself."""
    one = entry(root, row, f"{row}.mov", width=96, height=64, scale="1", frames=4, flicker=1.0, source_px=4 * 96 * 64)
    put(one.source, clip("runs.mov"))
    put(one.output, clip("runs.mov"))
    return _as_stored(one, **changes)


def _as_stored(one: LedgerEntry, **changes: Any) -> LedgerEntry:
    said = {"bytes": storage.stat(one.output).bytes, "source_version": storage.stat(one.source).version}
    return replace(one, **{**said, **changes})


def put(url: str, data: bytes) -> None:
    """A file, with its folders."""
    storage.publish(url, data, attempt="test")


def write(root: str, entries: Sequence[LedgerEntry], *, run: str = RUN, compacted: bool = True) -> None:
    """A ledger of these entries."""
    with Ledger(root, run) as book:
        for one in entries:
            book.note(one)
    if compacted:
        compact(root, run)


def note(root: str, rows: int, **changes: Any) -> RunNote:
    """What a run of so many rows says of itself; without `ended_unix` it has not ended."""
    made = RunNote(
        run=RUN,
        manifest=f"{root}-in",
        models=("animevideov3",),
        rows=rows,
        started_unix=1_767_323_040.0,
        host="host",
        pid=1,
    )
    made = replace(made, **changes)
    write_note(root, made)
    return made


def now() -> float:
    return time.time()


def decoded(data: bytes) -> np.ndarray:
    """Pixels of a picture, as another decoder has them."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
