"""Where the figures of real outputs lie, where those of faulty ones, and what the figures cost.

    FARM_TEST_DATA=FOLDER python bench/fidelity.py [--outputs DIR] [--tile-px 128] [--threads 2] [--every N]

FOLDER has weights/, media/images and media/videos. Every picture, and up to three frames of every film, cut to the
middle --side pixels, is restored by three networks in fp32; --outputs keeps what they gave for the next time. Then each
output is spoilt in the ways of FAULTS and measured again: the floors of sr_kernel/believable/floors.py are to lie
between. Takes about an hour of two cores, half of it without --outputs to make.
Writes bench/results/fidelity-DATE.md and, where matplotlib is, a plot beside it.
"""

from __future__ import annotations

import argparse
import datetime
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import av
import numpy as np
import torch
from figures import cpu_name  # beside this file
from gpu_checks import plan_of
from numpy.typing import NDArray

from farm.media import image
from sr_kernel.backend import Backend
from sr_kernel.believable import floors
from sr_kernel.believable.niqe import niqe
from sr_kernel.believable.seams import Canvas, seam_stats
from sr_kernel.believable.sums import look_at, sums_of
from sr_kernel.fidelity import PixelStats, is_black, stats_of
from sr_kernel.pixels import split_planes
from sr_kernel.tiles import PicturePlan, Tile
from sr_kernel.upscale import Settings, Upscaler
from sr_kernel.weights import describe_file, load_state

Levels = NDArray[np.uint8]
WEIGHTS = {
    "animevideov3": "realesr-animevideov3.pth",
    "general-x4v3": "realesr-general-x4v3.fp16-derived.pth",
    "general-wdn-x4v3": "realesr-general-wdn-x4v3.fp16-derived.pth",
}
FRAMES = (2, 60, 150)
FIGURES: Mapping[str, Callable[[PixelStats], float | None]] = {
    "consistency": lambda stats: stats.consistency,
    "colour": lambda stats: stats.colour,
    "off": lambda stats: stats.off,
    "stripes": lambda stats: stats.stripes if stats.blocks.count >= 16 else None,
    "lattice": lambda stats: stats.lattice,
    "seam": lambda stats: stats.seam_score if stats.seams >= floors.LEAST_SEAMS else None,
}
BOUNDS = {
    "consistency": floors.LEAST_CONSISTENCY_DB,
    "colour": floors.MOST_COLOUR_LEVELS,
    "off": floors.MOST_OFF_SHARE,
    "stripes": floors.MOST_STRIPED_SHARE,
    "lattice": floors.MOST_LATTICE_LEVELS,
    "seam": floors.MOST_SEAM_SCORE,
}


@dataclass(frozen=True, kw_only=True)
class Output:
    """A picture and what a network made of it."""

    name: str
    model: str
    source: Levels
    pixels: Levels
    plan: PicturePlan


@dataclass(kw_only=True)
class Seen:
    """What is measured of outputs with one fault, or with none."""

    stats: list[PixelStats] = field(default_factory=list)
    noticed: list[frozenset[str]] = field(default_factory=list)

    def add(self, stats: PixelStats) -> None:
        self.stats.append(stats)
        self.noticed.append(frozenset(floors.suspicions(stats)) | ({"black"} if is_black(stats) else set()))


# -- what goes in ----------------------------------------------------------------------------------------------------


