"""Which sources are new since a time, or since an earlier run: tonight's manifest is the difference to last night's.

A source counts as done when results.parquet has it as done with the version that it has now, and no row of it as
failed. Where the results do not say a version that a listing can tell (an older file, or rows that were known by
sha256), it counts as done when it was changed before the work on it began.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from farm import storage
from farm.catalog.item import Item
from farm.errors import ItemError, ManifestError, UsageError
from farm.kinds import extension_of
from farm.manifest import canonical
from farm.manifest.sources import printable, reading_manifest
from farm.plan import source_version
from farm.records import ItemStatus

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"(\d{1,9})([smhdw])")
_DIGEST_BYTES = 16
_KEYS = np.dtype(f"S{_DIGEST_BYTES}")
_NEEDED = ("source", "status", "finished_unix")
_VERSION, _SPENT = "source_version", "total_s"
_BY_CONTENT = "sha256:"
"""how a version begins that no listing tells"""
RESULTS = "results.parquet"


def since_ns(text: str, now: datetime) -> int:
    """The time that `--since` names: a date or a time in ISO 8601 (local unless it has a zone), or how long ago.

    Raises UsageError.
    """
    duration = _DURATION.fullmatch(text.strip())
    try:
        if duration:
            moment = now - timedelta(**{_UNITS[duration[2]]: int(duration[1])})
        else:
            moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        return math.floor(moment.timestamp()) * 10**9  # stores tell the time in whole seconds
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--since: {text!r} is neither a time such as 2026-01-31 or 2026-01-31T18:00, nor how long ago, such as"
            " 36h or 7d"
        ) from error


def is_since(item: Item, since: int) -> bool:
    """Whether a source was changed at or after a time; one without a time counts as new."""
    return item.mtime_ns is None or item.mtime_ns >= since


class Finished:
    """What an earlier run has done, from its results; 40 bytes a row that is done."""

    def __init__(self, url: str) -> None:
        """`url`: results.parquet, or the output root that holds it. Raises ManifestError for what is neither."""
        place = canonical(url)
        if extension_of(place) not in ("parquet", "pq"):
            place = storage.join(place, RESULTS)
        versions, sources, undone, times = bytearray(), bytearray(), bytearray(), array("d")
        self._knows_versions = False
        for source, version, begun in reading_manifest(place, _rows(place)):
            if begun is None:
                undone += _key(source)
                continue
            if version:
                self._knows_versions = True
                versions += _key(source, version)
            if not version or version.startswith(_BY_CONTENT):
                sources += _key(source)
                times.append(begun)
        self._undone = np.sort(np.frombuffer(bytes(undone), _KEYS))
        self._versions = np.sort(np.frombuffer(bytes(versions), _KEYS))
        keys, begun_unix = np.frombuffer(bytes(sources), _KEYS), np.frombuffer(times, np.float64)
        order = np.lexsort((begun_unix, keys))
        self._sources: NDArray[np.bytes_] = keys[order]
        self._times: NDArray[np.float64] = begun_unix[order]

    def has(self, item: Item) -> bool:
        """Whether nothing is to be done for a source."""
        row = item.row
        if _last(self._undone, _key(row.source_url)) is not None:
            return False
        if _last(self._versions, _key(row.source_url, source_version(row, item.stat))) is not None:
            return True
        if item.mtime_ns is None or (row.sha256 and self._knows_versions):
            return False
        at = _last(self._sources, _key(row.source_url))
        return at is not None and item.mtime_ns / 1e9 < float(self._times[at])


def _key(*texts: str) -> bytes:
    return blake2b("\0".join(texts).encode("utf-8", "backslashreplace"), digest_size=_DIGEST_BYTES).digest()


def _last(keys: NDArray[np.bytes_], key: bytes) -> int | None:
    """Where the last one of equal keys stands."""
    wanted = np.array(key, _KEYS)
    at = int(np.searchsorted(keys, wanted, side="right")) - 1
    return at if at >= 0 and keys[at] == wanted else None


def _rows(url: str) -> Iterator[tuple[str, str, float | None]]:
    """(source, version or nothing, when work on it began) of every row; without a time what is not done."""
    from pyarrow import parquet

    try:
        with storage.open_read(url) as stream:
            file = cast(Any, parquet).ParquetFile(stream)
            names = [name for name in (*_NEEDED, _VERSION, _SPENT) if name in file.schema_arrow.names]
            if missing := set(_NEEDED) - set(names):
                raise ManifestError(
                    f"results: {printable(url)}: has no column {min(missing)}; name the results.parquet of a run"
                )
            for batch in file.iter_batches(columns=names, use_threads=False):
                columns = batch.to_pydict()
                versions = columns.get(_VERSION, [""] * batch.num_rows)
                spent = columns.get(_SPENT, [0.0] * batch.num_rows)
                names = ("status", "source", "finished_unix")
                found = zip(*(columns[name] for name in names), versions, spent, strict=True)
                for status, source, finished, version, seconds in found:
                    is_done = status == ItemStatus.DONE.value
                    yield source, version or "", finished - seconds if is_done else None
    except ItemError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(
            f"results: {printable(url)}: is no result manifest ({printable(str(error))[:200]});"
            " name the results.parquet of a run, or its output root"
        ) from error
