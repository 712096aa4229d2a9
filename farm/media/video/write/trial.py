"""Which packets of a stream a container refuses, found out on a file of that stream alone that nobody keeps.

Muxers hold packets back to sort them: when one is refused in the output itself, that is told with a later one.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from contextlib import suppress
from fractions import Fraction

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream

from farm.media.video.faults import check_memory
from farm.media.video.write.late import demuxed
from farm.media.video.write.template import MUXERS, add_like
from farm.media.video.write.tracks import AnyPacket, CopiedTrack


class Trial:
    """A file of one stream, of which nothing is kept but the muxer's index."""

    def __init__(self, container: str, stream: Stream) -> None:
        """Raises as `add_like`."""
        self._output = av.open(_Nowhere(), "w", format=MUXERS[container])
        self.target = add_like(self._output, stream)
        self._output.start_encoding()

    def takes(self, packet: AnyPacket) -> bool:
        """Whether the container takes the stream's next packet, which is left as it is."""
        before = packet.stream, packet.pts, packet.dts, packet.duration, packet.time_base
        packet.stream = self.target
        try:
            self._output.mux(packet)
        except FFmpegError as error:
            check_memory(error)
            return False
        finally:
            packet.stream, packet.pts, packet.dts, packet.duration, packet.time_base = before
        return True

    def close(self) -> None:
        """Give the muxer's memory back."""
        with suppress(FFmpegError, ValueError):  # how that file ends is of no interest
            self._output.close()


class SiftedTrack(CopiedTrack):
    """Packets as they are, without those that the container refuses."""

    def __init__(self, target: Stream, name: str, trial: Trial) -> None:
        super().__init__(target, name)
        self._trial = trial

    def send(self, packet: AnyPacket) -> list[AnyPacket]:
        return self._taken(super().send(packet))

    def flush(self) -> list[AnyPacket]:
        taken = self._taken(super().flush())
        self._trial.close()
        return taken

    def _taken(self, packets: list[AnyPacket]) -> list[AnyPacket]:
        taken = [one for one in packets if self._trial.takes(one)]
        self.damaged += len(packets) - len(taken)
        return taken


def first_refused(
    source: InputContainer, container: str, indexes: Collection[int]
) -> tuple[Stream, Fraction | None] | None:
    """The first packet of copied streams that the container refuses: its stream, and its time in seconds if it has one.

    Raises:
        FFmpegError: the source cannot be read to the end.
    """
    streams = [source.streams[index] for index in indexes]
    trials = {stream.index: Trial(container, stream) for stream in streams}
    tracks = {index: CopiedTrack(trial.target, "") for index, trial in trials.items()}
    for packet in demuxed(source, streams):
        if packet.size == 0:
            continue
        index = packet.stream_index  # of the source's; the track makes it that of the trial
        for one in tracks[index].send(packet):
            if not trials[index].takes(one):
                return source.streams[index], None if one.pts is None else one.pts * one.time_base
    return None


class _Nowhere(io.RawIOBase):
    """Takes bytes and forgets them; only its length is known."""

    def __init__(self) -> None:
        super().__init__()
        self._at = self._size = 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        self._at += len(data)
        self._size = max(self._size, self._at)
        return len(data)
