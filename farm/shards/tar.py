"""WebDataset shards: of each sample its files `KEY.ROLE.EXT` and, last, its record `KEY.json`, one after another.

Headers say no time, no owner and mode 0644, so that equal samples make equal shards. Long names get a header of POSIX
pax. Written as a stream: nothing is kept.
"""

from __future__ import annotations

import json
import math
import tarfile
from collections.abc import Iterator, Mapping

from farm import storage
from farm.sample import Sample, Scalar
from farm.shards import place
from farm.shards.form import as_file
from farm.shards.index import PackFile

_BLOCK_BYTES = tarfile.BLOCKSIZE
_END_BYTES = 2 * _BLOCK_BYTES
"""empty blocks behind the last file; the whole is filled up to records of 20 blocks"""


class TarWriter:
    """One shard; none where there are no samples."""

    def __init__(self, part: str, root: storage.OutputRoot, key: str) -> None:
        self._path = place.tar_path(part)
        self._root = root
        self._key = key
        self._sink: storage.Sink | None = None
        self._at = 0

    def add(self, sample: Sample) -> Mapping[str, object]:
        places: dict[str, object] = {}
        for member in sample.members:
            name = place.tar_member(member.role, sample.key, member.extension)
            places[f"{member.role}_path"] = name
            places[f"{member.role}_offset"] = self._write(name, member.data)
        self._write(f"{sample.key}.json", _json(sample.record))
        return places

    def finish(self) -> Iterator[PackFile]:
        if self._sink is None:
            return
        size = -(-(self._at + _END_BYTES) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
        self._sink.write(bytes(size - self._at))
        yield as_file(self._sink.commit(), self._path)

    def close(self) -> None:
        if self._sink is not None:
            self._sink.discard()

    def _write(self, name: str, data: bytes) -> int:
        """Append a file; answers where its bytes begin."""
        if self._sink is None:
            self._sink = self._root.open_stream(storage.join(self._root.url, self._path), key=self._key)
        header = _header(name, len(data))
        for piece in (header, data, bytes(-len(data) % _BLOCK_BYTES)):
            self._sink.write(piece)
        start = self._at + len(header)
        self._at = start + len(data) + -len(data) % _BLOCK_BYTES
        return start


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)  # its defaults: mode 0644, no owner, time 0
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape")


def _json(record: Mapping[str, Scalar]) -> bytes:
    """JSON has no number that is none or infinite: such a value is null there, and itself in the table."""
    values = {name: None if isinstance(one, float) and not math.isfinite(one) else one for name, one in record.items()}
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode("ascii")
