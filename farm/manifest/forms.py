"""The forms a manifest comes in: txt meta_info, CSV, JSONL and Parquet, each streamed as (line, values by column).

Text is UTF-8, with or without a byte order mark. Lines are bounded, row groups and their counts are checked before
anything is unpacked: a manifest may be hostile. All raise ManifestError that names the file and the line.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BytesIO
from typing import Any, BinaryIO, NoReturn, cast

from farm.errors import ManifestError
from farm.kinds import PICTURE_EXTENSIONS, extension_of
from farm.manifest.footer import MAGIC, read_footer
from farm.manifest.pages import check_pages
from farm.manifest.sources import printable

Values = Mapping[str, object]
Located = tuple[int | None, Values]
"""line of the file, from 1 (None in Parquet), and the values that are there"""
CheckNames = Callable[[Iterable[str]], list[str]]
"""which of a file's columns to read; raises ManifestError for a name that means nothing"""

MAX_LINE_BYTES = 1 << 20
TEXT_COLUMNS = ("source", "sha256", "etag", "output", "model", "format", "task", "kind")
MAX_ROWS_PER_BYTE = 100
"""more rows than this to a byte of Parquet cannot be as many different paths"""
_BATCH_ROWS = 8192
_SIZE = re.compile(r"(?P<path>.+) \((?P<height>\d{1,9}), ?(?P<width>\d{1,9})(?:, ?\d{1,9})?\)", re.DOTALL)


def iter_txt(stream: BinaryIO, url: str, check_names: CheckNames) -> Iterator[Located]:
    """BasicSR's meta_info: a path a line, or ``path (height,width,channels)``; empty lines mean nothing."""
    check_names(("source", "width", "height"))
    for line, text in _lines(stream, url):
        text = text.removesuffix("\n").removesuffix("\r")
        if not text:
            continue
        sized = _SIZE.fullmatch(text)
        path = sized["path"] if sized else text
        if _is_pair(path):
            advice = (
                "upscaling takes one path a line; write the second column (lq) alone, or a CSV for names with commas"
            )
            _refuse(url, f"line {line}: {printable(path)!r} is a pair `gt, lq` of training data", advice)
        if sized:
            yield line, {"source": path, "height": sized["height"], "width": sized["width"]}
        else:
            yield line, {"source": path}


def _is_pair(path: str) -> bool:
    left, comma, right = path.rpartition(", ")
    return bool(comma) and extension_of(left) in PICTURE_EXTENSIONS and extension_of(right) in PICTURE_EXTENSIONS


def iter_csv(stream: BinaryIO, url: str, check_names: CheckNames) -> Iterator[Located]:
    """Comma-separated values with the columns' names in the first line; quoted fields may hold commas and newlines."""
    reader = csv.reader((text for _, text in _lines(stream, url)), strict=True)
    try:
        header: list[str] = next(reader, None) or []
        names = [name.strip() for name in header]
        known = set(check_names(names))
        keep = [(at, name) for at, name in enumerate(names) if name in known]
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(names):
                found = f"line {reader.line_num}: {len(fields)} fields where the first line names {len(names)}"
                _refuse(url, found, "quote fields that hold commas")
            yield reader.line_num, {name: fields[at] for at, name in keep}
    except csv.Error as error:
        _refuse(url, f"line {reader.line_num}: is no CSV ({error})", "mend the manifest", error)


def iter_jsonl(stream: BinaryIO, url: str, check_names: CheckNames) -> Iterator[Located]:
    """One JSON object a line, columns as keys; empty lines mean nothing."""
    checked: set[tuple[str, ...]] = set()
    for line, text in _lines(stream, url):
        if not text.strip():
            continue
        try:
            values: object = json.loads(text)
        except (ValueError, RecursionError) as error:
            _refuse(url, f"line {line}: is no JSON ({error})", "write one object a line", error)
        if not isinstance(values, dict):
            _refuse(url, f"line {line}: is not a JSON object", 'write one object a line, such as {"source": "a.png"}')
        row: dict[str, object] = values  # pyright: ignore[reportUnknownVariableType]  # JSON has text keys only
        if (names := tuple(row)) not in checked:
            check_names(names)
            if len(checked) < 64:  # rows that all differ in shape are checked one by one instead of remembered
                checked.add(names)
        yield line, row


