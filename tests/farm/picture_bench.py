"""One worker's task over pictures, in this process, without Ray."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from farm import fetch, storage
from farm.assemble import Assembly
from farm.config import ModelConfig, RunConfig
from farm.lock import RunLock
from farm.plan import Planner
from farm.records import Done, ManifestRow, Part, PartKind, Split, WorkItem
from farm.tasks.station import Station
from farm.tasks.upscale_image import UpscaleImage

from .contexts import worker_here

Pixels = NDArray[Any]


def write_png(path: Path, pixels: Pixels) -> Path:
    kinds = ("b-w", "srgb") if pixels.dtype == np.uint8 else ("grey16", "rgb16")
    image = pyvips.Image.new_from_array(pixels).copy(interpretation=kinds[pixels.shape[2] > 2])
    image.write_to_file(str(path))
    return path


def read_pixels(path: str | Path) -> Pixels:
    pixels = pyvips.Image.new_from_file(str(path)).numpy().copy()
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


@dataclass
class PictureBench:
    """Restores pictures with one weight file."""

    station: Station
    model: fetch.ResolvedModel
    config: RunConfig
    out: Path

    def changed(self, **changes: Any) -> PictureBench:
        """The same worker, asked for other things; `changes` go to ModelConfig."""
        return replace(self, config=replace(self.config, model=replace(self.config.model, **changes)))

    def run(self, source: Path, **changes: Any) -> Path:
        """The output of one picture, whole or cut and joined; `changes` go to ModelConfig."""
        return Path(self.finish(self.item(source, **changes)).url)

    def item(self, source: Path, **changes: Any) -> WorkItem:
        config = self.changed(**changes).config
        planner = Planner(config, MappingProxyType({config.model.model: self.model}), str(self.out), "cpu")
        row = ManifestRow(index=0, source_url=str(source), relative_path=source.name)
        return planner.plan(row, storage.stat(str(source)))

    def finish(self, item: WorkItem) -> Done:
        return finish(UpscaleImage(self.station), Part(item=item, kind=PartKind.PICTURE, cost_px=item.cost_px))


def finish(task: UpscaleImage, part: Part, batch_limit: int | None = None) -> Done:
    """A picture to its end, by hand: whole, or cut and joined."""
    answer = task.run(part, batch_limit)
    if isinstance(answer, Done):
        return answer
    joined = task.run(bands_done(task, part, answer, batch_limit), None)
    assert isinstance(joined, Done)
    return joined


def bands_done(task: UpscaleImage, part: Part, split: Split, batch_limit: int | None = None) -> Part:
    """The join of a picture whose bands are all made."""
    assembly, join = Assembly(), None
    for band in assembly.begin(part, split, {}):
        done = task.run(band, batch_limit)
        assert isinstance(done, Done)
        join = assembly.add(band, done)
    assert join is not None
    return join


@contextmanager
def picture_bench(model: Path, out: Path) -> Iterator[PictureBench]:
    """Reading a weight file takes a process of its own and seconds: one bench serves many tests."""
    resolved = fetch.resolve(str(model))
    with RunLock(str(out)) as held:
        context = worker_here(held.run, out, resolved)
        config = RunConfig(manifest=str(out), model=ModelConfig(model=str(model), precision="fp32"))
        station = Station(context)
        yield PictureBench(station=station, model=resolved, config=config, out=out)
        station.stop()
