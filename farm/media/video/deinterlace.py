"""bwdif, one frame for each frame: a filter graph around decoded frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction

from av.error import FFmpegError
from av.filter import Graph
from av.video.frame import VideoFrame

from farm.errors import ErrorKind, ItemError
from farm.media.video.decoder import DecodedFrame


def deinterlaced(frames: Iterable[DecodedFrame], url: str) -> Iterator[DecodedFrame]:
    """The frames with their fields made one; those that are not interlaced come out as they went in.

    Raises:
        ItemError: UNSUPPORTED when the filter does not take their pixel format.
    """
    waiting: deque[DecodedFrame] = deque()
    graph: Graph | None = None
    for number, one in enumerate(frames):
        graph = graph or _graph(one.frame, url)
        waiting.append(one)
        one.frame.pts, one.frame.time_base = number, Fraction(1, 25)  # it only needs them to ascend
        graph.vpush(one.frame)
        yield from _pulled(graph, waiting)
    if graph is not None:
        graph.vpush(None)
        yield from _pulled(graph, waiting)


def _pulled(graph: Graph, waiting: deque[DecodedFrame]) -> Iterator[DecodedFrame]:
    """What the filter has finished, under the names that went in."""
    while waiting:
        try:
            frame = graph.vpull()
        except (BlockingIOError, EOFError):
            return
        one = waiting.popleft()
        yield DecodedFrame(stamp=one.stamp, frame=frame, damaged=one.damaged)


def _graph(frame: VideoFrame, url: str) -> Graph:
    graph = Graph()
    graph.threads = 1
    try:
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
        )
        filters = (graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced"), graph.add("buffersink"))
        graph.link_nodes(source, *filters)
        graph.configure()
    except FFmpegError as error:
        raise _untaken(frame, url) from error
    return graph


def _untaken(frame: VideoFrame, url: str) -> ItemError:
    found = f"the deinterlacer does not take frames of {frame.format.name}"
    return ItemError(ErrorKind.UNSUPPORTED, url, found, "convert the film to planar YUV first")