def iter_parquet(stream: BinaryIO, url: str, check_names: CheckNames) -> Iterator[Located]:
    """Parquet, one row group after the other, only the columns that mean something."""
    try:
        file = _open_parquet(stream)
        known = check_names(file.schema_arrow.names)
        _check_rows(stream, file.metadata.num_rows)
        for group in range(file.metadata.num_row_groups):
            _check_group(stream, file.metadata.row_group(group), known)
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=known, use_threads=False):
                columns = [_values(batch.column(name), name) for name in known]
                for values in zip(*columns, strict=True):
                    yield None, dict(zip(known, values, strict=True))
    except _PARQUET_ERRORS as error:
        _refuse(url, f"is no Parquet that can be read ({printable(str(error))[:300]})", "make it again", error)


_PARQUET_ERRORS = (OSError, ValueError, KeyError, IndexError, TypeError, NotImplementedError, MemoryError)
"""what pyarrow's own errors derive from (ArrowNotImplementedError, of an encoding that Arrow does not read, from
NotImplementedError): caught by these names, which load nothing"""


def _open_parquet(stream: BinaryIO) -> Any:
    """A ParquetFile, which has no types. Arrow reads the very bytes of the footer that were checked.

    Text stays dictionary encoded, so that a long value costs its length once and not once a row.
    """
    footer = read_footer(stream)
    from pyarrow import parquet  # costs a tenth of a second, which a run over pictures need not pay

    pq = cast(Any, parquet)
    metadata = pq.read_metadata(BytesIO(MAGIC + footer))
    leaves = {metadata.schema.column(at).path for at in range(metadata.num_columns)}
    return pq.ParquetFile(stream, metadata=metadata, read_dictionary=sorted(leaves.intersection(TEXT_COLUMNS)))


def _check_rows(stream: BinaryIO, rows: int) -> None:
    nbytes = stream.seek(0, 2)
    if rows > MAX_ROWS_PER_BYTE * nbytes:
        raise ValueError(f"{rows} rows in {nbytes} bytes cannot be different paths")


def _check_group(stream: BinaryIO, group: Any, known: list[str]) -> None:
    """Refuse a row group that would unpack to more than we are ready to hold, whatever the footer says."""
    for at in range(group.num_columns):
        column = group.column(at)
        name = column.path_in_schema
        if name.split(".")[0] not in known:
            continue
        if name not in known:
            raise ValueError(f"column {name} is nested, which no column of a manifest is in this version")
        starts = [column.data_page_offset]
        if column.has_dictionary_page:
            starts.append(column.dictionary_page_offset)
        check_pages(stream, min(starts), column.total_compressed_size)


def _values(column: Any, name: str) -> list[object]:
    """The values of one column of a batch; equal texts are one object."""
    entries = getattr(column, "dictionary", None)
    if entries is None:
        return column.to_pylist()
    if entries.nbytes > MAX_LINE_BYTES and _longest(entries) > MAX_LINE_BYTES:
        raise ValueError(f"column {name} holds a value of more than {MAX_LINE_BYTES} bytes")
    texts: list[object] = entries.to_pylist()
    return [None if at is None else texts[at] for at in column.indices.to_pylist()]


def _longest(texts: Any) -> int:
    from pyarrow import compute

    return cast(Any, compute).max(cast(Any, compute).binary_length(texts)).as_py() or 0


def _lines(stream: BinaryIO, url: str) -> Iterator[tuple[int, str]]:
    """Lines with their ends, counted from 1; only a newline ends a line, as in a file of names it must."""
    line = 0
    while raw := stream.readline(MAX_LINE_BYTES + 1):
        line += 1
        if len(raw) > MAX_LINE_BYTES:
            _refuse(url, f"line {line}: is longer than {MAX_LINE_BYTES} bytes", "write one row a line")
        try:
            yield line, raw.decode("utf-8-sig" if line == 1 else "utf-8")
        except UnicodeDecodeError as error:
            _refuse(url, f"line {line}: is not UTF-8 ({error.reason})", "save the manifest as UTF-8", error)


def _refuse(url: str, found: str, advice: str, cause: BaseException | None = None) -> NoReturn:
    raise ManifestError(f"manifest: {printable(url)}: {found}; {advice}") from cause
