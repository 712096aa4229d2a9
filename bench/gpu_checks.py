"""Models on a device and what must hold of them there: the checks of bench/gpu.py, each a function of one model in one
sort of kernels and one precision that says what it saw, or raises.
"""

from __future__ import annotations

import dataclasses
import math
import random
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from sr_kernel.archs import ARCHS
from sr_kernel.backend import Backend
from sr_kernel.hardware import FUSED_CAPABILITY
from sr_kernel.models import MODELS, ModelSpec, has_fused_kernels, radius_px
from sr_kernel.pixels import Pixels, cut_window, to_unit
from sr_kernel.tiles import Box, Mode, PicturePlan, PictureSpec, plan_picture
from sr_kernel.upscale import Settings, Upscaler
from sr_kernel.weights import describe_file, load_state

LEVELS = {"fp32": 1, "fp16": 1, "bf16": 5}
"""largest difference of 8-bit output allowed against fp32"""
LEAST_DB = {"fp32": 60.0, "fp16": 60.0, "bf16": 45.0}
"""and how near it must be on the whole: trained networks give about 65 dB in fp16 and 55 to 59 in bf16, seeded less"""
EXACT_PX = 4_194_304


class CheckError(Exception):
    """Something that must hold does not; the text is what was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large everything is; sides in source pixels, width first."""

    small: tuple[int, int] = (96, 64)
    cut: tuple[int, int] = (704, 416)
    tiles: tuple[int, ...] = (128, 256, 512)
    square: tuple[int, int] = (256, 256)
    full: tuple[int, int] = (1920, 1080)
    tile_px: int = 256
    compact_tile_px: int = 512
    """of compact networks on a GPU, as the farm plans it"""
    batches: tuple[int, int] = (1, 8)
    rounds: int = 5
    budget_s: float = 3.0
    """a measurement takes no further round after this, but three at least"""
    matmuls: tuple[int, ...] = (4096, 8192)
    seeded_blocks: int = 1 << 10
    """seeded networks have no more blocks than this"""
    seeded_features: int = 1 << 10
    tutorial: tuple[int, int] = (1340, 1748)
    picture: tuple[int, int] = (768, 512)
    pictures: int = 160
    frames: int = 48
    cap_gib: float = 8.0


QUICK = Sizes(
    small=(20, 12),
    cut=(44, 28),
    tiles=(16, 24, 48),
    square=(16, 16),
    full=(32, 20),
    tile_px=16,
    compact_tile_px=16,
    rounds=3,
    budget_s=0.2,
    matmuls=(256,),
    seeded_blocks=1,
    seeded_features=16,
    tutorial=(44, 56),
    picture=(48, 32),
    pictures=6,
    frames=5,
)


