"""bwdif, one frame for each frame: a filter graph around decoded frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction

from av.error import FFmpegError
from av.filter import Graph
from av.video.frame import VideoFrame

from farm.errors import ErrorKind, ItemError
from farm.media.video.faults import check_memory
from farm.media.video.read.decoder import DecodedFrame


def deinterlaced(frames: Iterable[DecodedFrame], url: str, fields: str | None = None) -> Iterator[DecodedFrame]:
    """The frames with their fields made one; those that are not interlaced come out as they went in.

    Args:
        fields: tff or bff where every frame is interlaced, whatever its decoder says, and which field is the first.

    Raises:
        ItemError: UNSUPPORTED when the filter does not take their pixel format, or when that or their size changes.
    """
    waiting: deque[DecodedFrame] = deque()
    graph: Graph | None = None
    first = ""
    for number, one in enumerate(frames):
        graph, first = graph or _graph(one.frame, url, fields), first or _described(one.frame)
        if _described(one.frame) != first:  # FFmpeg ends the process over some of them
            raise _refused(f"{_described(one.frame)} after {first}", url)
        waiting.append(one)
        one.frame.pts, one.frame.time_base = number, Fraction(1, 25)  # it only needs them to ascend
        _push(graph, one.frame, url)
        yield from _pulled(graph, waiting, url)
    if graph is not None:
        _push(graph, None, url)
        yield from _pulled(graph, waiting, url)


def _push(graph: Graph, frame: VideoFrame | None, url: str) -> None:
    try:
        graph.vpush(frame)
    except (FFmpegError, ValueError) as error:
        check_memory(error)
        raise _refused(str(error), url) from error


def _pulled(graph: Graph, waiting: deque[DecodedFrame], url: str) -> Iterator[DecodedFrame]:
    """What the filter has finished, under the names that went in."""
    while waiting:
        try:
            frame = graph.vpull()
        except (BlockingIOError, EOFError):
            return
        except FFmpegError as error:
            check_memory(error)
            raise _refused(str(error), url) from error
        one = waiting.popleft()
        yield DecodedFrame(stamp=one.stamp, frame=frame, damaged=one.damaged)


def _graph(frame: VideoFrame, url: str, fields: str | None) -> Graph:
    graph = Graph()
    graph.threads = 1
    try:
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
        )
        which = f"parity={fields}:deint=all" if fields else "parity=auto:deint=interlaced"
        filters = (graph.add("bwdif", f"mode=send_frame:{which}"), graph.add("buffersink"))
        graph.link_nodes(source, *filters)
        graph.configure()
    except FFmpegError as error:
        check_memory(error)
        raise _untaken(frame, url) from error
    return graph


def _described(frame: VideoFrame) -> str:
    return f"{frame.width} x {frame.height} {frame.format.name}"


def _untaken(frame: VideoFrame, url: str) -> ItemError:
    found = f"the deinterlacer does not take frames of {frame.format.name}"
    return ItemError(ErrorKind.UNSUPPORTED, url, found, "convert the film to planar YUV first")


def _refused(said: str, url: str) -> ItemError:
    found = f"the deinterlacer refuses its frames ({said[:120]})"
    return ItemError(ErrorKind.UNSUPPORTED, url, found, "cut the film where its size or format changes")
