"""What is remembered of the last sample: ROOT/.farm/canary.json.

So that the same command finds its sample again when some or all of it is done, instead of drawing from what is left. It
decides nothing else: without it a sample is drawn anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from farm import storage
from farm.canary.draw import Drawn, Stratum, added, hash_of
from farm.errors import ErrorKind, ItemError
from farm.kinds import MediaKind
from farm.progress import Likeness
from farm.storage import faults

_SCHEMA = 1
_MOST_BYTES = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A sample, and of which rows it was drawn."""

    asked: int
    """rows that it may have"""
    population: int
    """rows that were to do"""
    digest: int
    """of their ids"""
    drawn: tuple[Drawn, ...]

    def is_of(self, asked: int, rows: int, digest: int, pending: Mapping[str, object]) -> bool:
        """Whether it would be drawn again if what is done of it were not: `rows` and `digest` are of what is to do
        now, `pending` has the ids of those of the sample."""
        done = [one.item_id for one in self.drawn if one.item_id not in pending]
        for item_id in done:
            digest = added(digest, hash_of(item_id))
        return (self.asked, self.population, self.digest) == (asked, rows + len(done), digest)


def read_sample(root: str) -> Sample | None:
    """The last sample of an output root; None where there is none that this farm understands."""
    url = _url(root)
    with faults.run_level(url):
        try:
            text = storage.read_bytes(url, _MOST_BYTES)
        except ItemError as error:
            if error.kind is ErrorKind.MISSING:
                return None
            raise
    try:
        said: dict[str, Any] = json.loads(text)
        if said["schema"] != _SCHEMA:
            return None
        strata: list[Stratum] = [_stratum(one) for one in said["strata"]]
        drawn = tuple(
            Drawn(item_id=str(key), shard=int(shard), px=int(px), stratum=strata[int(at)])
            for key, shard, px, at in said["drawn"]
        )
        return Sample(asked=said["asked"], population=said["population"], digest=said["digest"], drawn=drawn)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return None


def write_sample(root: str, run: str, sample: Sample) -> None:
    """Remember a sample, before it is restored. Only for who holds the root's lock."""
    strata = list(dict.fromkeys(one.stratum for one in sample.drawn))
    places = {stratum: at for at, stratum in enumerate(strata)}
    said: dict[str, Any] = {
        "schema": _SCHEMA,
        "asked": sample.asked,
        "population": sample.population,
        "digest": sample.digest,
        "strata": [asdict(stratum) for stratum in strata],
        "drawn": [(one.item_id, one.shard, one.px, places[one.stratum]) for one in sample.drawn],
    }
    url = _url(root)
    with faults.run_level(url):
        storage.OutputRoot(url=root, attempt=run).publish(url, json.dumps(said).encode())


def _stratum(said: Mapping[str, Any]) -> Stratum:
    alike: dict[str, Any] = said["likeness"]
    kind = MediaKind(alike["kind"])
    likeness = Likeness(model=alike["model"], kind=kind, extension=alike["extension"], sized=bool(alike["sized"]))
    return Stratum(likeness=likeness, size=int(said["size"]), folder=str(said["folder"]))


def _url(root: str) -> str:
    path = storage.local_path(root)
    return storage.join(str(path) if path else root, ".farm", "canary.json")
