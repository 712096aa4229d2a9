"""What a run says of itself in its output root: a small file each, written when it has work, and when it ends.

    ROOT/.farm/runs/RUN.json

For people and for whoever looks on: nothing that decides what is done reads it, and a root without any is as good.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from farm import storage
from farm.errors import ErrorKind, ItemError
from farm.storage import faults

MOST_NOTES = 50
"""that are read: names of runs sort by time, and a root that is worked on every night gets many"""
_MOST_BYTES = 1 << 20
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "int | None": (int, type(None)),
    "tuple[str, ...]": (tuple,),
}
"""what JSON may hold for a field"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNote:
    """One run, as it began and as it ended."""

    run: str
    manifest: str
    models: tuple[str, ...]
    """as they were asked for"""
    rows: int
    """of the manifest"""
    started_unix: float
    host: str
    pid: int
    known: int = 0
    """rows that were done, failed for good or refused before, as far as the marks of whole shards told"""
    ended_unix: float = 0.0
    """0 while it works, and for one that was killed"""
    exit_code: int | None = None
    done: int = 0
    """in this run; this and the next four are 0 until it ends"""
    failed: int = 0
    left: int = 0
    source_px: int = 0
    frames: int = 0
    waiting: str = ""
    """what for, in words, while it waits for its workers"""

    @property
    def seconds(self) -> float | None:
        """From beginning to end; None without one."""
        return self.ended_unix - self.started_unix if self.ended_unix else None


_KINDS: dict[str, tuple[type, ...]] = {field.name: _TYPES[str(field.type)] for field in fields(RunNote)}


def write_note(root: str, note: RunNote) -> None:
    """Write or replace a run's note. Only for who holds the root's lock."""
    url = storage.join(_folder(root), f"{note.run}.json")
    with faults.run_level(url):
        storage.OutputRoot(url=root, attempt=note.run).publish(url, json.dumps(asdict(note)).encode())


def read_notes(root: str, most: int = MOST_NOTES) -> list[RunNote]:
    """The latest notes of an output root, oldest first, without what is no note that this farm understands."""
    folder = _folder(root)
    with faults.run_level(folder):
        try:
            urls = sorted(found.url for found in storage.list_files(folder) if found.url.endswith(".json"))[-most:]
        except ItemError as error:
            if error.kind is ErrorKind.MISSING:
                return []
            raise
        notes = [_note(storage.read_bytes(url, _MOST_BYTES)) for url in urls]
    return sorted((note for note in notes if note is not None), key=lambda note: (note.started_unix, note.run))


def _folder(root: str) -> str:
    path = storage.local_path(root)
    return storage.join(str(path) if path else root, ".farm", "runs")


def _note(text: bytes) -> RunNote | None:
    try:
        said: dict[str, Any] = json.loads(text)
        known = {name: value for name, value in said.items() if name in _KINDS}
        known["models"] = tuple(map(str, known["models"]))
        return RunNote(**known) if all(isinstance(value, _KINDS[name]) for name, value in known.items()) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
