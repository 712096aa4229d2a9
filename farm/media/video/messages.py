"""What FFmpeg says of damage and tells in no other way: messages of its decoders and demuxers, heard in one thread."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import av.logging as av_logging

COMPLAINTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **{
            "ffv1": ("CRC mismatch", "damaged", "invalid", "error"),
            "mjpeg": ("error", "bad vlc", "overread", "invalid"),
        },
        **{"hevc": ("mismatching checksum",), "ogg": ("CRC mismatch",), "asf": ("packet_",)},
        "matroska,webm": (
            "invalid as first byte",
            "Invalid EBML",
            "exceeds containing",
            "Invalid length",
            "Invalid track",
        ),
    }
)
"""who speaks, and what it says only where something is lost"""
DEMUXERS = ("ogg", "asf", "matroska,webm")
"""those of them that read containers"""


@contextmanager
def heard(*speakers: str) -> Generator[list[str]]:
    """The complaints of decoders or demuxers in this thread while the block runs; filled when it ends.

    What libraries say in other threads goes nowhere, as it did before.
    """
    if not any(speaker in COMPLAINTS for speaker in speakers):
        yield []
        return
    _listen()
    complaints: list[str] = []
    with av_logging.Capture() as logs:
        yield complaints
    for _, name, message in logs:
        if name in speakers and any(words in message for words in COMPLAINTS.get(name, ())):
            complaints.append(message.strip())


def _listen() -> None:
    """Have FFmpeg's errors formatted at all; PyAV drops them by default."""
    if av_logging.get_level() is None:
        logger = logging.getLogger("libav")
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        av_logging.set_skip_repeated(False)
        av_logging.set_level(av_logging.ERROR)
