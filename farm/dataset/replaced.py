"""Files of a tree that another data set takes the place of: noted before it is made, removed when it is complete.

Tables of parts are written over one by one, and with them goes what is known of the old files: so their paths are kept
below OUT/.farm/replaced/ meanwhile. Not noted are files of packs that a killed run had not put together yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from farm import shards, storage
from farm.dataset.lists import column_names, iter_rows
from farm.errors import ErrorKind, ItemError
from farm.storage import OutputRoot

_FOLDER = ".farm/replaced"
_PART = re.compile(r"^(shards|samples|sources)/part-[0-9a-f]{8}\.(tar|parquet)$|^lmdb/[a-z_]+_part-[0-9a-f]{8}\.lmdb/")
_SOURCES = re.compile(r"^sources/(part-[0-9a-f]{8})\.parquet$")


def parts_below(out: str) -> set[str]:
    """Files of parts, relative to the root; other names in their folders are nobody's business."""
    folders = ("shards", "samples", "sources", "lmdb")
    return {path for folder in folders for path in _paths_in(out, folder) if _PART.search(path)}


def note_replaced(root: OutputRoot) -> None:
    """Keep the paths of all files of a tree of which there are tables; of the other forms `parts_below` knows."""
    names = sorted(found[1] for path in _paths_in(root.url, "sources") if (found := _SOURCES.match(path)))
    if not names:
        return
    with root.open_stream(storage.join(root.url, _FOLDER, f"{root.attempt}.txt")) as sink:
        for name in names:
            part = shards.read_part(root.url, name)
            if all(file.path in (shards.samples_path(name), shards.sources_path(name)) for file in part.files):
                sink.write("".join(f"{path}\n" for path in _tree_files(root.url, [part.name])).encode())
        sink.commit()


def remove_replaced(root: OutputRoot, now: shards.DatasetIndex) -> None:
    """Delete what is noted and is no file of the data set that is complete now."""
    notes = [storage.join(root.url, path) for path in _paths_in(root.url, _FOLDER)]
    kept = set(_tree_files(root.url, [part.name for part in now.parts])) if notes and now.form == "tree" else set[str]()
    for note in notes:
        for path in storage.read_bytes(note).decode().splitlines():
            if path not in kept:
                storage.delete(storage.join(root.url, path))
        storage.delete(note)


def _tree_files(out: str, parts: Iterable[str]) -> Iterator[str]:
    """Paths of members; none of samples that keep their files in the table."""
    for part in parts:
        url = storage.join(out, shards.samples_path(part))
        columns = [name for name in column_names(url) if name.endswith("_path") and name != _OWN]
        for rows in iter_rows(url, columns):
            yield from (path for row in rows for path in row.values() if path)


_OWN = "relative_path"
"""of the source, which is nobody's to delete"""


def _paths_in(out: str, folder: str) -> list[str]:
    start = len(out.rstrip("/")) + 1
    try:
        return [one.url[start:] for one in storage.list_files(storage.join(out, folder))]
    except ItemError as error:
        if error.kind is not ErrorKind.MISSING:
            raise
        return []
