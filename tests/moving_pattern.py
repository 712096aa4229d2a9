"""A moving pattern whose every frame says its number, and the ffmpeg program that makes films of it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.outside import require_ffmpeg

WIDTH, HEIGHT = 96, 64


def run_ffmpeg(*args: str | Path, data: bytes | None = None, cwd: Path | None = None) -> bytes:
    """What ffmpeg writes to its standard output."""
    command = [require_ffmpeg(), "-nostdin", "-hide_banner", "-v", "error", "-y", *map(str, args)]
    done = subprocess.run(command, input=data if data is not None else b"", capture_output=True, cwd=cwd, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr.decode()}"
    return done.stdout


def pattern(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.float64]:
    """One frame, HWC in 0..1: slopes that move, a square that walks, and the frame's number in eight blocks."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(2 * np.pi * (x / width * a + y / height * b + number * c)) for a, b, c in _WAVES]
    frame = 0.5 + 0.35 * np.stack(waves, axis=2)
    left, side = 3 * number % width, height // 6
    frame[height // 2 : height // 2 + side, left : left + side] = (0.9, 0.8, 0.2)
    for bit in range(8):
        columns = slice(round(width * (2 + bit) / 12), round(width * (3 + bit) / 12))
        frame[round(height * 0.08) : round(height * 0.25), columns] = 0.92 if number >> bit & 1 else 0.08
    return frame


_WAVES = ((1.0, 0.3, 0.031), (0.4, 1.0, 0.017), (0.7, 0.7, 0.023))


def frame_number(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> int:
    """The number that a decoded frame of any size says: HW or HWC, any depth."""
    light = pixels.astype(np.float64)
    light = light[..., :3].mean(axis=2) if light.ndim == 3 else light
    height, width = light.shape
    rows = slice(round(height * 0.12), round(height * 0.21))
    blocks = [light[rows, round(width * (2.3 + bit) / 12) : round(width * (2.7 + bit) / 12)].mean() for bit in range(8)]
    middle = np.iinfo(pixels.dtype).max / 2
    return sum(1 << bit for bit, block in enumerate(blocks) if block > middle)


def raw_frames(
    count: int,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    pixels: str = "rgb24",
    shade: Callable[[int], float] | None = None,
) -> bytes:
    """`count` frames as ffmpeg's raw rgb24, rgb48le, rgba or rgba64le; `shade` dims frame n."""
    width, height = size
    alpha = 0.5 + 0.5 * np.sin(np.linspace(0, 6, width))[None, :, None].repeat(height, axis=0)
    out = bytearray()
    for number in range(count):
        frame = pattern(number, width, height) * (shade(number) if shade else 1)
        frame = np.concatenate([frame, alpha], axis=2) if pixels in ("rgba", "rgba64le") else frame
        deep = pixels.endswith("le")
        out += np.round(frame * (65535 if deep else 255)).astype("<u2" if deep else "u1").tobytes()
    return bytes(out)


def encode(
    path: Path,
    *args: str | Path,
    frames: int = 24,
    rate: str = "25",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    pixels: str = "rgb24",
    sound_s: float | None = None,
    inputs: Sequence[str | Path] = (),
    shade: Callable[[int], float] | None = None,
) -> None:
    """The pattern (input 0), a tone as long as it (input 1; none when `sound_s` is 0) and more through ffmpeg."""
    seconds = float(frames / Fraction(rate)) if sound_s is None else sound_s
    tone = ("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds}") if seconds else ()
    picture = ("-f", "rawvideo", "-pix_fmt", pixels, "-video_size", f"{size[0]}x{size[1]}", "-framerate", rate)
    exact = ("-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact")
    raw = raw_frames(frames, size, pixels, shade)
    run_ffmpeg(*picture, "-i", "pipe:0", *tone, *inputs, *args, *exact, path, data=raw)
