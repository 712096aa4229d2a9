"""All bands of a picture into one file, in memory that grows neither with the picture nor with the number of bands.

libvips' own join keeps some lines of every band to the end (measured: 5 to 10 MB for each of 100 bands). So the bands
are decoded here one after the other, some rows at a time, and shown to libvips as one uncompressed file
(`virtual_tiff`) that it reads from top to bottom. One band is open at a time; each is opened once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO, NoReturn, cast

import pyvips

from farm.errors import ErrorKind, ItemError
from farm.media.encode import cannot_hold, failed, save
from farm.media.formats import ALPHA_FORMATS, check_fits
from farm.media.picture import EncodeSpec, ImageMeta
from farm.media.vips import FileBridge, TargetBridge, WriteFile, translated
from farm.media.virtual_tiff import StripLayout, VirtualTiff

Opener = Callable[[], BinaryIO]
_STRIP_BYTES = 4 << 20


def join_pieces(
    openers: Sequence[Opener], width: int, height: int, meta: ImageMeta, spec: EncodeSpec, url: str, sink: WriteFile
) -> None:
    """Write the pieces of `farm.media.encode.encode_piece`, top to bottom, as one picture.

    Args:
        openers: one a piece, in order; called when its piece is due. The files are closed here.
        width: of the whole picture in pixels.
        height: of the whole picture in pixels.
        url: of the output; stands in messages only.
        sink: those of SOUGHT_FORMATS are also sought in and read back. It is not closed.

    Raises:
        ItemError: CORRUPT when the pieces do not make up the picture, UNSUPPORTED when the format cannot hold it,
            ENCODE_FAILED when libvips refuses. Errors of the files come through as they are.
    """
    if (unfit := check_fits(spec.format, width, height)) is not None:
        raise cannot_hold(url, unfit)
    rows = _PieceRows(openers, width, height, url)
    try:
        if rows.layout.bands in (2, 4) and spec.format not in ALPHA_FORMATS:
            _refuse_transparency(openers, width, height, spec, url)
        bridge, output = FileBridge(rows), TargetBridge(sink)
        with translated(failed(url), bridge, output):
            source = bridge.source()
            save(_load(source), meta, spec, output.target())
        rows.expect_end()
    finally:
        rows.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """Some rows of one piece."""

    layout: StripLayout
    data: memoryview


def _load(source: pyvips.Source) -> pyvips.Image:
    return pyvips.Image.tiffload_source(source, access="sequential", fail_on="error", unlimited=True)


def _refuse_transparency(openers: Sequence[Opener], width: int, height: int, spec: EncodeSpec, url: str) -> None:
    """One pass over all pieces more, for alpha into JPEG only: opaque alpha may go, transparency may not."""
    rows = _PieceRows(openers, width, height, url)
    try:
        bridge = FileBridge(rows)
        with translated(failed(url), bridge):
            source = bridge.source()
            least = cast(float, _load(source).extract_band(rows.layout.bands - 1).min())
    finally:
        rows.close()
    if least < (1 << 8 * rows.layout.sample_bytes) - 1:
        raise cannot_hold(url, f"transparent pixels, which {spec.format} cannot hold")


class _PieceRows(VirtualTiff):
    """The rows of all pieces as one uncompressed TIFF, to be read once from top to bottom."""

    def __init__(self, openers: Sequence[Opener], width: int, height: int, url: str) -> None:
        self._size = (width, height)
        self._url = url
        self._decoded = self._decode(openers)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="join")
        try:
            first = self._ahead().result() or self._nothing()
        except BaseException:
            self._thread.shutdown()
            raise
        self._next = self._ahead()
        super().__init__(first.layout, self._in_turn(first))

    def expect_end(self) -> None:
        """Refuse pieces that hold more rows than the picture."""
        if self._next.result() is not None:
            raise self._mismatch(f"more than {self._size[1]} rows")

    def close(self) -> None:
        """Close the piece that is open."""
        self._thread.shutdown()
        self._decoded.close()

    def _ahead(self) -> Future[_Block | None]:
        """Decode the next block, in a thread that is ours.

        libvips asks for rows in a worker thread of its own, and those keep line buffers of every image they have seen
        until they end (measured: 8 MB a band of 25 000 columns). Ours keeps none, and decodes while libvips compresses.
        """
        return self._thread.submit(next, self._decoded, None)

    def _nothing(self) -> NoReturn:
        raise self._mismatch("no piece at all")

    def _in_turn(self, block: _Block) -> Iterator[memoryview]:
        """The rows, one block after the other, of which the next is decoded meanwhile."""
        while True:
            yield block.data
            following = self._next.result()
            if following is None:
                raise self._mismatch(f"fewer than {self._size[1]} rows")
            block, self._next = following, self._ahead()

    def _decode(self, openers: Sequence[Opener]) -> Generator[_Block, None, None]:
        """Some rows of the pieces at a time, in order."""
        expected: StripLayout | None = None
        for opener in openers:
            with opener() as file:
                bridge = FileBridge(file)
                with translated(self._unreadable, bridge):
                    source = bridge.source()
                    image = pyvips.Image.pngload_source(source, access="sequential", fail_on="error")
                layout = self._layout(image)
                expected = expected or layout
                if layout != expected or image.width != self._size[0]:
                    raise self._mismatch(f"one of {image.width} columns and {image.bands} bands of {image.format}")
                # Not crops: writing one out drops the loader's cached lines, and it cannot go back for them.
                region = pyvips.Region.new(image)
                for y in range(0, image.height, layout.rows):
                    with translated(self._unreadable, bridge):
                        data = region.fetch(0, y, image.width, min(layout.rows, image.height - y))
                    yield _Block(layout=layout, data=memoryview(data))

    def _layout(self, image: pyvips.Image) -> StripLayout:
        """The whole picture's layout, as far as this piece shows it."""
        width, height = self._size
        sample_bytes = 2 if image.format == "ushort" else 1
        rows = max(1, _STRIP_BYTES // (width * image.bands * sample_bytes))
        return StripLayout(
            width=width, height=height, bands=image.bands, sample_bytes=sample_bytes, rows=min(rows, height)
        )

    def _unreadable(self, message: str) -> ItemError:
        found = f"a piece cannot be read ({message[:200]})"
        return ItemError(ErrorKind.CORRUPT, self._url, found, "run again; pieces are made anew")

    def _mismatch(self, has: str) -> ItemError:
        width, height = self._size
        found = f"its pieces do not make up {width}x{height}: {has}"
        return ItemError(ErrorKind.CORRUPT, self._url, found, "run again; pieces are made anew")
