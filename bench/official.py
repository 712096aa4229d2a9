"""The official package over a folder, as its own program does it: read, enhance, write, one picture after another.

Started by bench/images.py in a process of its own. Prints one JSON line: when it was ready, and the seconds of every
picture.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path

from official_package import make_upsampler  # beside this file


def main() -> None:
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tile", type=int, required=True)
    arguments = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):  # it prints every tile
        answer = run(arguments, started)
    print(json.dumps(answer))


def run(arguments: argparse.Namespace, started: float) -> dict[str, object]:
    import cv2

    upsampler, scale = make_upsampler(arguments.model, arguments.weights, arguments.tile)
    arguments.out.mkdir(parents=True, exist_ok=True)
    ready = time.perf_counter()
    seconds: list[float] = []
    px = 0
    for path in sorted(arguments.pictures.iterdir()):
        begun = time.perf_counter()
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        restored, _ = upsampler.enhance(picture, outscale=scale)
        cv2.imwrite(str(arguments.out / f"{path.stem}_out{path.suffix}"), restored)
        seconds.append(time.perf_counter() - begun)
        px += picture.shape[0] * picture.shape[1]
    ended = time.perf_counter()
    return {"start_s": ready - started, "steady_s": ended - ready, "px": px, "pid": os.getpid(), "pictures_s": seconds}


if __name__ == "__main__":
    main()
