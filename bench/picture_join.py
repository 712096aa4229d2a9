"""How much memory and time does it take to join many bands into one large file?

    python bench/picture_join.py PICTURE --width 25000 --rows 500 --pieces 40 --format tiff

The bands repeat the picture sideways; all are one file on disk, opened anew for every band, so that the disk holds one
piece and the result. Peak memory is the process's own high-water mark, and what it was before the join is said too.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyvips
from figures import process_mb  # beside this file

from farm.media.image import EncodeSpec, ImageMeta, encode_piece, join_pieces


def make_piece(picture: str, width: int, rows: int, path: Path) -> None:
    """One band of the given size, from the picture repeated."""
    source = pyvips.Image.new_from_file(picture).numpy()
    band = np.tile(source, (rows // source.shape[0] + 1, width // source.shape[1] + 1, 1))[:rows, :width]
    start = time.perf_counter()
    data = encode_piece(band)
    seconds = time.perf_counter() - start
    path.write_bytes(data)
    print(f"piece: {band.nbytes / 1e6:.0f} MB of pixels, {len(data) / 1e6:.1f} MB in {seconds:.2f} s")


def main() -> None:
    """Measure one join and print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--width", type=int, default=25_000)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--pieces", type=int, default=40)
    parser.add_argument("--format", default="tiff")
    parser.add_argument("--piece", type=Path, help="use this file as the band instead of making one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        piece = arguments.piece or Path(folder, "piece")
        if arguments.piece is None or not piece.exists():
            make_piece(arguments.picture, arguments.width, arguments.rows, piece)
        height = arguments.rows * arguments.pieces
        before, start = process_mb(), time.perf_counter()
        with Path(folder, "out").open("wb+") as sink:
            spec = EncodeSpec(format=arguments.format)
            openers = [lambda: piece.open("rb")] * arguments.pieces
            join_pieces(openers, arguments.width, height, ImageMeta(), spec, "out", sink)
            size = sink.seek(0, 2)
        seconds = time.perf_counter() - start
    print(
        f"{arguments.format}: {arguments.width}x{height} = {arguments.width * height / 1e6:.0f} Mpx "
        f"from {arguments.pieces} pieces: {seconds:.1f} s, {size / 1e6:.0f} MB, "
        f"peak {process_mb():.0f} MB ({before:.0f} before)"
    )


if __name__ == "__main__":
    main()
