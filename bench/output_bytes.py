"""Bytes an output pixel takes, by format and quality: restored pictures of a run, encoded anew as the farm does.

    python bench/output_bytes.py OUTPUT_ROOT

Prints the median and the range over all pictures of the root; `farm/forecast/bytes.py` has the medians.
"""

from __future__ import annotations

import sys
from statistics import median

from farm.ledger import iter_results
from farm.media.image import EncodeSpec, ImageMeta, ReadLimits, decode
from farm.storage import read_bytes

ASKED = {
    "png": (100,),
    "tiff": (100,),
    "jpg": (75, 90, 95, 100),
    "webp": (75, 90, 95, 100),
    "avif": (75, 90, 95, 100),
}


def main(root: str) -> None:
    from farm.media.image import encode

    found: dict[tuple[str, int], list[float]] = {}
    films: list[float] = []
    for table in iter_results(root, ["status", "output", "frames", "bytes", "width", "height"]):
        for row in table.to_pylist():
            if row["status"] != "done":
                continue
            if row["frames"]:
                films.append(row["bytes"] / (row["frames"] * row["width"] * row["height"]))
                continue
            pixels = decode(read_bytes(row["output"]), row["output"], ReadLimits()).pixels[..., :3]
            if pixels.dtype != "uint8" or pixels.shape[2] != 3:
                continue
            pixels = pixels[:1200, :1200]
            for name, qualities in ASKED.items():
                for quality in qualities:
                    data = encode(pixels, ImageMeta(), EncodeSpec(format=name, quality=quality), "picture")
                    found.setdefault((name, quality), []).append(len(data) / (pixels.shape[0] * pixels.shape[1]))
    for (name, quality), shares in found.items():
        print(f"{name:5} {quality:4} {median(shares):.3f} ({min(shares):.3f} to {max(shares):.3f}, {len(shares)})")
    if films:
        print(f"films      {median(films):.3f} ({min(films):.3f} to {max(films):.3f}, {len(films)})")


if __name__ == "__main__":
    main(sys.argv[1])
