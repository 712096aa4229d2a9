"""What FFmpeg says of damage and tells in no other way: messages of its decoders and demuxers, heard in one thread."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from threading import Lock
from types import MappingProxyType

import av.logging as av_logging

COMPLAINTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **{
            "ffv1": ("CRC mismatch", "damaged", "invalid", "error"),
            "mjpeg": ("error", "bad vlc", "overread", "invalid"),
        },
        "hevc": ("mismatching checksum", "outside the valid range"),  # not of missing references: leading pictures
        **{"ogg": ("CRC mismatch",), "asf": ("packet_",)},
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


class _Listening:
    """Whether FFmpeg's errors are formatted at all, which PyAV leaves off.

    They are only while somebody listens: a library's thread that wants to speak waits for Python's lock, and would do
    so for ever while this thread holds that lock to end the library's threads.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._listeners = 0

    @contextmanager
    def on(self) -> Generator[None]:
        with self._lock:
            self._listeners += 1
            if self._listeners == 1:
                logger = logging.getLogger("libav")  # of other threads: said to nobody, as before
                logger.propagate = False
                logger.addHandler(_UNHEARD)
                av_logging.set_skip_repeated(False)
                av_logging.set_level(av_logging.ERROR)
        try:
            yield
        finally:
            with self._lock:
                self._listeners -= 1
                if self._listeners == 0:
                    av_logging.set_level(None)


_UNHEARD = logging.NullHandler()
_LISTENING = _Listening()


@contextmanager
def heard(*speakers: str) -> Generator[list[str]]:
    """The complaints of decoders or demuxers in this thread while the block runs; filled when it ends."""
    if not any(speaker in COMPLAINTS for speaker in speakers):
        yield []
        return
    complaints: list[str] = []
    with _LISTENING.on(), av_logging.Capture() as logs:
        yield complaints
    for _, name, message in logs:
        if name in speakers and any(words in message for words in COMPLAINTS.get(name, ())):
            complaints.append(message.strip())
