"""What goes in: a manifest file, a folder or prefix, a glob, one picture or one film, read as a stream of rows.

Rows are read lazily and only checked, never enriched: whether a source exists is asked later. Wrong manifests raise
ManifestError (exit 65, nothing started); a row with a hostile path becomes a RefusedRow, so that the counts add up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from itertools import islice

from farm import storage
from farm.errors import ItemError, ManifestError, UsageError
from farm.kinds import CONTAINERS, EXTENSION_FORMATS, PICTURE_EXTENSIONS, MediaKind, extension_of, is_sequence, kind_of
from farm.manifest import files
from farm.manifest.listing import MAGIC, Choice, Everything, Found, Pattern, iter_found, split_glob
from farm.manifest.rows import Row
from farm.manifest.shards import ManifestShards, RowShards, ShardRows, TableShards
from farm.manifest.sources import canonical, check_text, printable
from farm.records import ManifestRow, RefusedRow
from farm.several import each_by

__all__ = [
    "FILE_FORMS",
    "InputForm",
    "ManifestShards",
    "Row",
    "ShardRows",
    "canonical",
    "default_out",
    "form_of",
    "output_root",
    "read_manifest",
    "shards",
]

OUT_FOLDER = "farm-out"


class InputForm(str, Enum):
    """What a run is given."""

    TXT = "txt"
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    MEDIUM = "picture or film"
    FOLDER = "folder"
    GLOB = "glob"


FILE_FORMS = frozenset((InputForm.TXT, InputForm.CSV, InputForm.JSONL, InputForm.PARQUET))
"""forms that are a manifest file"""
_EXTENSIONS: Mapping[str, InputForm] = {
    "txt": InputForm.TXT,
    "csv": InputForm.CSV,
    "jsonl": InputForm.JSONL,
    "ndjson": InputForm.JSONL,
    "parquet": InputForm.PARQUET,
    "pq": InputForm.PARQUET,
    **dict.fromkeys((*PICTURE_EXTENSIONS, *CONTAINERS), InputForm.MEDIUM),
}


def form_of(url: str) -> InputForm:
    """What `url` is taken for: a folder if it is one, else by its wildcards, else by its extension.

    A name with wildcards that exists is taken for itself. On an object store what has neither is a prefix.
    Raises ManifestError for anything else.
    """
    place = canonical(url)
    remote = storage.is_remote(place)
    if not remote and os.path.isdir(place):
        return InputForm.FOLDER
    if MAGIC.search(place) and not _is_there(place):
        return InputForm.GLOB
    form = _EXTENSIONS.get(extension_of(place))
    if form is None or (remote and url.endswith("/")):
        if remote:
            return InputForm.FOLDER
        what = (
            "is neither a manifest nor a picture or film by its extension"
            if os.path.exists(place)
            else "no such file or folder"
        )
        tables = (extension for extension, form in _EXTENSIONS.items() if form is not InputForm.MEDIUM)
        known = ", ".join(f".{extension}" for extension in (*tables, *EXTENSION_FORMATS, *CONTAINERS))
        raise ManifestError(f"manifest: {printable(url)}: {what}; give a folder, a glob, or one of {known}")
    return form


def _is_there(place: str) -> bool:
    try:
        return storage.exists(place) or (storage.is_remote(place) and next(storage.list_prefix(place + "/"), "") != "")
    except ItemError:  # what may not be asked for may still be listed; if not, the listing says why
        return False


def output_root(url: str, out: str | None) -> str:
    """Where outputs of a manifest go: as asked for, or farm-out/ beside it; absolute."""
    return canonical(out) if out else default_out(url)


def default_out(url: str) -> str:
    """The output root of a run without --out: always the same, so that the same command resumes.

    `farm-out` beside a manifest or a picture, in a folder or prefix, and in the folder that a glob starts from.
    """
    place, form = canonical(url), form_of(url)
    if form is InputForm.FOLDER:
        return storage.join(place, OUT_FOLDER)
    folder = split_glob(place)[0] if form is InputForm.GLOB else storage.parent(place)
    return storage.join(folder, OUT_FOLDER)


def read_manifest(
    url: str, *, root: str | None = None, out: str | None = None, limit: int | None = None
) -> Iterator[Row]:
    """The rows of a manifest, in order, `index` counting from 0; at most `limit`.

    `root`: what relative sources start from and what names of outputs are relative to; the manifest's own folder
    unless given. `out`: the output root, left out of folders and globs. Raises ManifestError, part of it while read.
    """
    place, form = canonical(url), form_of(url)
    if form in FILE_FORMS:
        rows = files.read_rows(place, root or storage.parent(place))
    elif root is not None:
        raise UsageError(f"--root: goes with manifest files, and {printable(url)} is a {form.value}; leave it out")
    elif form is InputForm.MEDIUM:
        rows = iter([_medium(place)])
    else:
        folder, pattern = (place, None) if form is InputForm.FOLDER else split_glob(place)
        choice = Everything() if pattern is None else Pattern(pattern)
        rows = _read_listing(canonical(folder), choice, canonical(out) if out else default_out(url))
    return islice(rows, limit)


def shards(
    url: str,
    *,
    root: str | None = None,
    out: str | None = None,
    limit: int | None = None,
    shard_rows: int,
    models: Sequence[str] = (),
) -> ManifestShards:
    """The rows of read_manifest, `shard_rows` at a time; with several `models` as `farm.several.each_by` makes them,
    `limit` counting the manifest's own. Raises as it does."""
    place, form = canonical(url), form_of(url)
    if models:
        return RowShards(lambda: each_by(read_manifest(url, root=root, out=out, limit=limit), models), shard_rows)
    if form is InputForm.PARQUET:
        return TableShards(place, root or storage.parent(place), limit=limit, shard_rows=shard_rows)
    return RowShards(lambda: read_manifest(url, root=root, out=out, limit=limit), shard_rows)


def _medium(url: str) -> Row:
    """The only row of a run over one picture or film; a link is followed, since a person named it."""
    try:
        check_text(url)
    except ItemError as error:
        return RefusedRow(index=0, source=printable(url), error=error)
    return ManifestRow(index=0, source_url=url, relative_path=storage.name(url), kind=kind_of(url))


def _read_listing(root: str, choice: Choice, out: str) -> Iterator[Row]:
    return (row_of_found(index, root, found) for index, found in enumerate(iter_found(root, out, choice)))


def row_of_found(index: int, root: str, found: Found) -> Row:
    """The row of what a listing of `root` has found."""
    if found.error is not None:
        return RefusedRow(index=index, source=printable(storage.join(root, found.relative)), error=found.error)
    url = f"{root.rstrip('/')}/{found.relative}"
    return ManifestRow(
        index=index,
        source_url=url,
        relative_path=found.relative,
        kind=MediaKind.IMAGE if is_sequence(url) else kind_of(url),  # a numbered name that is there is one picture
        bytes=found.bytes,
        etag=found.etag,
    )
