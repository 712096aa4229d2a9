"""Work items for tests of the rooms that never look inside them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from farm.film import FilmPlan, Span, VideoParams
from farm.kinds import MediaKind
from farm.params import UpscaleParams
from farm.records import Done, ManifestRow, Part, PartKind, StageSeconds, WorkItem
from sr_kernel.fidelity import PixelStats
from sr_kernel.layout import FrameLayout

PARAMS = UpscaleParams(
    model="animevideov3",
    model_sha256="0" * 64,
    denoise=1.0,
    scale=4,
    halo_px=18,
    align_px=1,
    whole_body=False,
    outscale=4.0,
    resize="lanczos",
    alpha="model",
    precision="fp32",
    precision_16bit="fp32",
    device_class="cpu",
    batch=1,
    tile_px=256,
    exact_px=4_194_304,
    band_px=4_194_304,
    format="png",
    quality=95,
    stamp=False,
    pages="refuse",
    max_pixels_in=512_000_000,
    max_pixels_out=8_200_000_000,
    pixel_epoch=1,
)


VIDEO = VideoParams(
    container="mkv",
    codec="ffv1",
    crf=None,
    preset="",
    pix_fmt="auto",
    fps="",
    segment_frames=48,
    audio="copy",
    deinterlace=False,
    salvage=False,
    allow_damaged=False,
    encoder="software",
    encoder_threads=1,
    tag_colours=False,
    codecs="17.1.0",
)
FILM = FilmPlan(
    source=FrameLayout(width=30, height=20, chroma_shift=(1, 1)),
    target=FrameLayout(width=120, height=80, chroma_shift=(1, 1)),
    stream_index=0,
    time_base=Fraction(1, 25),
    rate=Fraction(25),
    frames=100,
    encoder="ffv1",
    pix_fmt="yuv420p",
    options=(),
    colour_tags=(2, 2, 2, 0),
    sample_aspect=None,
)


def make_spans(frames: int, each: int) -> tuple[Span, ...]:
    """Segments of a film of constant rate whose every frame is a keyframe."""
    cuts = [(first, min(first + each, frames)) for first in range(0, frames, each)]
    return tuple(Span(frames=cut, pts=tuple(range(*cut)), out_pts=tuple(range(*cut)), seek_pts=cut[0]) for cut in cuts)


def make_film(index: int) -> Part:
    """A film that nobody has looked into yet."""
    item = make_item(index, replace(PARAMS, video=VIDEO))
    row = replace(item.row, kind=MediaKind.VIDEO, source_url=f"/in/{index}.mkv")
    return Part(item=replace(item, task="upscale_video", row=row), kind=PartKind.FILM, cost_px=100)


def make_item(index: int, params: UpscaleParams = PARAMS, *, cost_px: int = 100) -> WorkItem:
    """An item that differs from others by its number only."""
    return WorkItem(
        item_id=f"item{index:04d}",
        shard=0,
        row=ManifestRow(index=index, source_url=f"/in/{index}.png", relative_path=f"{index}.png"),
        task="upscale_image",
        params=params,
        params_hash="p",
        source_version="v",
        output_url=f"/out/{index}_4x.png",
        cost_px=cost_px,
    )


def make_part(index: int, params: UpscaleParams = PARAMS, *, cost_px: int = 100) -> Part:
    """A whole picture."""
    return Part(item=make_item(index, params, cost_px=cost_px), kind=PartKind.PICTURE, cost_px=cost_px)


DONE = Done(
    part_id="p",
    url="/out/p",
    sha256="0",
    bytes=1,
    width=1,
    height=1,
    source_px=1,
    mode="exact",
    precision="fp32",
    stats=PixelStats(),
    seconds=StageSeconds(),
    node="n",
    worker="w",
)
"""of which every test says what matters to it"""
