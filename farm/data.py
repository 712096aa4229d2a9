"""Pairs for training with torch: from a data set that the farm has made, or degraded while they are asked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from farm import storage
from farm.blocks import UPSCALE
from farm.config import degrade_options
from farm.errors import ErrorKind, ItemError, UsageError
from farm.kinds import MediaKind
from farm.manifest import read_manifest
from farm.media.image import ReadLimits, decode
from farm.media.jpeg_codec import jpeg_bytes_and_back
from farm.media.rgb import to_rgb8
from farm.media.vips import let_threads_end
from farm.recipes import load_recipe
from farm.records import RefusedRow
from farm.sample import DegradeOptions, safe_key
from farm.shards import Reader, SourceEnd, open_dataset
from sr_kernel.degrade.crop import cut_crop
from sr_kernel.degrade.draw import Dice, draw_sample
from sr_kernel.degrade.picture import degrade_crop
from sr_kernel.degrade.recipe import Recipe

ROLES = ("gt", "gt_usm")
"""what may be learned: the good crop, or the same one sharpened"""
_LIMITS = ReadLimits()
_LQ = "lq"
os.register_at_fork(before=let_threads_end)  # or workers that are forked would hang where this process has used libvips


class PairSource(Protocol):
    """Where pairs come from."""

    def __len__(self) -> int: ...

    def pair(self, number: int, epoch: int, /) -> tuple[str, Tensor, Tensor]:
        """(key, good picture, low-quality picture), float32 CHW in 0..1, RGB."""
        ...

    def failures(self) -> Iterator[SourceEnd]: ...

    @property
    def content(self) -> str: ...


class PairDataset(Dataset[dict[str, Any]]):
    """Pairs as `{"gt" or "gt_usm": tensor, "lq": tensor, "key": str}`, tensors float32 CHW in 0..1, RGB.

    Where a patch lies and whether it is flipped is a hash of the seed, the epoch and the sample's key: it depends on no
    worker and no order. A sample that cannot be read raises ItemError, in the worker too; no other is put in its place.
    Works with workers that are forked and with spawned ones.
    """

    def __init__(
        self, url: str, *, patch: int | None = None, flip: bool = False, seed: int = 0, gt: str = "gt"
    ) -> None:
        """The pairs of the data set below an output root, on a disk or a store.

        Args:
            patch: side in pixels of a square cut out of the good picture, with what belongs to it of the other; a
                multiple of the scale. None gives whole pictures.
            flip: whether half of the pairs are mirrored left to right.
            gt: gt, or gt_usm: the sharpened pictures.

        Raises UsageError for a data set that has no such pairs, and the storage's errors.
        """
        reader = open_dataset(url)
        if missing := {_checked(gt), _LQ} - set(reader.index.roles):
            raise UsageError(
                f"{url}: has no {', '.join(sorted(missing))} but {', '.join(reader.index.roles)}; name a data set of "
                "farm degrade"
            )
        self._set_up(_Kept(reader, gt), patch, flip, seed, gt)

    @classmethod
    def on_the_fly(
        cls,
        manifest: str,
        recipe: str | Path | Recipe = "x4plus",
        *,
        seed: int = 0,
        per_image: int = 1,
        jpeg: str = "diff",
        root: str | None = None,
        patch: int | None = None,
        flip: bool = False,
        gt: str = "gt",
    ) -> PairDataset:
        """Pairs that are made of a manifest's pictures when they are asked for, `per_image` of each.

        In epoch 0 they are, value for value, what `farm degrade` would write under the same recipe, seed and names
        below the manifest's root; every further epoch takes the next sample indexes. Made by this
        process on its processor.

        Args:
            recipe: a name, a recipe, or the path of one as .toml or of an option file of Real-ESRGAN as .yml.
            jpeg: diff or codec, as `farm degrade` takes it.
            root: as `farm.manifest.read_manifest` takes it.

        Raises ManifestError and UsageError.
        """
        made = cls.__new__(cls)
        chosen = recipe if isinstance(recipe, Recipe) else load_recipe(str(recipe))
        asked = degrade_options(chosen, per_image=per_image, seed=seed, jpeg=jpeg)
        source = _Degraded(_read_rows(manifest, root), chosen, asked, _checked(gt))
        made._set_up(source, patch, flip, seed, gt)
        return made

    def _set_up(self, source: PairSource, patch: int | None, flip: bool, seed: int, gt: str) -> None:
        self._source = source
        self._patch = patch
        self._flip = flip
        self._seed = seed
        self._gt = gt
        # Shared, so that workers that live longer than an epoch hear of the next one.
        self._epoch: Tensor = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Raises IndexError, the storage's errors, and ItemError for a source that gives no pair."""
        return self.sample(number, int(self._epoch))

    def sample(self, number: int, epoch: int) -> dict[str, Any]:
        """The same of an epoch that the caller counts; `set_epoch` is not looked at."""
        key, good, low = self._source.pair(number, epoch)
        dice = Dice(self._seed, key, epoch)
        if self._patch is not None:
            good, low = _cut(good, low, self._patch, dice, key)
        if self._flip and dice.chance("flip", 0.5):
            good, low = good.flip(-1), low.flip(-1)
        return {self._gt: good.contiguous(), _LQ: low.contiguous(), "key": key}

    def set_epoch(self, epoch: int) -> None:
        """Other patches, flips and, on the fly, other samples; call it before each pass. The first epoch is 0."""
        self._epoch.fill_(epoch)

    def failures(self) -> Iterator[SourceEnd]:
        """The sources that give no pair, each with the reason.

        Of a data set those that failed when it was made; on the fly every picture is read for it.
        """
        return self._source.failures()

    @property
    def content(self) -> str:
        """A digest that is another one where there are more or fewer samples, or where they were made in another way;
        where they lie is no part of it. On the fly it is of the names below the manifest's root, which decide what is
        drawn: pictures are not read."""
        return self._source.content


