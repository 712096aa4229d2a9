"""The official video script's method over one film: ffmpeg's pipe in, one frame at a time enhanced, ffmpeg's pipe out.

Started by bench/video.py and bench/gpu.py in a process of its own. Prints one JSON line. The script itself does not run
on a CPU (it counts its processes by GPUs and synchronises with one); what it does with each frame is done here in the
same order.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
from film_clip import Film, probe  # beside this file
from official_package import make_upsampler


def main() -> None:
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("film", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tile", type=int, required=True)
    parser.add_argument("--encoder", required=True, help="as ffmpeg names it, such as libx264")
    parser.add_argument("--crf", type=int, required=True)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--half", action="store_true", help="half precision, the script's default on a GPU")
    arguments = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):  # it prints every tile
        answer = run(arguments, started)
    print(json.dumps(answer))


def run(arguments: argparse.Namespace, started: float) -> dict[str, float]:
    upsampler, scale = make_upsampler(arguments.model, arguments.weights, arguments.tile, half=arguments.half)
    film = probe(arguments.film)
    ready = time.perf_counter()
    frames = 0
    reader = start_reader(arguments.film)
    writer = start_writer(arguments, film, scale)
    assert reader.stdout is not None
    assert writer.stdin is not None
    while data := reader.stdout.read(film.width * film.height * 3):
        picture = np.frombuffer(data, np.uint8).reshape(film.height, film.width, 3)
        restored, _ = upsampler.enhance(picture, outscale=scale)
        writer.stdin.write(restored.astype(np.uint8).tobytes())
        frames += 1
    writer.stdin.close()
    if reader.wait() or writer.wait():
        raise SystemExit(f"ffmpeg ended with {reader.returncode} and {writer.returncode}")
    ended = time.perf_counter()
    return {
        "start_s": ready - started,
        "steady_s": ended - ready,
        "frames": frames,
        "px": frames * film.width * film.height,
    }


def start_reader(film: Path) -> subprocess.Popen[bytes]:
    command = ["ffmpeg", "-i", str(film), "-f", "rawvideo", "-pix_fmt", "bgr24", "-loglevel", "error", "pipe:"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


def start_writer(arguments: argparse.Namespace, film: Film, scale: int) -> subprocess.Popen[bytes]:
    size = f"{film.width * scale}x{film.height * scale}"
    command = ["ffmpeg", "-f", "rawvideo", "-framerate", str(float(Fraction(film.rate))), "-pix_fmt", "bgr24"]
    command += ["-s", size, "-i", "pipe:"]
    if film.has_audio:
        command += ["-i", str(arguments.film), "-map", "0", "-map", "1:a", "-acodec", "copy"]
    command += ["-loglevel", "error", "-pix_fmt", "yuv420p", "-vcodec", arguments.encoder]
    command += ["-crf", str(arguments.crf), "-preset", arguments.preset, str(arguments.out), "-y"]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


if __name__ == "__main__":
    main()
