"""MPEG transport streams are known by the marks of their packets, however few these are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from farm.errors import ErrorKind, ItemError
from farm.media.video.plan import read_film
from farm.media.video.read.containers import cut_sign, transport_packet
from farm.media.video.read.decode import iter_frames
from farm.media.video.read.reader import FilmReader
from farm.media.video.read.source import read_header
from tests.clips import clip, film
from tests.farm.media.test_video_table import params

URL = "films/x.mp4"


def repacked(packets: bytes, length: int) -> bytes:
    """A transport stream in packets of 192 bytes, with a time before each, or of 204, with a checksum behind."""
    parts = [packets[at : at + 188] for at in range(0, len(packets), 188)]
    return b"".join({188: part, 192: bytes(4) + part, 204: part + bytes(16)}[length] for part in parts)


@pytest.mark.parametrize("length", [188, 192, 204])
@pytest.mark.parametrize("codec", ["mpeg2video", "libx264"])
def test_a_transport_stream_of_a_few_packets_is_one(codec: str, length: int) -> None:
    data = clip(codec, "mpegts", frames=1, size=(32, 32))
    assert 5 <= len(data) // 188 < 10, "too few for FFmpeg's own probe"
    data = repacked(data, length)
    assert read_header(io.BytesIO(data), URL).container == "mpegts"
    settings = params()
    cut = read_film(io.BytesIO(data), URL, settings)
    seen = [
        frame
        for span in cut.spans
        for frame in iter_frames(FilmReader.of(io.BytesIO(data), URL), cut.film, span, settings)
    ]
    assert [(frame.index, frame.damaged) for frame in seen] == [(0, False)]
    with pytest.raises(ItemError) as caught:
        read_film(io.BytesIO(data[:-1]), URL, settings)
    assert caught.value.kind is ErrorKind.TRUNCATED


def test_a_gif_whose_palette_has_the_marks_of_packets_is_a_gif() -> None:
    frames = [Image.fromarray(np.full((12, 12), shade, np.uint8), mode="P") for shade in (1, 200)]
    for frame in frames:
        frame.putpalette([0x47] * 768)
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    data = file.getvalue()
    assert {data[at] for at in range(0, 941, 188) if at < len(data)} == {0x47}
    assert transport_packet(data + bytes(941)) is None
    assert read_film(io.BytesIO(data), URL, params()).film.warning == "named .mp4 but holds gif"


def test_a_cut_stream_is_cut_although_a_packet_s_mark_is_damaged() -> None:
    data = bytearray(film("mpeg2.ts")[:-138])
    data[188 * 5] = 0
    assert cut_sign("mpegts", io.BytesIO(data)) == "50 bytes of the last packet of 188 are there"
