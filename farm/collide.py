"""Outputs that would overwrite each other or an input, found before any work.

Names are hashed to 8 bytes, in scratch where they are many; what has an equal hash is then compared by name. Names
count as equal when they are after case folding and NFC, as on file systems that do not tell those apart.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from farm.blocks import RowBlock
from farm.errors import ManifestError
from farm.kinds import is_frame_name
from farm.names import Namer
from farm.output_path import SEQUENCE_INDEX
from farm.spill import Hashes, Index, Room

_COLLISIONS_COUNTED = 1000
_KEPT = 10_000
"""hashes that are compared by name; a manifest with more collisions is shown the first of these"""
_INDEX = f"/{SEQUENCE_INDEX}"
_short: Callable[[str], int] = hash


class Collisions:
    """Outputs and inputs go in by the block; `check` says whether they clash. A context."""

    def __init__(self, namer: Namer) -> None:
        self._namer = namer
        self._below = _fold(namer.planner.out + "/")
        self._outputs = Room()
        self._inputs = Room()
        self._sequences = Room()
        """folders of numbered sequences, which hold more than the one file that is their output"""

    def __enter__(self) -> Collisions:
        return self

    def __exit__(self, *_: object) -> None:
        for room in (self._outputs, self._inputs, self._sequences):
            room.close()

    def add(self, sources: Sequence[str], outputs: Sequence[str]) -> None:
        """Rows to be checked; an empty output is none."""
        named = [_fold(output) for output in outputs if output]
        self._outputs.add(_hashes(named))
        folders = [output.removesuffix(_INDEX) for output in named if output.endswith(_INDEX)]
        if folders:
            self._sequences.add(_hashes(folders))
        inside = [folded for source in sources if (folded := _fold(source)).startswith(self._below)]
        if inside:
            self._inputs.add(_hashes(inside))

    def check(self, read: Callable[[], Iterable[RowBlock]]) -> None:
        """Raise ManifestError for outputs that clash; `read` gives the manifest's rows, and is called only then."""
        doubled, count = self._doubled()
        overwritten = self._overwritten() if self._inputs.count else set[int]()
        _refuse_overwritten_input(read, self._namer, overwritten)
        if doubled:
            _refuse_collision(read, self._namer, doubled, count)
        if self._sequences.count:
            _refuse_frames(read, self._namer, self._sequences.index())

    def _doubled(self) -> tuple[set[int], int]:
        """Hashes that several outputs have, and how many outputs have the hash of an earlier one."""
        found: list[Hashes] = []
        count = kept = 0
        for records in self._outputs.iter_sorted():
            keys = records["key"]
            doubled = keys[1:][keys[1:] == keys[:-1]]
            count += len(doubled)
            if len(doubled) and kept < _KEPT:
                found.append(np.unique(doubled)[: _KEPT - kept])
                kept += len(found[-1])
        return set(np.concatenate(found).tolist()) if found else set(), count

    def _overwritten(self) -> set[int]:
        """Hashes that inputs and outputs share."""
        inputs, found = self._inputs.index(), set[int]()
        for records in self._outputs.iter_sorted():
            asked, _ = inputs.find(records["key"])
            if len(found) < _KEPT:
                found.update(records["key"][asked].tolist()[: _KEPT - len(found)])
        return found


Located = tuple[int, str, str]
"""row, source, output"""


def _named(read: Callable[[], Iterable[RowBlock]], namer: Namer) -> Iterator[Located]:
    for block in read():
        outputs = namer.names(block).outputs
        yield from zip(range(block.first, block.first + len(block)), block.urls, outputs, strict=True)


def _refuse_overwritten_input(read: Callable[[], Iterable[RowBlock]], namer: Namer, keys: set[int]) -> None:
    """Raise if an output really is an input; hashes of 8 bytes only make it likely."""
    if not keys:
        return
    sources = {folded: row for row, source, _ in _named(read, namer) if _hash(folded := _fold(source)) in keys}
    for row, source, output in _named(read, namer):
        hit = sources.get(_fold(output)) if output else None
        if hit is not None:
            raise ManifestError(
                f"manifest: row {row}, {source!r}: its output {output!r} is the input of row {hit}"
                f" (inputs are never overwritten); choose another --out, --name or output"
            )


def _refuse_collision(read: Callable[[], Iterable[RowBlock]], namer: Namer, keys: set[int], count: int) -> None:
    """Raise with the two rows of the first real collision; hashes of 8 bytes only make it likely."""
    first: dict[str, Located] = {}
    for row, source, output in _named(read, namer):
        if not output or _hash(folded := _fold(output)) not in keys:
            continue
        one, other, _ = first.setdefault(folded, (row, source, output))
        if one != row:
            more = count - 1
            text = f"more than {_COLLISIONS_COUNTED} others" if more >= _COLLISIONS_COUNTED else f"{more} more"
            both = f"{other!r} and {source!r} would both" if other != source else f"both name {source!r} and would"
            raise ManifestError(
                f"manifest: rows {one} and {row}: {both} make {output!r}{f' ({text} collide)' if more else ''};"
                f" tell them apart with --name '{{stem}}_{{row}}_{{scale}}x.{{ext}}' or an output column"
            )


def _refuse_frames(read: Callable[[], Iterable[RowBlock]], namer: Namer, sequences: Index) -> None:
    """Raise if an output would lie among the pictures of a film."""
    for row, source, output in _named(read, namer):
        folder, _, name = _fold(output).rpartition("/")
        if is_frame_name(name) and len(sequences.find(_hashes([folder]))[0]):
            film = next((one for one, _, other in _named(read, namer) if _fold(other) == folder + _INDEX), None)
            if film is not None:
                raise ManifestError(
                    f"manifest: row {row}, {source!r}: its output {output!r} is one of the pictures of row {film};"
                    " choose another --name or output"
                )


def _fold(url: str) -> str:
    """Equal for names that a file system without case or Unicode forms takes for one."""
    if url.isascii():
        return url.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", url).casefold())


def _hash(text: str) -> int:
    return _short(text) % 2**64


def _hashes(texts: Sequence[str]) -> Hashes:
    return np.fromiter(map(_short, texts), np.int64, len(texts)).view(np.uint64)