def picture(size: tuple[int, int], dtype: type = np.uint8) -> Pixels:
    """Slopes, edges and grain, from a seed; of 16 bits it is the picture of 8 bits times 257."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(0.05 * (c + 1) * x + 0.07 * y) + 0.5 * ((x // 7 + y // (5 + c)) % 2) for c in range(3)]
    levels = 110 + 50 * np.stack(waves, axis=2) + np.random.default_rng(size).normal(0, 12, (height, width, 3))
    eight_bit = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return eight_bit if dtype == np.uint8 else eight_bit.astype(np.uint16) * 257


def seeded_file(spec: ModelSpec, folder: Path, sizes: Sizes) -> tuple[ModelSpec, Path]:
    """Random weights with the official keys in a file, whose output spreads over 0..1, and the row that fits it."""
    blocks, features = min(spec.blocks, sizes.seeded_blocks), min(spec.features, sizes.seeded_features)
    radius = radius_px(spec.arch, blocks, spec.align_px)
    spec = dataclasses.replace(spec, blocks=blocks, features=features, halo_px=radius, bytes=0, sha256="")
    generator = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}
    for name, shape in ARCHS[spec.arch].shapes(spec).items():
        if len(shape) == 4:
            state[name] = torch.randn(shape, generator=generator) * (1.6 / (9 * shape[1])) ** 0.5
        else:
            state[name] = torch.rand(shape, generator=generator) * (0.5 if name.endswith("weight") else 0.05)
    if spec.arch == "rrdb":
        state["conv_body.weight"] /= 1.2**blocks  # each block adds a fifth of what it was given
    last = "conv_last" if spec.arch == "rrdb" else f"body.{2 * spec.blocks + 2}"
    backend, area = Backend(spec, state, "cpu"), Box(x0=0, y0=0, x1=16, y1=16)
    made = backend.run(to_unit(backend.upload([picture((16, 16))]), torch.float32), area, "fp32")
    gain = float(0.15 / made.std())
    state[f"{last}.weight"] *= gain
    state[f"{last}.bias"] *= gain
    if spec.arch == "rrdb":
        state[f"{last}.bias"] += 0.5 - gain * float(made.mean())
    path = folder / spec.file
    torch.save({"params_ema": state}, path)
    return spec, path


def weights_of(name: str, given: Path | None, scratch: Path, sizes: Sizes) -> tuple[ModelSpec, Path, str]:
    """The row, the file and where it comes from. A file that only begins like the official one is a derived one."""
    spec = MODELS[name]
    if given is not None and (given / spec.file).is_file():
        return spec, given / spec.file, "official"
    derived = sorted(given.glob(f"{Path(spec.file).stem}.*")) if given is not None and spec.arch == "srvgg" else []
    if derived:
        return describe_file(derived[0]), derived[0], "derived"
    return *seeded_file(spec, scratch, sizes), "seeded"


def kernels_of(spec: ModelSpec, device: torch.device) -> list[str]:
    """The ways in which a network runs on the device."""
    able = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == FUSED_CAPABILITY
    return ["plain", *(["fused"] if able and has_fused_kernels(spec) else [])]


def plan_of(spec: ModelSpec, rgb: Pixels, tile_px: int, exact_px: int = EXACT_PX) -> PicturePlan:
    """Of a picture at the network's own scale."""
    return plan_picture(
        PictureSpec(
            width=rgb.shape[1],
            height=rgb.shape[0],
            scale=spec.scale,
            outscale=spec.scale,
            halo_px=spec.halo_px,
            align_px=spec.align_px,
            whole_body=spec.whole_body,
            tile_px=tile_px,
            exact_px=exact_px,
        )
    )


@dataclass(kw_only=True)
class Subject:
    """One model on the device, and what its outputs are compared to."""

    spec: ModelSpec
    path: Path
    device: torch.device
    sizes: Sizes
    kernel: str = "plain"
    in_fp32: dict[str, Pixels] = field(default_factory=dict)
    """the small picture in fp32, by where it was made, once it was: the same with every sort of kernels"""
    backend: Backend = field(init=False)
    upscaler: Upscaler = field(init=False)

    def __post_init__(self) -> None:
        self.backend = Backend(self.spec, load_state(self.path, self.spec), str(self.device), self.kernel)
        self.upscaler = Upscaler(self.spec, self.backend)

    @property
    def tile_px(self) -> int:
        is_large = self.device.type == "cuda" and self.spec.arch == "srvgg"
        return self.sizes.compact_tile_px if is_large else self.sizes.tile_px

    @property
    def batch(self) -> int:
        return 8 if self.device.type == "cuda" else 1

    @cached_property
    def small(self) -> Pixels:
        return picture(self.sizes.small)

    @property
    def on_cpu(self) -> Pixels:
        """The small picture in fp32 on the CPU."""
        if "cpu" not in self.in_fp32:
            upscaler = Upscaler.load(self.spec, self.path)
            plan = self.plan(self.small)
            self.in_fp32["cpu"] = upscaler.restore(self.small, plan, Settings(precision="fp32")).pixels
            upscaler.close()
        return self.in_fp32["cpu"]

    @property
    def on_device(self) -> Pixels:
        """The small picture in fp32 on the device."""
        if "device" not in self.in_fp32:
            self.in_fp32["device"] = self.restore(self.small, "fp32")
        return self.in_fp32["device"]

    def plan(self, rgb: Pixels, tile_px: int | None = None, exact_px: int = EXACT_PX) -> PicturePlan:
        return plan_of(self.spec, rgb, tile_px or self.tile_px, exact_px)

    def restore(self, rgb: Pixels, precision: str, plan: PicturePlan | None = None, batch: int | None = None) -> Pixels:
        settings = Settings(precision=precision, batch=batch or self.batch)  # pyright: ignore[reportArgumentType]
        made = self.upscaler.restore(rgb, plan or self.plan(rgb), settings)
        if not made.finite:
            raise CheckError("output holds NaN or infinity")
        return made.pixels

    def bound(self, precision: str) -> int:
        """Levels by which bytes of other shapes may differ: none on a CPU, half precision's error on a GPU."""
        return LEVELS[precision] if self.device.type == "cuda" else 0