class _Kept:
    """Pairs of a data set."""

    def __init__(self, reader: Reader, gt: str) -> None:
        self._reader = reader
        self._gt = gt

    def __len__(self) -> int:
        return len(self._reader)

    def pair(self, number: int, _epoch: int, /) -> tuple[str, Tensor, Tensor]:
        key, files = self._reader.files(number, (self._gt, _LQ))
        good, low = (_tensor(_decode(files[role], f"{key}, {role}")) for role in (self._gt, _LQ))
        return key, good, low

    def failures(self) -> Iterator[SourceEnd]:
        return self._reader.failures()

    @property
    def content(self) -> str:
        return self._reader.index.content


class _Rows(NamedTuple):
    """The rows of a manifest, in few bytes each."""

    urls: Any
    """an Arrow column of text"""
    names: Any
    """likewise, below the root"""
    refused: Mapping[int, ItemError]
    """why rows are not even looked at"""
    digest: str
    """of all names in their order"""


class _Degraded:
    """Pairs that are made when they are asked for."""

    def __init__(self, rows: _Rows, recipe: Recipe, asked: DegradeOptions, gt: str) -> None:
        self._rows = rows
        self._recipe = recipe
        self._asked = asked
        self._gt = gt

    def __len__(self) -> int:
        return len(self._rows.urls) * self._asked.per_image

    def pair(self, number: int, epoch: int, /) -> tuple[str, Tensor, Tensor]:
        if not 0 <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        row, nth = divmod(number, self._asked.per_image)
        pixels = self._read(row)
        name = self._rows.names[row].as_py()
        drawn = draw_sample(self._recipe, self._asked.seed, name, epoch * self._asked.per_image + nth)
        crop = cut_crop(pixels, drawn, self._recipe.gt_size)
        codec = jpeg_bytes_and_back if self._asked.jpeg == "codec" else None
        sharp, low = degrade_crop(crop, drawn, self._recipe, codec)
        key = f"{safe_key(name)}_d{drawn.index:03d}"  # as the operation names it
        return key, _tensor(crop if self._gt == "gt" else sharp), _tensor(low)

    @property
    def content(self) -> str:
        return self._rows.digest

    def failures(self) -> Iterator[SourceEnd]:
        for row in range(len(self._rows.urls)):
            try:
                self._read(row)
            except ItemError as error:
                yield SourceEnd(source=self._rows.urls[row].as_py(), reason=error.kind.value, message=str(error))

    def _read(self, row: int) -> NDArray[np.uint8]:
        if row in self._rows.refused:
            raise self._rows.refused[row]
        url: str = self._rows.urls[row].as_py()
        return _decode(storage.read_bytes(url), url)


def _read_rows(manifest: str, root: str | None) -> _Rows:
    """All rows but those that ask for another task."""
    import pyarrow

    urls, names, refused = list[str](), list[str](), dict[int, ItemError]()
    for row in read_manifest(manifest, root=root):
        if isinstance(row, RefusedRow):
            refused[len(urls)] = row.error
            urls.append(row.source)
            names.append("")
            continue
        if row.task not in (UPSCALE, "degrade"):
            continue
        if row.kind is not MediaKind.IMAGE:
            found, advice = "a film", "pick its frames with farm prepare frames first"
            refused[len(urls)] = ItemError(ErrorKind.UNSUPPORTED, row.source_url, found, advice)
        urls.append(row.source_url)
        names.append(row.relative_path)
    arrow = cast(Any, pyarrow)
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + b"\0")
    return _Rows(arrow.array(urls, arrow.string()), arrow.array(names, arrow.string()), refused, digest.hexdigest())


def _decode(data: bytes, url: str) -> NDArray[np.uint8]:
    return to_rgb8(decode(data, url, _LIMITS, alone=True))[0]


def _tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """HWC of 8 bits as float32 CHW in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32) / np.float32(255))


def _cut(good: Tensor, low: Tensor, patch: int, dice: Dice, key: str) -> tuple[Tensor, Tensor]:
    """A patch of the good picture and what belongs to it of the other, on whole pixels of both."""
    height, width = low.shape[-2:]
    scale = good.shape[-1] // width
    if good.shape[-2:] != (height * scale, width * scale):
        sizes = f"{good.shape[-1]}x{good.shape[-2]} and {width}x{height}"
        raise ItemError(ErrorKind.UNSUPPORTED, key, f"sizes of {sizes}, no multiple of each other", "leave it out")
    if patch < 1 or patch % scale:
        raise UsageError(f"patch: {patch} is no multiple of the scale, {scale}")
    side = patch // scale
    if side > min(height, width):
        raise ItemError(ErrorKind.UNSUPPORTED, key, f"smaller than the patch, {patch}", "leave it out, or ask for less")
    x, y = (int(dice.uniform(name) * (length - side + 1)) for name, length in (("x", width), ("y", height)))
    good = good[:, y * scale : y * scale + patch, x * scale : x * scale + patch]
    return good, low[:, y : y + side, x : x + side]


def _checked(gt: str) -> str:
    if gt not in ROLES:
        raise UsageError(f"gt: {gt!r} is not one of {', '.join(ROLES)}")
    return gt
