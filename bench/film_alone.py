"""Processor seconds of network, decoder and encoder over a film, each alone in this process and on one core.

Started by bench/video.py, once alone and once on every core at the same time. First, with --restore, the film's frames
are restored and kept under PLANES, which the encoder is then measured with. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from network import network_pass  # beside this file
from numpy.typing import NDArray

from farm import plan, storage
from farm.config import ModelConfig, OutputConfig, RunConfig, VideoConfig
from farm.fetch import resolve
from farm.film import FilmPlan, Span
from farm.kinds import MediaKind
from farm.media import video
from farm.params import UpscaleParams
from farm.records import ManifestRow
from farm.tasks.restore import picture_spec
from sr_kernel.colour import frame_to_rgb
from sr_kernel.frames import FrameUpscaler
from sr_kernel.tiles import PicturePlan, plan_picture
from sr_kernel.upscale import Settings, Upscaler

Planes = tuple[NDArray[Any], ...]


@dataclass(frozen=True, kw_only=True)
class Work:
    """A film as the farm plans it."""

    url: str
    params: UpscaleParams
    film: FilmPlan
    spans: tuple[Span, ...]
    whole: Span
    """the same frames in one span, decoded once"""
    upscaler: Upscaler

    @property
    def plan(self) -> PicturePlan:
        source, target = self.film.source, self.film.target
        return plan_picture(picture_spec(self.params, source.width, source.height, (target.width, target.height)))

    @property
    def precision(self) -> str:
        return self.params.precision if self.film.source.depth == 8 else self.params.precision_16bit

    def frames(self) -> Iterator[Planes]:
        """Decoded."""
        with storage.open_read(self.url) as source:
            reader, how = video.FilmReader.of(source, self.url), video.DecoderConfig()
            for frame in video.iter_frames(reader, self.url, self.film, self.whole, self.params, how):
                yield tuple(frame.planes)


def planned(arguments: argparse.Namespace) -> Work:
    url = str(arguments.film.resolve())
    config = RunConfig(
        manifest=url,
        model=ModelConfig(model=arguments.model, weights_dir=arguments.weights_dir),
        output=OutputConfig(out=str(arguments.planes.resolve())),
        video=VideoConfig(
            codec=arguments.codec,
            crf=arguments.crf,
            preset=arguments.preset,
            segment_frames=arguments.segment_frames,
        ),
    )
    model = resolve(arguments.model, arguments.weights_dir)
    if model.path is None:
        raise SystemExit(f"{model.spec.file} is not here; name its folder with --weights-dir")
    planner = plan.Planner(config, {arguments.model: model}, str(arguments.planes.resolve()), "cpu")
    row = ManifestRow(index=0, source_url=url, relative_path=arguments.film.name, kind=MediaKind.VIDEO)
    params = planner.plan(row, storage.stat(url)).params
    assert params.video is not None
    uncut = replace(params, video=replace(params.video, segment_frames=10_000))
    with storage.open_read(url) as source:
        cut = video.read_film(source, url, params)
        whole = video.read_film(source, url, uncut)
    if len(whole.spans) != 1:
        raise SystemExit(f"{url} has too many frames for one span")
    return Work(
        url=url,
        params=params,
        film=cut.film,
        spans=cut.spans,
        whole=whole.spans[0],
        upscaler=Upscaler.load(model.spec, model.path),
    )


def restore(work: Work, folder: Path) -> float:
    """Processor seconds of restoring every frame, from planes to planes, whose results are kept in `folder`."""
    film, precision = work.film, cast("Any", work.precision)
    frames = FrameUpscaler(work.upscaler, work.plan, film.source, film.target, Settings(precision=precision))
    seconds = 0.0
    for index, planes in enumerate(work.frames()):
        started = time.process_time()
        (restored,) = frames.start([planes]).frames()
        seconds += time.process_time() - started
        for number, plane in enumerate(restored.planes):
            np.save(_kept(folder, index, number), plane)
    return seconds


def decode_s(work: Work) -> float:
    started = time.process_time()
    for _ in work.frames():
        pass
    return time.process_time() - started


def network_s(work: Work, count: int) -> float:
    """The network alone over all windows of every frame: measured over the first `count` frames after one to warm up.

    All frames have the same windows, and a network takes the same time whatever they show.
    """
    backend, layout = work.upscaler.backend, work.film.source
    passes = [
        network_pass(backend, work.plan, frame_to_rgb(planes, layout), work.precision)
        for planes in itertools.islice(work.frames(), count)
    ]
    passes[0]()
    started = time.process_time()
    for run in passes:
        run()
    return (time.process_time() - started) / len(passes) * len(work.whole.pts)


def encode_s(work: Work, folder: Path) -> float:
    """Every segment by an encoder of its own, as the farm does."""
    count, seconds = len(work.film.target.plane_sizes), 0.0
    for span in work.spans:
        segment = [tuple(np.load(_kept(folder, index, n)) for n in range(count)) for index in range(*span.frames)]
        started = time.process_time()
        with video.SegmentEncoder(work.film, work.url) as encoder:
            for planes in segment:
                encoder.write(planes)
            encoder.finish()
        seconds += time.process_time() - started
    return seconds


def _kept(folder: Path, index: int, plane: int) -> Path:
    return folder / f"{index:06d}-{plane}.npy"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("planes", type=Path, help="folder of the restored frames")
    parser.add_argument("--restore", action="store_true", help="make them")
    parser.add_argument("--model", required=True)
    parser.add_argument("--weights-dir")
    parser.add_argument("--codec", required=True)
    parser.add_argument("--crf", type=int, required=True)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--segment-frames", type=int, required=True)
    parser.add_argument("--network-frames", type=int, default=6)
    parser.add_argument("--core", type=int)
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    torch.set_num_threads(1)
    work = planned(arguments)
    if arguments.restore:
        print(json.dumps({"restore_s": restore(work, arguments.planes), "segments": len(work.spans)}))
        return
    answer = {
        "decode_s": decode_s(work),
        "network_s": network_s(work, arguments.network_frames),
        "encode_s": encode_s(work, arguments.planes),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
