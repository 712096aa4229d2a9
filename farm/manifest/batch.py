"""Rows of a Parquet batch, column by column where nothing in it is odd, row by row where something is.

The second way is the reference: it is taken for every batch that holds a value that means nothing, and its rules are
asked about every source that is not a plain path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, cast

from farm.blocks import NO_OVERRIDES, OpenRow
from farm.errors import ItemError
from farm.kinds import MediaKind, kind_of
from farm.manifest.columns import COLUMNS, FACE, LQ, OVERRIDES, SOURCE, TASK, UPSCALE, is_unset, refuse_later
from farm.manifest.parquet import Arrays, iter_values, values
from farm.manifest.rows import Row, RowMaker
from farm.manifest.sources import Plain, printable
from farm.manifest.table import MAX_COPIED_BYTES, is_text, longest
from farm.records import ManifestRow, Overrides, RefusedRow

Column = Sequence[Any]
"""the values that rows carry, None where nothing is set"""

_FEW = 256
"""texts of a dictionary that are parsed once each rather than once a row"""
_START, _CHAR = "[ --0-9;-~]", "[ -.0-9;-~]"
_PATH = f"(?:{_START}{_CHAR}*/)*{_START}{_CHAR}*"
_PLAIN: Mapping[Plain, str] = {
    Plain.RELATIVE: f"^{_PATH}$",
    Plain.ABSOLUTE: f"^/{_PATH}$",
    Plain.OBJECT: f"^s3://[A-Za-z0-9][A-Za-z0-9._-]{{1,254}}/{_PATH}$",
}
"""Sources in printable ASCII, without a colon and without a segment that is empty or begins with a dot: there is
nothing in their text that a rule objects to."""
_WHOLE: Mapping[str, tuple[int, int]] = {
    "bytes": (0, 2**63 - 1),
    "width": (1, 2**31 - 1),
    "height": (1, 2**31 - 1),
    "priority": (-(2**31), 2**31 - 1),
}
"""columns of whole numbers with their bounds; where Arrow has integers, nothing else can be wrong with them"""


def iter_rows(maker: RowMaker, start: int, arrays: Arrays) -> Iterator[Row]:
    """The rows of a batch that begins at row `start`. Raises ManifestError; ValueError for text that is not UTF-8."""
    try:
        columns = {name: column for name, array in arrays.items() if (column := _parsed(array, name)) is not None}
        _check_sources(columns)
    except ValueError:  # a value that means nothing: it is named by the row that holds it
        return _row_by_row(maker, start, arrays)
    return _rows(maker, start, columns, plain_sources(arrays[SOURCE]))


def _row_by_row(maker: RowMaker, start: int, arrays: Arrays) -> Iterator[Row]:
    for index, found in enumerate(iter_values(arrays), start):
        yield maker.make(index, None, found)


def _rows(maker: RowMaker, start: int, columns: Mapping[str, Column], plain: Sequence[Plain]) -> Iterator[Row]:
    sources = columns[SOURCE]
    indices = range(start, start + len(sources))
    kinds = list(map(kind_of, sources))
    if "kind" in columns:
        kinds = [said or seen for said, seen in zip(columns["kind"], kinds, strict=True)]
    asked = {name: columns[name] for name in OVERRIDES if name in columns}
    fields = [columns.get(name) or repeat(None) for name in ("sha256", "etag", "bytes", "width", "height")]
    overrides = _overrides(maker, indices, kinds, asked) if asked else repeat(NO_OVERRIDES)
    priorities = [one or 0 for one in columns["priority"]] if "priority" in columns else repeat(0)
    tags = [one or () for one in columns["tags"]] if "tags" in columns else repeat(())
    resolve = maker.rules.resolve
    found = zip(indices, sources, plain, kinds, *fields, overrides, priorities, tags, strict=False)
    for index, source, how, kind, sha256, etag, nbytes, width, height, asks, priority, words in found:
        try:
            url, relative = resolve(source, how)
        except ItemError as error:
            yield RefusedRow(index=index, source=printable(source), error=error)
            continue
        row = OpenRow(
            index=index,
            source_url=url,
            relative_path=relative,
            kind=kind,
            sha256=sha256,
            etag=etag,
            bytes=nbytes,
            width=width,
            height=height,
            overrides=asks,
            task=UPSCALE,
            priority=priority,
            tags=words,
        )
        row.__class__ = ManifestRow
        yield row


def _overrides(
    maker: RowMaker, indices: Sequence[int], kinds: Sequence[MediaKind], asked: Mapping[str, Column]
) -> Iterator[Overrides]:
    """What each row asks for, made once for rows that ask for the same."""
    made: dict[tuple[object, ...], Overrides] = {}
    for index, kind, *wanted in zip(indices, kinds, *asked.values(), strict=True):
        key = (kind, *wanted)
        overrides = made.get(key)
        if overrides is None:
            wishes = dict(zip(asked, wanted, strict=True))
            overrides = maker.overrides(index, None, wishes, kind)
            if len(made) < _FEW:
                made[key] = overrides
        yield overrides


def _parsed(array: Any, name: str) -> Column | None:
    """The values of one column; None where none is set. Raises ValueError where one means nothing."""
    if array.null_count == len(array):
        return None
    parse = COLUMNS[name]
    if name in _WHOLE and _is_integer(array):
        column = _integers(array, *_WHOLE[name])
    elif (entries := getattr(array, "dictionary", None)) is not None and len(entries) <= _FEW:
        texts = [None if is_unset(text) else parse(text) for text in entries.to_pylist()]
        column = [None if at is None else texts[at] for at in array.indices.to_pylist()]
    elif (copied := _copied(array)) is not None:
        column = _texts(copied, name, parse)
    else:
        column = [None if is_unset(value) else parse(value) for value in values(array)]
    _check_later(name, column)
    return column


def _check_later(name: str, column: Column) -> None:
    if name in (LQ, FACE) and any(one is not None and refuse_later(name, one) for one in set(column)):
        raise ValueError(f"column {name} asks for what is not built yet")
    if name == TASK and not set(column) <= {None, UPSCALE}:
        raise ValueError("rows of other tasks than upscaling are made one by one")


def _check_sources(columns: Mapping[str, Column]) -> None:
    if SOURCE not in columns or None in columns[SOURCE]:
        raise ValueError("a row without a source")


def _is_integer(array: Any) -> bool:
    import pyarrow

    return bool(cast(Any, pyarrow).types.is_integer(array.type))


def _integers(array: Any, least: int, most: int) -> Column:
    from pyarrow import compute

    found = cast(Any, compute).min_max(array).as_py()
    if not least <= found["min"] <= found["max"] <= most:
        raise ValueError(f"a number that is not in {least}..{most}")
    return array.to_pylist() if array.null_count else array.to_numpy().tolist()


def _copied(array: Any) -> Any | None:
    """Text, one a row, of a dictionary too; None for what is no text, and where that would be large."""
    if not hasattr(array, "dictionary"):
        return array if is_text(array) else None
    if not is_text(array.dictionary) or longest(array.dictionary) * len(array) > MAX_COPIED_BYTES:
        return None
    return array.dictionary_decode()


def _texts(array: Any, name: str, parse: Callable[[object], object]) -> Column:
    """The values of a column of text of its own in each row."""
    from pyarrow import compute

    texts: list[Any] = array.to_pylist() if _is_odd(array) else array.to_numpy(zero_copy_only=False).tolist()
    is_whole = name in (SOURCE, "etag") or (
        name == "sha256" and cast(Any, compute).all(_matches(array, "^[0-9a-f]{64}$")).as_py()
    )
    if is_whole:
        return [text or None for text in texts] if "" in texts else texts
    different = set(texts)
    if len(different) > _FEW:
        return [None if is_unset(text) else parse(text) for text in texts]
    parsed = {text: None if is_unset(text) else parse(text) for text in different}
    return [parsed[text] for text in texts]


def _is_odd(array: Any) -> bool:
    """Whether there is text that is not UTF-8, which only Python's own decoder names."""
    try:
        array.validate(full=True)
    except ValueError:
        return True
    return False


def plain_sources(array: Any) -> Sequence[Plain]:
    """What is known of each source from its text alone."""
    copied = _copied(array)
    if copied is None:
        return [Plain.NO] * len(array)
    found = [Plain.NO] * len(array)
    for plain, pattern in _PLAIN.items():
        matches: list[bool] = _matches(copied, pattern).to_numpy(zero_copy_only=False).tolist()
        if all(matches):
            return [plain] * len(array)
        found = [plain if match else before for match, before in zip(matches, found, strict=True)]
    return found


def _matches(array: Any, pattern: str) -> Any:
    """Which texts match a pattern of RE2; nothing where there is none."""
    from pyarrow import compute

    return cast(Any, compute).match_substring_regex(array, pattern)
