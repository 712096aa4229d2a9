"""A film that may stay open between its segments: its decoder, where it stands, and the frames that it gave last.

A segment goes on with what another has left where it would have begun with the same packet: the same packets have then
gone into a decoder like its own, so that each frame is the one that it would have decoded itself. Where that is not
certain the film is decoded anew: after damage, after anything that was raised, and where frames that are gone have
stamps of the segment's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import BinaryIO, Protocol

from av.container import InputContainer
from av.video.stream import VideoStream

from farm.errors import ErrorKind, ItemError
from farm.film import Span
from farm.media.video.plan import FIELD_CONTEXT
from farm.media.video.read.decoder import DecodedFrame, FrameSource
from farm.media.video.read.source import OpenContainer, seek_to, watched
from farm.media.video.values import DecoderConfig

_LAST = 2 * FIELD_CONTEXT
"""frames that are remembered: those before a deinterlaced segment, and those that the one before it has looked at"""
_REORDERED = 64
"""frames after which none comes with a lower stamp, where stamps do not ascend, as in films that are counted"""
_HELD = 16
"""frames that are kept back at most until it is known whether what they were predicted from is whole"""


class StartNotFoundError(Exception):
    """The container cannot be led to where decoding is to begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Where decoding begins, and how. Equal ones give equal frames."""

    seek: int | None
    """timestamp that the container is led to; None: the start of the file"""
    packet: int | None
    """stamp of the first packet that is decoded; None: whatever the seek finds"""
    stream_index: int
    counted: bool
    """frames are named by the numbers of their packets"""
    settled: bool
    """frames are given when it is known whether what they were predicted from is whole"""
    how: DecoderConfig
    last: bool = False
    """whether there is nothing else to try"""


class Kept(Protocol):
    """What a segment leaves to those behind it."""

    def goes_on(self, span: Span) -> bool:
        """Whether a segment of the same film would get from it what it would get from the start."""
        ...

    def close(self) -> None: ...


class Decoding:
    """The frames of a film from an opening on, to one segment after the other."""

    def __init__(self, opening: Opening, found: OpenContainer, stream: VideoStream, stack: ExitStack) -> None:
        self.opening = opening
        self.stack = stack
        """what is open with it"""
        self.decoder = FrameSource(
            found.container, stream, counted=opening.counted, threads=opening.how.threads, start=opening.packet
        )
        self.check = found.check
        """raises what the store raised so far"""
        self.keeps = False
        """whether the segment that it is lent to has got all that it wanted and leaves it as any other would"""
        self._shown = _settled(self.decoder) if opening.settled else self.decoder.frames()
        self._last: deque[DecodedFrame] = deque(maxlen=_LAST)
        self._gone: deque[int] = deque(maxlen=_REORDERED)
        """stamps of the frames that are no longer remembered"""
        self._highest: int | None = None
        """of those before them"""

    def frames(self) -> Iterator[DecodedFrame]:
        """Those that are remembered once more, then what follows."""
        yield from tuple(self._last)
        for one in self._shown:
            if len(self._last) == _LAST:
                self._forget(self._last[0].stamp)
            self._last.append(one)
            yield one

    def _forget(self, stamp: int) -> None:
        if len(self._gone) == _REORDERED:
            self._highest = max(self._gone[0], self._gone[0] if self._highest is None else self._highest)
        self._gone.append(stamp)

    def goes_on(self, span: Span) -> bool:
        """Whether a segment that begins with the same packet, and what comes before it, is to come or remembered."""
        if self.opening.packet != span.seek_pts or self.opening.counted != (span.seek_pts is None):
            return False
        if not self._gone:
            return True
        wanted = frozenset(span.pts)
        before = sum(1 for _ in takewhile(lambda one: one.stamp not in wanted, self._last))
        is_ahead = self._highest is None or self._highest < min(wanted)
        is_ahead = is_ahead and wanted.isdisjoint(self._gone) and max(self._gone) < max(wanted)
        return is_ahead and before >= FIELD_CONTEXT

    def close(self) -> None:
        """Let go of container and decoder."""
        self.stack.close()


class FilmReader:
    """One film, used by one segment at a time, in any thread."""

    def __init__(self, opener: Callable[[], AbstractContextManager[BinaryIO]], url: str) -> None:
        """Args:

        opener: gives the file, seekable; called when it is first read, and the file is closed with the reader.
        """
        self.url = url
        self._opener = opener
        self._file = ExitStack()
        self._source: BinaryIO | None = None
        self._kept: Kept | None = None

    @classmethod
    def of(cls, source: BinaryIO, url: str) -> FilmReader:
        """Of a file that stays its owner's."""
        return cls(partial(nullcontext, source), url)

    @property
    def source(self) -> BinaryIO:
        """The file; who moves in it may use nothing that is kept any more."""
        if self._source is None:
            self._source = self._file.enter_context(self._opener())
        return self._source

    @property
    def is_open(self) -> bool:
        """Whether a decoder is kept."""
        return self._kept is not None

    def goes_on(self, span: Span) -> bool:
        """Whether a segment of this film would go on with what is kept."""
        return self._kept is not None and self._kept.goes_on(span)

    def take(self, span: Span) -> Kept | None:
        """What is kept, if a segment goes on with it; it belongs to the caller then. Else nothing is kept any more."""
        if not self.goes_on(span):
            self._drop()
        kept, self._kept = self._kept, None
        return kept

    def keep(self, kept: Kept) -> None:
        """For the next segment, in place of what was kept before."""
        self._drop()
        self._kept = kept

    def openings(self, wanted: Sequence[Opening], span: Span) -> Sequence[Opening]:
        """Which are to be tried: where one is kept those before it had nothing to begin with and would have none."""
        kept = self._kept
        if isinstance(kept, Decoding) and kept.opening in wanted and kept.goes_on(span):
            return wanted[wanted.index(kept.opening) :]
        self._drop()
        return wanted

    @contextmanager
    def decoding(self, opening: Opening) -> Generator[Decoding]:
        """The film from an opening on, or what is kept of it; kept again if it `keeps` and the block is left in peace.

        Raises:
            ItemError: as `farm.media.video.read.source.watched`; CHANGED_DURING_READ where the stream is gone.
            StartNotFoundError: when nothing is there to begin with.
        """
        decoding = self._resumed(opening) or self._opened(opening)
        with decoding.stack:
            decoding.keeps = False
            yield decoding
            if decoding.keeps:
                decoding.check()
                decoding.stack = decoding.stack.pop_all()
                self._kept = decoding

    def _resumed(self, opening: Opening) -> Decoding | None:
        kept, self._kept = self._kept, None
        if isinstance(kept, Decoding) and kept.opening == opening:
            return kept
        if kept is not None:
            kept.close()
        return None

    def _opened(self, opening: Opening) -> Decoding:
        with ExitStack() as stack:
            found = stack.enter_context(watched(self.source, self.url, hardware=opening.how.hardware))
            stream = self._stream(found.container, opening.stream_index)
            if opening.seek is not None and not seek_to(found.container, stream, opening.seek):
                raise StartNotFoundError
            return Decoding(opening, found, stream, stack.pop_all())

    def _stream(self, container: InputContainer, index: int) -> VideoStream:
        for stream in container.streams.video:
            if stream.index == index:
                return stream
        found = "its video stream is gone since it was planned"
        raise ItemError(ErrorKind.CHANGED_DURING_READ, self.url, found, "run the same command again")

    def _drop(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def close(self) -> None:
        """Let go of the decoder and of the file."""
        try:
            self._drop()
        finally:
            self._source = None
            self._file.close()


def _settled(decoder: FrameSource) -> Iterator[DecodedFrame]:
    """Frames that are kept back until it is known whether what they were predicted from is whole."""
    held: deque[DecodedFrame] = deque()
    for one in decoder.frames():
        held.append(one)
        while held and (decoder.tracker.is_settled(held[0].stamp) or len(held) > _HELD):
            yield _judged(decoder, held.popleft())
    while held:
        yield _judged(decoder, held.popleft())


def _judged(decoder: FrameSource, one: DecodedFrame) -> DecodedFrame:
    one.damaged = decoder.tracker.is_damaged(one.stamp)
    return one
