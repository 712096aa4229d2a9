"""When all packs are done: counts, the lists that upstream's training reads, and dataset.json.

Everything is read from the parts' own tables, so that it is the same whoever made them, and when.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from farm import shards, storage
from farm.config import PrepareConfig
from farm.dataset.packs import Packs
from farm.errors import ItemError
from farm.storage import OutputRoot

SHOWN = 5
"""failures that are named"""
UNSAFE_NAME = "unsafe_name"
"""rule for a picture that a list of upstream cannot name: its readers split lines at spaces"""
Rows = list[dict[str, Any]]
Line = Callable[[Mapping[str, Any]], str | None]


@dataclass(slots=True)
class Counted:
    """A data set that is complete."""

    out: str
    done: int = 0
    skipped: int = 0
    failed: int = 0
    """sources"""
    samples: int = 0
    parts: int = 0
    bytes: int = 0
    reasons: Counter[str] = field(default_factory=Counter[str])
    """of sources that were skipped or have failed"""
    rules: Counter[str] = field(default_factory=Counter[str])
    """what was done to sources that are no plain 8-bit RGB pictures"""
    failures: list[str] = field(default_factory=list[str])
    """the first few messages"""
    lists: list[str] = field(default_factory=list[str])
    """URLs of what was written for training to read"""

    @property
    def sources(self) -> int:
        return self.done + self.skipped + self.failed


def finish(out: str, packs: Packs, config: PrepareConfig, operation: str, run: str) -> Counted:
    """Count, write lists and the index, and remove parts of an earlier state that are none any more."""
    root = OutputRoot(url=out, attempt=run)
    counted = Counted(out=out)
    parts = [shards.read_part(out, name) for name in packs.names]
    for part in parts:
        _count(counted, part, out)
    counted.lists = [_write_list(root, name, parts, how) for name, how in _lists(operation, config.form).items()]
    before = _files_before(out)
    options = config.options(operation)
    index = shards.DatasetIndex(
        form=config.form,
        operation=operation,
        roles=options.roles,
        options=asdict(options),
        parts=tuple(parts),
    )
    shards.write_index(index, root)
    now = {file.path for part in parts for file in part.files}
    for path in before - now:
        storage.delete(storage.join(out, path))
    return counted


def _count(counted: Counted, part: shards.PartEntry, out: str) -> None:
    counted.parts += 1
    counted.done += part.done
    counted.skipped += part.skipped
    counted.failed += part.failed
    counted.samples += part.samples
    counted.bytes += part.member_bytes
    url = storage.join(out, shards.sources_path(part.name))
    for rows in _iter_rows(url, ["reason", "message", "rules", "status"]):
        for row in rows:
            counted.rules.update(row["rules"] or ())
            if row["reason"]:
                counted.reasons[row["reason"]] += 1
            if row["status"] == "failed" and len(counted.failures) < SHOWN:
                counted.failures.append(row["message"] or row["reason"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _List:
    """A list of one line a row."""

    table: Callable[[str], str]
    """where below the root a part's table lies"""
    columns: tuple[str, ...]
    line: Line


def _lists(operation: str, form: str) -> dict[str, _List]:
    """The lists of an operation by name."""
    if operation == "meta-info":
        return {"meta_info.txt": _List(table=shards.sources_path, columns=("relative_path", "status"), line=_own_name)}
    if form != "tree" or operation in ("stats", "pairs"):
        return {}
    if operation != "degrade":
        return {"meta_info.txt": _List(table=shards.samples_path, columns=("image_path",), line=_below("image"))}
    return {
        "meta_info_gt.txt": _List(table=shards.samples_path, columns=("gt_path",), line=_below("gt")),
        "meta_info_pairs.txt": _List(
            table=shards.samples_path,
            columns=("gt_path", "lq_path"),
            line=lambda row: f"{row['gt_path']}, {row['lq_path']}",
        ),
    }


def _below(role: str) -> Line:
    folder = f"{shards.role_folder(role)}/"
    return lambda row: str(row[f"{role}_path"]).removeprefix(folder)


def _own_name(row: Mapping[str, Any]) -> str | None:
    name = str(row["relative_path"])
    return name if row["status"] == "done" and not any(char.isspace() for char in name) else None


def _write_list(root: OutputRoot, name: str, parts: list[shards.PartEntry], how: _List) -> str:
    url = storage.join(root.url, name)
    with root.open_stream(url) as sink:
        for part in parts:
            for rows in _iter_rows(storage.join(root.url, how.table(part.name)), list(how.columns)):
                lines = [line for row in rows if (line := how.line(row)) is not None]
                sink.write("".join(f"{line}\n" for line in lines).encode())
        sink.commit()
    return url


def _files_before(out: str) -> set[str]:
    with suppress(ItemError):  # there is none, or one that says nothing: nothing is known to be ours
        return {file.path for part in shards.read_index(out).parts for file in part.files}
    return set()


def _iter_rows(url: str, columns: list[str]) -> Iterator[Rows]:
    from pyarrow import parquet

    with storage.open_read(url) as file:
        for batch in cast(Any, parquet).ParquetFile(file).iter_batches(columns=columns):
            yield batch.to_pylist()
