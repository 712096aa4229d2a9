"""The lists that upstream's training reads: one line a picture or a pair, in the order of the parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from farm import shards, storage
from farm.storage import OutputRoot

LISTS = META_INFO, PAIRS, GT = "meta_info.txt", "meta_info_pairs.txt", "meta_info_gt.txt"
Row = Mapping[str, Any]
Line = Callable[[Row], str | None]
"""the line of a row, None for a row without one"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _List:
    """A list over one of the parts' tables."""

    name: str
    table: Callable[[str], str]
    """where below the root a part's table lies"""
    columns: tuple[str, ...]
    line: Line


OTHER_SCALE = "other_scale"
"""rule for pairs that fit each other, but not as most do"""


def write_lists(
    root: OutputRoot, parts: Sequence[shards.PartEntry], operation: str, form: str, left_out: Counter[str]
) -> list[str]:
    """Write what an operation has of them; returns their URLs. What is done and in no list is counted in `left_out`."""
    return [_write(root, parts, one) for one in _lists(root, parts, operation, form, left_out)]


def _lists(
    root: OutputRoot, parts: Sequence[shards.PartEntry], operation: str, form: str, left_out: Counter[str]
) -> list[_List]:
    if operation == "meta-info":
        return [_List(name=META_INFO, table=shards.sources_path, columns=("relative_path", "status"), line=_own_name)]
    if operation == "pairs":
        columns = ("relative_path", "status", "lq", "scale")
        scales = _scales(root, parts)
        scale = min(scales, key=lambda scale: (-scales[scale], scale or 0), default=None)
        left_out[OTHER_SCALE] += scales.total() - scales[scale]
        return [_List(name=PAIRS, table=shards.sources_path, columns=columns, line=_own_pair(scale))]
    if form != "tree" or operation == "stats":
        return []
    if operation != "degrade":
        return [_List(name=META_INFO, table=shards.samples_path, columns=("image_path",), line=_below("image"))]
    columns = ("gt_path", "lq_path")
    return [
        _List(name=GT, table=shards.samples_path, columns=("gt_path",), line=_below("gt")),
        _List(name=PAIRS, table=shards.samples_path, columns=columns, line=lambda row: _pair(*map(row.get, columns))),
    ]


def _below(role: str) -> Line:
    folder = f"{shards.role_folder(role)}/"
    return lambda row: str(row[f"{role}_path"]).removeprefix(folder)


def _pair(gt: object, lq: object) -> str:
    return f"{gt}, {lq}"


def _own_name(row: Row) -> str | None:
    return str(row["relative_path"]) if row["status"] == "done" else None


def _own_pair(scale: int | None) -> Line:
    def line(row: Row) -> str | None:
        fits = row["status"] == "done" and row["scale"] == scale
        return _pair(row["relative_path"], row["lq"]) if fits else None

    return line


def _scales(root: OutputRoot, parts: Sequence[shards.PartEntry]) -> Counter[int | None]:
    """How many pairs have which scale; None where sizes were not looked at."""
    scales = Counter[int | None]()
    for part in parts:
        for rows in iter_rows(storage.join(root.url, shards.sources_path(part.name)), ["status", "scale"]):
            scales.update(row["scale"] for row in rows if row["status"] == "done")
    return scales


def _write(root: OutputRoot, parts: Sequence[shards.PartEntry], how: _List) -> str:
    url = storage.join(root.url, how.name)
    with root.open_stream(url) as sink:
        for part in parts:
            for rows in iter_rows(storage.join(root.url, how.table(part.name)), list(how.columns)):
                lines = (line for row in rows if (line := how.line(row)) is not None)
                sink.write("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
        sink.commit()
    return url


def iter_rows(url: str, columns: list[str]) -> Iterator[list[dict[str, Any]]]:
    """Some columns of a table, a batch of rows at a time."""
    from pyarrow import parquet

    with storage.open_read(url) as file:
        for batch in cast(Any, parquet).ParquetFile(file).iter_batches(columns=columns):
            yield batch.to_pylist()


def column_names(url: str) -> list[str]:
    """Of a table."""
    from pyarrow import parquet

    with storage.open_read(url) as file:
        return cast(Any, parquet).read_schema(file).names