def difference(made: Pixels, expected: Pixels, most: int | None, least_db: float = 0.0) -> str:
    """How two pictures differ; CheckError when it is by more than `most` levels, or by less than `least_db` in all."""
    distance = np.abs(made.astype(np.int32) - expected.astype(np.int32))
    if not distance.any():
        return "identical"
    top = np.iinfo(made.dtype).max
    psnr = 20 * math.log10(top / math.sqrt(float(np.square(distance, dtype=np.float64).mean())))
    text = f"max {distance.max()}, {psnr:.1f} dB, {100 * np.count_nonzero(distance) / distance.size:.2g} % differ"
    if most is not None and distance.max() > most:
        raise CheckError(f"{text}; allowed {most}")
    if psnr < least_db:
        raise CheckError(f"{text}; wanted {least_db:g} dB")
    return text


def against_device(subject: Subject, precision: str) -> str:
    made = subject.restore(subject.small, precision)
    return difference(made, subject.on_device, LEVELS[precision], LEAST_DB[precision])


def against_cpu(subject: Subject, precision: str) -> str:
    made = subject.restore(subject.small, precision)
    return difference(made, subject.on_cpu, LEVELS[precision], LEAST_DB[precision])


def over_tiles(subject: Subject, precision: str) -> str:
    """The same picture in windows, or the same body with bands of the tail, of several sizes."""
    rgb = picture(subject.sizes.cut)
    first, *others = (subject.restore(rgb, precision, subject.plan(rgb, tile)) for tile in subject.sizes.tiles)
    found = {difference(other, first, subject.bound(precision)) for other in others}
    return "; ".join(sorted(found))


def over_batches(subject: Subject, precision: str) -> str:
    rgb = picture(subject.sizes.cut)
    plan = subject.plan(rgb, subject.sizes.tiles[0], exact_px=1)
    one, many = (subject.restore(rgb, precision, plan, batch) for batch in subject.sizes.batches)
    return difference(many, one, subject.bound(precision))


def over_order(subject: Subject, precision: str) -> str:
    """Windows shuffled and in short batches, which a GPU fills up: the same bytes everywhere."""
    rgb, batch = picture(subject.sizes.cut), subject.sizes.batches[1]
    plan = subject.plan(rgb, subject.sizes.tiles[0], exact_px=1)
    expected = subject.restore(rgb, precision, plan, batch)
    made = np.empty_like(expected)
    tiles = list(plan.tiles)
    random.Random(0).shuffle(tiles)
    settings = Settings(precision=precision, batch=batch)  # pyright: ignore[reportArgumentType]
    for start in range(0, len(tiles), 3):
        part = tiles[start : start + 3]
        windows = [cut_window(rgb, tile.read) for tile in part]
        for tile, result in zip(
            part, subject.upscaler.restore_windows(windows, part, [plan] * len(part), settings), strict=True
        ):
            made[tile.out.y0 : tile.out.y1, tile.out.x0 : tile.out.x1] = result.pixels
    return difference(made, expected, 0)


def body_and_windows(subject: Subject, precision: str) -> str:
    if not subject.spec.whole_body:
        return "no body"
    rgb = picture(subject.sizes.cut)
    plan = subject.plan(rgb, exact_px=1)
    most = subject.bound(precision) if plan.mode is Mode.EXACT else None
    found = difference(subject.restore(rgb, precision, plan), subject.restore(rgb, precision), most)
    return f"{plan.mode.value}: {found}"


def sixteen_bits(subject: Subject, precision: str) -> str:
    """A picture of 8 bits times 257: its output, rounded to 8 bits, is that of the 8-bit picture to one level."""
    made = subject.restore(picture(subject.sizes.small, np.uint16), precision)
    if made.dtype != np.uint16 or not (made % 257).any():
        raise CheckError(f"{made.dtype} that holds 8 bits only")
    rounded = np.rint(made / 257).astype(np.uint8)
    # Half precision takes the two pictures in by way of different roundings of the same samples.
    return difference(rounded, subject.restore(subject.small, precision), max(1, subject.bound(precision)))
