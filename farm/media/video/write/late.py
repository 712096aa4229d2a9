"""Streams that begin late: broadcasts, DVDs and Flash list none, so FFmpeg knows those that it met while opening.

For what is copied they are opened with a longer look than usual; a stream that begins still later is left out and told
of. PyAV has no place for its packets: it drops them, and at the end of the file it may raise an IndexError.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream

from farm.media.video.read.source import BUFFER_BYTES, watched
from farm.media.video.write.tracks import AnyPacket

_LISTLESS = frozenset({"mpegts", "mpeg", "flv"})
"""demuxers of containers in which streams may begin anywhere"""
_LOOK: Mapping[str, str] = MappingProxyType(
    {"probesize": "20000000", "analyzeduration": "60000000", "scan_all_pmts": "1"}
)
"""bytes, which are held meanwhile, and microseconds, whichever ends first; in broadcasts behind the first list too"""


@contextmanager
def opened_wide(source: BinaryIO, url: str) -> Generator[InputContainer]:
    """As `farm.media.video.read.source.opened`, with all streams that begin within `_LOOK`; others keep their index."""
    with watched(source, url) as found:
        name = found.container.format.name
        if name not in _LISTLESS:
            yield found.container
            return
        found.container.close()
        found.file.seek(0)
        with av.open(
            found.file,
            "r",
            format=name,
            container_options={"protocol_whitelist": "none", **_LOOK},
            metadata_errors="replace",
            buffer_size=BUFFER_BYTES,
            io_open=found.file.refuse,
        ) as container:
            yield container


def demuxed(source: InputContainer, streams: Collection[Stream]) -> Iterator[AnyPacket]:
    """Packets of these streams, of which there may be none, from where the container stands to its end."""
    if not streams:  # which PyAV takes for all of them
        return
    try:
        yield from source.demux(list(streams))
    except IndexError:  # PyAV's, behind the last packet, where streams turned up that were not there when it opened
        return


def late_streams(source: InputContainer) -> bool:
    """Whether streams turned up since it was opened; it stands at its end.

    PyAV does not say how many there are now, but refuses to read one that is not there.
    """
    with av.open(io.BytesIO(), "w", format="matroska") as aside:
        beyond = [aside.add_stream("srt") for _ in range(len(source.streams) + 1)][-1]
        try:
            next(source.demux(beyond), None)
        except ValueError:
            return False
        except (IndexError, FFmpegError):
            return True
    return True
