"""Output roots with everything that runs leave in them, made without a run: real files, and a ledger that says so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from farm import ledger, storage
from farm.media.image import EncodeSpec, ImageMeta, encode
from farm.records import ItemStatus, LedgerEntry
from tests import clips
from tests.farm import packs
from tests.pictures import photo
from tests.stores import output

FORMATS = ("png", "jpg", "webp", "tiff", "avif")
SIZE = (96, 64)


@dataclass
class Root:
    """An output root that is being filled."""

    url: str
    entries: list[LedgerEntry] = field(default_factory=list)

    def put(self, name: str, data: bytes, size: tuple[int, int] = (0, 0), *, frames: int = 0, model: str = "m") -> str:
        """An output and what is recorded of it."""
        url = storage.join(self.url, name)
        published = output(self.url).publish(url, data)
        self.note(published, size, frames=frames, model=model)
        return url

    def note(
        self, made: storage.Published, size: tuple[int, int] = (0, 0), *, frames: int = 0, model: str = "m"
    ) -> None:
        """What is recorded of an output that is there."""
        at = len(self.entries)
        self.entries.append(
            LedgerEntry(
                key=f"item-{at}",
                shard=0,
                row=at,
                source=f"/in/{at}",
                output=made.url,
                status=ItemStatus.DONE,
                sha256=made.sha256,
                bytes=made.bytes,
                width=size[0],
                height=size[1],
                frames=frames,
                model=model,
                finished_unix=float(at + 1),
            )
        )

    def close(self) -> None:
        """Write the ledger."""
        with ledger.Ledger(self.url, "run-1") as book:
            for entry in self.entries:
                book.append(entry)


def picture(seed: int, form: str) -> bytes:
    """A picture of SIZE."""
    return encode(photo(seed, *SIZE), ImageMeta(), EncodeSpec(format=form), f"{seed}.{form}")


def film() -> bytes:
    """Forty frames of H.264."""
    return clips.h264("mp4")


def pictures(url: str, count: int) -> Root:
    """Pictures of all formats in turn."""
    root = Root(url)
    for at in range(count):
        form = FORMATS[at % len(FORMATS)]
        root.put(f"folder {at % 3}/{at}.{form}", picture(at, form), SIZE)
    return root


def sequence(root: Root, name: str, frames: int, *, digests: bool = True) -> Iterator[str]:
    """A film as pictures, with the list that stands for it; their URLs."""
    made = [
        output(root.url).publish(storage.join(root.url, name, f"frame{at:08d}.png"), picture(at, "png"))
        for at in range(frames)
    ]
    index: dict[str, object] = {"width": SIZE[0], "height": SIZE[1], "names": [storage.name(one.url) for one in made]}
    if digests:
        index |= {"sha256": [one.sha256 for one in made], "bytes": [one.bytes for one in made]}
    root.put(f"{name}/frames.json", json.dumps(index).encode(), SIZE, frames=frames)
    return (one.url for one in made)


def part(root: Root, form: str, number: int) -> list[str]:
    """A part of a data set; the paths of its files, and of a tree of its samples'."""
    written = packs.write(form, root.url, number)
    root.note(written.published, model="degrade")
    return [file.path for file in written.part.files]


def flipped(data: bytes, at: int, bit: int) -> bytes:
    """The same with one bit turned over."""
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def overwrite(url: str, data: bytes) -> None:
    """What nobody who knows the farm does: the file or object is another, and no record says so."""
    path = storage.local_path(url)
    if path:
        path.write_bytes(data)
    else:
        storage.publish(url, data, attempt="rot")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