def middle(pixels: NDArray[np.uint8], side: int) -> Levels:
    y, x = (max(0, (length - side) // 2) for length in pixels.shape[:2])
    return np.ascontiguousarray(pixels[y : y + side, x : x + side])


def pictures(media: Path, side: int) -> Iterator[tuple[str, Levels]]:
    limits = image.ReadLimits(max_pixels=10**8, pages="refuse")
    for path in sorted((media / "images").iterdir()):
        rgb = split_planes(image.decode(path.read_bytes(), str(path), limits).pixels).rgb
        yield path.name, middle(rgb if rgb.dtype == np.uint8 else (rgb // 257).astype(np.uint8), side)
    for path in sorted((media / "videos").iterdir()):
        with av.open(str(path)) as film:
            for index, frame in enumerate(film.decode(video=0)):
                if index in FRAMES:
                    yield f"{path.name}-{index}", middle(frame.to_ndarray(format="rgb24"), side * 25 // 32)
                if index >= max(FRAMES):
                    break


def outputs(data: Path, asked: argparse.Namespace) -> Iterator[Output]:
    for model, file in WEIGHTS.items():
        spec = describe_file(data / "weights" / file)
        upscaler: Upscaler | None = None
        for name, source in pictures(data / "media", asked.side):
            plan = plan_of(spec, source, asked.tile_px)
            kept = asked.outputs / f"{model}-{name}.npy" if asked.outputs else None
            if kept is None or not kept.exists():
                upscaler = upscaler or Upscaler.load(spec, data / "weights" / file)
                pixels = upscaler.restore(source, plan, Settings(precision="fp32")).pixels
                if kept is not None:
                    np.save(kept, pixels)
            else:
                pixels = np.load(kept)
            yield Output(name=name, model=model, source=source, pixels=pixels, plan=plan)


def measured(output: Output, pixels: NDArray[np.float64] | Levels) -> PixelStats:
    """Figures of other pixels in an output's place, window by window as a worker adds them up."""
    plan, scale = output.plan, output.plan.spec.scale
    levels = pixels.clip(0, 255).round().astype(np.uint8)
    stats = PixelStats()
    for tile in plan.tiles:
        keep, out = tile.keep, tile.out
        shown = torch.from_numpy(levels[out.y0 : out.y1, out.x0 : out.x1])
        source = torch.from_numpy(output.source[keep.y0 : keep.y1, keep.x0 : keep.x1]).float() / 255
        means = shown.float().view(keep.height, scale, keep.width, scale, 3).mean((1, 3))
        look = look_at(shown, means, source, torch.tensor(True), scale, plan.spec.align_px)
        stats += stats_of(source.numel(), sums_of([look])[0].tolist())
    canvas = Canvas(spec=plan.spec, source=output.source, source_y0=0, output=levels, output_y0=0)
    return stats + seam_stats(canvas, plan.tiles)


# -- what is planted -------------------------------------------------------------------------------------------------

Fault = Callable[[Output], NDArray[np.float64] | Levels | None]


def stripes(output: Output, *, period: float, axis: int, levels: float) -> NDArray[np.float64]:
    line = levels * np.sin(2 * np.pi * np.arange(output.pixels.shape[axis]) / period + 0.7)
    return output.pixels + line.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))


def checkered(output: Output, *, levels: float) -> NDArray[np.float64]:
    y, x = np.ogrid[: output.pixels.shape[0], : output.pixels.shape[1]]
    return output.pixels + (levels * (2 * ((x + y) % 2) - 1))[..., None]


def one_window(output: Output, change: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> NDArray[np.int64] | None:
    """One of at least four windows changed."""
    tiles: tuple[Tile, ...] = output.plan.tiles
    if len(tiles) < 4:
        return None
    pixels, out = output.pixels.astype(np.int64), tiles[len(tiles) // 2].out
    pixels[out.y0 : out.y1, out.x0 : out.x1] = change(pixels[out.y0 : out.y1, out.x0 : out.x1])
    return pixels


def noisy(output: Output, *, levels: float) -> NDArray[np.float64]:
    return output.pixels + np.random.default_rng(1).normal(0, levels, output.pixels.shape)


def blurred(output: Output, *, source_px: int) -> NDArray[np.float64]:
    side = source_px * output.plan.spec.scale
    made = output.pixels.astype(np.float64)
    for axis in (0, 1):
        padded = np.pad(made, [(side, side) if at == axis else (0, 0) for at in range(3)], mode="edge").cumsum(axis)
        high, low = padded.take(range(2 * side, padded.shape[axis]), axis), padded.take(range(made.shape[axis]), axis)
        made = (high - low) / (2 * side)
    return made


def dithered_like_16_levels(output: Output) -> NDArray[np.int64]:
    return output.pixels.astype(np.int64) // 16 * 16 + 8


FAULTS: dict[str, Fault] = {
    **{
        f"stripes {levels} levels, {period} px, {'xy'[1 - axis]}": partial(
            stripes, period=period, axis=axis, levels=levels
        )
        for levels in (3, 6)
        for period in (4, 7, 10.5, 16, 32)
        for axis in (0, 1)
    },
    "checkerboard 2 levels": partial(checkered, levels=2),
    "checkerboard 4 levels": partial(checkered, levels=4),
    "one window 2 levels brighter": lambda output: one_window(output, lambda part: part + 2),
    "one window 4 levels brighter": lambda output: one_window(output, lambda part: part + 4),
    "one window black": lambda output: one_window(output, lambda part: part * 0),
    "one window moved by 8 px": lambda output: one_window(output, lambda part: np.roll(part, 8, 1)),
    "one window upside down": lambda output: one_window(output, lambda part: part[::-1]),
    "red and blue swapped": lambda output: output.pixels[..., ::-1],
    "green 12 levels more": lambda output: output.pixels + np.array([0, 12.0, 0]),
    "contrast 0.8": lambda output: output.pixels * 0.8,
    "all one colour": lambda output: output.pixels * 0 + output.pixels.mean((0, 1)),
    "black": lambda output: output.pixels * 0,
    "upside down": lambda output: output.pixels[::-1],
    "blurred over 16 source px": partial(blurred, source_px=8),
    "blurred over 4 source px": partial(blurred, source_px=2),
    "moved by 4 px": lambda output: np.roll(output.pixels, 4, 1),
    "16 levels only": dithered_like_16_levels,
    "noise of 20 levels": partial(noisy, levels=20),
}
HARMLESS: dict[str, Fault] = {
    "bf16 (noise of 56 dB)": partial(noisy, levels=0.4),
    "bf16, worst (noise of 46 dB)": partial(noisy, levels=1.3),
}


def wrong_weights(data: Path, asked: argparse.Namespace) -> Iterator[tuple[str, PixelStats]]:
    """What animevideov3 gives when its file is right in form and wrong in content, for the small pictures."""
    path = data / "weights" / WEIGHTS["animevideov3"]
    spec, state = describe_file(path), load_state(path, None)
    last = max((name for name in state if name.endswith("weight")), key=lambda name: int(name.split(".")[1]))
    spoilt = {
        "weights: outputs of the last layer in another order": {last: state[last].roll(1, 0)},
        "weights: one layer of 17 all 0": {"body.16.weight": state["body.16.weight"] * 0},
        "weights: one layer of 17 doubled": {"body.16.weight": state["body.16.weight"] * 2},
        "weights: last layer 1.5 times": {last: state[last] * 1.5},
    }
    for fault, change in spoilt.items():
        upscaler = Upscaler(spec, Backend(spec, state | change, "cpu"))
        for name, source in pictures(data / "media", asked.side):
            if source.shape[0] * source.shape[1] <= 70_000:
                plan = plan_of(spec, source, asked.tile_px)
                made = upscaler.restore(source, plan, Settings(precision="fp32"))
                output = Output(name=name, model=spec.name, source=source, pixels=made.pixels, plan=plan)
                yield fault, measured(output, made.pixels)


# -- what is said ----------------------------------------------------------------------------------------------------


def costs(data: Path) -> list[str]:
    """Seconds of this process for one window of 256 source pixels and one thread, after a first time."""
    torch.set_num_threads(1)
    path = data / "weights" / WEIGHTS["animevideov3"]
    spec = describe_file(path)
    upscaler = Upscaler.load(spec, path)
    side = 256 + 2 * spec.halo_px
    source = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    unit = torch.from_numpy(source[:256, :256]).float() / 255
    shown = torch.from_numpy(source[:256, :256].repeat(4, 0).repeat(4, 1))
    plan = plan_of(spec, source, 4096)
    big = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    canvas = Canvas(spec=plan_of(spec, big, 256).spec, source=big, source_y0=0, output=big, output_y0=0)
    canvas = Canvas(
        spec=canvas.spec, source=big // 32, source_y0=0, output=big.repeat(4, 0).repeat(4, 1) // 32, output_y0=0
    )
    tiles = plan_of(spec, big, 256).tiles
    true = torch.tensor(True)
    network = best(lambda: upscaler.restore(source, plan, Settings(precision="fp32")), 3)
    rows = {
        "the network, fp32, and all that follows it": network,
        "of it the sums of a window": best(lambda: sums_of([look_at(shown, unit * 255, unit, true, 4, 1)]), 9),
        "seams, a sixteenth of a picture of 1024 x 1024 in 16 windows": best(lambda: seam_stats(canvas, tiles), 5) / 16,
        "NIQE of the output of 1024 x 1024 (--niqe)": best(lambda: niqe(big), 3),
    }
    return [f"| {name} | {1000 * seconds:.1f} | {100 * seconds / network:.2f} |" for name, seconds in rows.items()]


def best(run: Callable[[], object], times: int) -> float:
    run()
    found: list[float] = []
    for _ in range(times):
        started = time.process_time()
        run()
        found.append(time.process_time() - started)
    return min(found)


def values(name: str, seen: Seen) -> list[float]:
    return [value for stats in seen.stats if (value := FIGURES[name](stats)) is not None]


def distribution(real: Mapping[str, Seen]) -> list[str]:
    lines = ["| figure | floor | network | least | median | most |", "|---|---|---|---|---|---|"]
    for name, bound in BOUNDS.items():
        for model, seen in real.items():
            found = np.array(values(name, seen))
            least, median, most = found.min(), np.median(found), found.max()
            lines.append(f"| {name} | {bound:g} | {model} | {least:.3f} | {median:.3f} | {most:.3f} |")
    return lines


def table(found: Mapping[str, Seen]) -> list[str]:
    lines = ["| fault | outputs | noticed | by |", "|---|---|---|---|"]
    for name, seen in found.items():
        share = sum(map(bool, seen.noticed)) / len(seen.noticed)
        counts = {by: sum(by in noticed for noticed in seen.noticed) for by in (*BOUNDS, "black")}
        by = ", ".join(f"{figure} {count}" for figure, count in counts.items() if count)
        lines.append(f"| {name} | {len(seen.noticed)} | {100 * share:.0f} % | {by} |")
    return lines


def plot(target: Path, real: Mapping[str, Seen], planted: Mapping[str, Seen]) -> bool:
    """Every figure of real outputs, and of those with a fault of a kind that it is for; False without matplotlib."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = {
        "consistency": ("upside down", "all one colour", "weights"),
        "colour": ("swapped", "green", "contrast"),
        "off": ("one window black", "swapped", "upside down"),
        "stripes": ("stripes 3", "stripes 6"),
        "lattice": ("checkerboard 2", "checkerboard 4", "weights"),
        "seam": ("2 levels brighter", "4 levels brighter", "window black"),
    }
    figure, axes = pyplot.subplots(2, 3, figsize=(16, 9))
    jitter = np.random.default_rng(0)
    for axis, (name, kinds) in zip(axes.flat, shown.items(), strict=True):
        rows = [(model, values(name, seen), "tab:blue") for model, seen in real.items()]
        for kind in kinds:
            made = [value for fault, seen in planted.items() if kind in fault for value in values(name, seen)]
            rows.append((kind, made, "tab:red"))
        for at, (_, found, colour) in enumerate(rows):
            axis.plot(found, at + jitter.uniform(-0.3, 0.3, len(found)), ".", color=colour, markersize=4, alpha=0.6)
        axis.set_yticks(range(len(rows)), [f"{label} ({len(found)})" for label, found, _ in rows])
        axis.invert_yaxis()
        axis.axvline(BOUNDS[name], color="black", linewidth=1)
        axis.set_title(f"{name}: floor {BOUNDS[name]:g}")
        if name in ("seam", "lattice", "colour"):
            axis.set_xscale("symlog", linthresh=1)
        if name == "off":
            axis.set_xscale("symlog", linthresh=0.01)
    figure.suptitle("Real outputs (blue) and outputs with a planted fault (red)")
    figure.tight_layout()
    figure.savefig(target, dpi=80)
    return True


def natural(made: Sequence[Output]) -> list[str]:
    lines = ["| network | outputs | least | median | most |", "|---|---|---|---|---|"]
    for model in WEIGHTS:
        found = [value for one in made if one.model == model and (value := niqe(one.pixels)) is not None]
        lines.append(f"| {model} | {len(found)} | {min(found):.2f} | {np.median(found):.2f} | {max(found):.2f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, help="where outputs are kept between runs")
    parser.add_argument("--tile-px", type=int, default=128)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="plant faults in every Nth output only")
    asked = parser.parse_args()
    data = Path(os.environ["FARM_TEST_DATA"])
    torch.set_num_threads(asked.threads)
    made = list(outputs(data, asked))
    real = {model: Seen() for model in WEIGHTS}
    harmless = {name: Seen() for name in HARMLESS}
    planted = {name: Seen() for name in FAULTS}
    for at, output in enumerate(made):
        real[output.model].add(measured(output, output.pixels))
        for name, fault in (HARMLESS | FAULTS if at % asked.every == 0 else HARMLESS).items():
            if output.source.std() > 1 and (pixels := fault(output)) is not None:
                (harmless if name in HARMLESS else planted)[name].add(measured(output, pixels))
    for name, stats in wrong_weights(data, asked):
        planted.setdefault(name, Seen()).add(stats)
    target = Path(__file__).parent / "results" / f"fidelity-{datetime.date.today()}.md"
    lines = [
        f"# Figures of real and of faulty outputs, {datetime.date.today()}",
        "",
        f"{cpu_name()}, {os.cpu_count()} cores, fp32, windows of {asked.tile_px}. {len(made)} outputs of"
        f" {len(made) // len(WEIGHTS)} pictures and frames, faults planted in one of {asked.every}. Stripes of 16"
        " blocks or more, seams of 4 edges or more.",
        "",
        *distribution(real),
        "",
        "Noticed, of outputs without a fault and with what half precision does to them:",
        "",
        *table(real | harmless),
        "",
        "Noticed, of outputs with a fault (pictures of one colour are left out):",
        "",
        *table(planted),
        "",
        "NIQE, which has no floor:",
        "",
        *natural(made),
        "",
        "Time of one thread for a window of 256 x 256 source pixels of animevideov3:",
        "",
        "| what | ms | % of the network |",
        "|---|---|---|",
        *costs(data),
    ]
    if plot(target.with_suffix(".png"), real, planted):
        lines += ["", f"![figures of real and of faulty outputs]({target.with_suffix('.png').name})"]
    target.write_text("\n".join(lines) + "\n")
    print(target)


if __name__ == "__main__":
    main()
