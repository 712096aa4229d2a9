"""Only real films are opened, from the one file they are in; what is cut or is none has its class."""

from __future__ import annotations

import ctypes
import errno
import functools
import io
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest
from av import error as av_error
from av.error import FFmpegError

from farm.errors import DiskError, ErrorKind, ItemError, UnreachableError
from farm.media.video.plan import read_film
from farm.media.video.read.containers import cut_sign
from farm.media.video.read.decode import iter_frames
from farm.media.video.read.packets import PacketFeed
from farm.media.video.read.reader import FilmReader
from farm.media.video.read.source import Reading, opened, read_header
from tests.clips import CLIPS, extents, film, h264, in_front
from tests.farm.media.films import CountedFile
from tests.farm.media.test_video_table import params, table_of
from tests.pictures import photo, png_of

URL = "films/x.mp4"


def kind_of(data: bytes, **video: object) -> ErrorKind | None:
    """The class a film is refused with when it is read to its end, or None."""
    settings = params(**video)
    try:
        source = io.BytesIO(data)
        cut = read_film(source, URL, settings)
        for span in cut.spans:
            for _ in iter_frames(FilmReader.of(source, URL), cut.film, span, settings):
                pass
    except ItemError as error:
        return error.kind if str(error).startswith(f"{error.kind.value}: {URL}: ") else ErrorKind.WORKER_DIED
    return None


def refusal(data: bytes) -> ItemError:
    with pytest.raises(ItemError) as caught:
        table_of(data)
    return caught.value


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server on this machine that nobody may call."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        yield server


_IN_OPEN = 0x20


class Canary:
    """A file that knows whether anybody has opened it, by inotify(7)."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        path.write_bytes(data)
        libc = ctypes.CDLL(None, use_errno=True)
        self.events: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert libc.inotify_add_watch(self.events, os.fsencode(path), _IN_OPEN) > 0, os.strerror(ctypes.get_errno())
        path.read_bytes()
        assert self.was_opened(), "it can tell"

    def was_opened(self) -> bool:
        """Since the last time that this was asked."""
        try:
            return bool(os.read(self.events, 1 << 16))
        except BlockingIOError:
            return False


@pytest.fixture
def make_canary() -> Iterator[Callable[[Path, bytes], Canary]]:
    made: list[Canary] = []

    def make(path: Path, data: bytes) -> Canary:
        made.append(Canary(path, data))
        return made[-1]

    yield make
    for canary in made:
        os.close(canary.events)


# -- what is no film -----------------------------------------------------------------------------------------------

NO_FILMS = {
    "empty": (b"", ErrorKind.EMPTY_INPUT),
    "one byte": (b"\0", ErrorKind.CORRUPT),
    "zeros": (bytes(10_000), ErrorKind.CORRUPT),
    "noise": (random.Random(1).randbytes(20_000), ErrorKind.CORRUPT),
    "words": (b"this is no film at all\n" * 50, ErrorKind.CORRUPT),
    "html": (b"<!DOCTYPE html><html><body>404 not found</body></html>", ErrorKind.CORRUPT),
    "store error": (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', ErrorKind.CORRUPT),
    "json": (b'{"error": "denied"}', ErrorKind.CORRUPT),
    "png": (png_of(photo(1)), ErrorKind.UNSUPPORTED),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(500), ErrorKind.UNSUPPORTED),
    "webp": (b"RIFF\x10\0\0\0WEBPVP8 " + bytes(500), ErrorKind.UNSUPPORTED),
    "avif": (b"\0\0\0\x1cftypavif" + bytes(500), ErrorKind.UNSUPPORTED),
}


@pytest.mark.parametrize(("data", "kind"), NO_FILMS.values(), ids=NO_FILMS)
def test_what_is_no_film_has_its_class(data: bytes, kind: ErrorKind) -> None:
    assert refusal(data).kind is kind


LISTS = {
    "concat": "ffconcat version 1.0\nfile '{path}'\n",
    "concat without a head": "file '{path}'\n",
    "concat with a comment": "# list\nfile {path}\nfile {path}\n",
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{path}\n{url}\n#EXT-X-ENDLIST\n",
    "m3u8 behind a mark": "\ufeff#EXTM3U\n{url}\n",
    "dash": '<?xml version="1.0"?>\n<MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>',
    "smooth": '<SmoothStreamingMedia MajorVersion="2"><x>{url}</x></SmoothStreamingMedia>',
    "sdp": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nm=video {port} RTP/AVP 96\r\n",
    "address": "{url}\n",
    "pls": "[playlist]\nFile1={url}\n",
}


@pytest.mark.parametrize("script", LISTS.values(), ids=LISTS)
def test_lists_of_other_files_are_refused_and_nothing_they_name_is_touched(
    script: str, tmp_path: Path, listener: socket.socket, make_canary: Callable[[Path, bytes], Canary]
) -> None:
    canary = make_canary(tmp_path / "canary.mp4", film("constant.mp4"))
    port = listener.getsockname()[1]
    data = script.format(path=canary.path, url=f"http://127.0.0.1:{port}/x.mp4", port=port).encode()
    assert refusal(data).kind is ErrorKind.UNSAFE_CONTAINER
    assert not canary.was_opened()
    with pytest.raises(TimeoutError):
        listener.accept()


def test_an_index_that_points_to_another_file_is_not_followed(
    tmp_path: Path, make_canary: Callable[[Path, bytes], Canary]
) -> None:
    whole = h264("mov", frames=10)
    canary = make_canary(tmp_path / "media.mov", whole)
    name = str(canary.path).encode()
    # A data reference that is not "in this file": an alias with the absolute path, as QuickTime writes it (type 18).
    body = bytes(4 + 150) + b"\0\x12" + len(name).to_bytes(2, "big") + name + b"\xff\xff\0\0"
    entry = (8 + len(body)).to_bytes(4, "big") + b"alis" + body
    at = whole.index(b"dref")
    old = int.from_bytes(whole[at - 4 : at], "big")
    box = (16 + len(entry)).to_bytes(4, "big") + b"dref" + bytes(4) + b"\0\0\0\1" + entry
    data = bytearray(whole[: at - 4] + box + whole[at - 4 + old :])
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        place = data.index(parent) - 4
        length = int.from_bytes(data[place : place + 4], "big") + len(box) - old
        data[place : place + 4] = length.to_bytes(4, "big")
    assert refusal(bytes(data)).kind is ErrorKind.UNSAFE_CONTAINER
    assert not canary.was_opened()


def test_a_demuxer_that_asks_for_another_file_is_refused() -> None:
    reading = Reading(io.BytesIO(b""), URL)
    with pytest.raises(PermissionError):
        reading.refuse("/etc/passwd", 1, {})
    assert reading.opened_others


# -- what is cut ---------------------------------------------------------------------------------------------------


def test_a_cut_film_says_how_many_of_its_frames_are_there() -> None:
    data = in_front(h264("mp4", "bframes=0:keyint=1", frames=100, size=(64, 48)))
    cut = data[: len(data) * 60 // 100]
    error = refusal(cut)
    assert error.kind is ErrorKind.TRUNCATED
    assert error.found.split(" frames decodable")[0] in {f"{count} of 100" for count in range(55, 62)}
    count = int(error.found.split()[0])
    table = table_of(cut, salvage=True)
    assert len(table.stamps) == count
    assert error.found in (table.warning or "")
    assert kind_of(cut, salvage=True) is None


CUT = ("fragments.mp4", "open-gop.mkv", "vp9.webm", "mpeg4.avi", "yuyv.avi", "open-gop.ts", "mpeg2.ts", "mpeg2.mpg")
STREAMED = ("piped.mkv", "piped.webm", "browser.webm", "vp8.ivf")


@pytest.mark.parametrize("name", [*CUT, *STREAMED, "flash.flv", "windows.asf", "rgb.mkv", "nv12.nut"])
def test_films_of_every_container_are_found_to_be_cut(name: str) -> None:
    data = film(name)
    cut = data[: len(data) * 6 // 10]
    if name.endswith((".ts", ".mpg")):  # within a keyframe, at a whole packet: only that frame shows it
        at, size = next((at, size) for at, size, key in extents(data)[12:] if key)
        cut = data[: (at + size // 2) // 188 * 188]
    error = refusal(cut)
    assert (error.kind, " frames decodable" in error.found) == (ErrorKind.TRUNCATED, True)
    count = int(error.found.split()[0])
    assert 0 < count < len(table_of(data).stamps)
    assert kind_of(cut, salvage=True) is None
    kept = table_of(cut, salvage=True)
    assert len(kept.stamps) == count
    assert set(kept.stamps) <= set(table_of(data).stamps)
    assert (kept.lacking, table_of(data, salvage=True).lacking) == (True, False)


def test_a_film_without_its_index_is_cut() -> None:
    data = film("constant.mp4")
    error = refusal(data[: data.index(b"moov") - 4])
    assert error.kind is ErrorKind.TRUNCATED
    assert "moov" in error.found


@pytest.mark.parametrize("name", CLIPS)
def test_a_whole_film_shows_no_sign_of_a_cut(name: str) -> None:
    header = read_header(io.BytesIO(film(name)), URL)
    assert cut_sign(header.container, io.BytesIO(film(name))) is None


# -- what stores and damage do -------------------------------------------------------------------------------------


class _Failing(io.BytesIO):
    """A store that goes away after some bytes."""

    def __init__(self, data: bytes, error: Exception, left: int = 30_000, *, seeks: bool = True) -> None:
        super().__init__(data)
        self.error = error
        self.left = left
        self.seeks = seeks

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.left -= len(data)
        if self.left < 0:
            raise self.error
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        if offset and not self.seeks:
            raise self.error
        return super().seek(offset, whence)


LOST = UnreachableError("s3://bucket: the store does not answer; check the network")


@pytest.mark.parametrize("name", ["constant.mp4", "open-gop.mkv", "mpeg2.ts", "mpeg4.avi"])
def test_an_error_of_the_store_is_no_shorter_film(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.media.video.read.source.BUFFER_BYTES", 4096)
    with pytest.raises(UnreachableError):
        read_film(_Failing(film(name), LOST), URL, params())


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "x"), OSError("x"), DiskError("/data: I/O error; check the disk")]
)
@pytest.mark.parametrize("name", ["constant.mp4", "open-gop.mkv", "mpeg2.ts", "mpeg4.avi", "vp8.ivf"])
def test_an_error_of_the_disk_is_the_rows_and_is_tried_again(
    name: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.media.video.read.source.BUFFER_BYTES", 4096)
    data = film(name)
    cut = read_film(io.BytesIO(data), URL, params())
    reads = (
        lambda source: read_header(source, URL),
        lambda source: read_film(source, URL, params()),
        lambda source: list(iter_frames(FilmReader.of(source, URL), cut.film, cut.spans[-1], params())),
    )
    sources = [(_Failing(data, error, left), read) for left in (0, 2000) for read in reads]
    sources += [(_Failing(data, error, left), read) for left in (10_000, len(data) - 10) for read in reads[1:]]
    sources += [(_Failing(data, error, 1 << 40, seeks=False), read) for read in reads]
    for source, read in sources:
        with pytest.raises(ItemError) as caught:
            read(source)
        found = caught.value
        assert (found.kind, found.kind.retryable, found.url) == (ErrorKind.STORAGE_ERROR, True, URL)


def test_places_that_no_file_has_are_no_fault_of_the_store(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(bytes(10))
    with path.open("rb") as file:
        source = Reading(file, URL)
        assert source.seek(-5) < 0
        assert source.seek(1 << 70) < 0
        assert source.seek(3) == 3
    assert source.error is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (av_error.InvalidDataError(1, "invalid"), ErrorKind.CORRUPT),
        (av_error.PermissionError(1, "not permitted"), ErrorKind.CORRUPT),
        (av_error.EOFError(1, "end"), ErrorKind.TRUNCATED),
        (av_error.PatchWelcomeError(1, "patches welcome"), ErrorKind.UNSUPPORTED),
    ],
)
def test_what_ffmpeg_says_of_a_film_is_the_rows(error: Exception, kind: ErrorKind) -> None:
    with pytest.raises(ItemError) as caught, opened(io.BytesIO(film("constant.mp4")), URL):
        raise error
    assert (caught.value.kind, caught.value.url) == (kind, URL)


@pytest.mark.parametrize("error", [MemoryError("no"), av_error.MemoryError(12, "no")])
@pytest.mark.parametrize("place", ["open", "demux", "decode"])
def test_a_lack_of_memory_is_no_damage(place: str, error: MemoryError, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.media.video.faults.has_memory", lambda: False)

    class Starved:
        """What stands for PyAV's container or decoder."""

        thread_count, name, thread_type, options = 1, "h264", None, None
        streams = ()

        def demux(self, _stream: object) -> None:
            raise error

        def decode(self, _packet: object) -> None:
            raise error

    def starved(*_args: object, **_named: object) -> Starved:
        if place == "open":
            raise error
        return Starved()

    if place == "demux":
        feed = functools.partial(PacketFeed, Starved())
        monkeypatch.setattr("farm.media.video.read.packet_table.PacketFeed", lambda _, *more, **how: feed(*more, **how))
    else:
        target = "source._demuxer" if place == "open" else "decoder.open_decoder"
        monkeypatch.setattr(f"farm.media.video.read.{target}", starved)
    with pytest.raises(MemoryError) as caught:
        read_film(io.BytesIO(film("constant.mp4")), URL, params(allow_damaged=True))
    assert not isinstance(caught.value, FFmpegError)


def test_a_damaged_length_is_no_lack_of_memory() -> None:
    data = bytearray(film("vp8.ivf"))
    at = extents(bytes(data))[20][0]  # of its head in IVF
    data[at : at + 4] = b"\xff\xff\xff\xff"
    with av.open(io.BytesIO(data)) as container, pytest.raises(MemoryError):
        list(container.demux(video=0))
    assert refusal(bytes(data)).kind is ErrorKind.TRUNCATED


def test_a_header_is_read_without_the_film() -> None:
    data = in_front(h264("mp4", "keyint=1:qp=1", frames=100, size=(320, 240)))
    source = CountedFile(data)
    header = read_header(source, URL)
    assert (header.width, header.height, header.codec, header.frames) == (320, 240, "h264", 100)
    assert (header.rate, header.duration_s) == (25, 4.0)
    assert source.count < len(data)


def test_the_file_is_left_open_and_has_no_name_for_ffmpeg() -> None:
    source = io.BytesIO(film("constant.mp4"))
    with opened(source, URL) as container:
        assert container.name == "<none>"
    assert not source.closed


@pytest.mark.parametrize("name", ["constant.mp4", "open-gop.mkv", "vp9.webm", "mpeg4.avi", "mpeg2.ts", "rgb.mkv"])
def test_flipped_bits_end_in_an_error_or_a_film_and_never_in_a_crash(name: str) -> None:
    data = film(name)
    started = time.monotonic()
    outcomes = set[ErrorKind | None]()
    for seed in range(10):
        draw = random.Random(f"{name}/{seed}")
        bad = bytearray(data)
        reach = len(bad) if seed % 2 else 2000  # every other one in the head
        for _ in range(1 + seed % 7):
            bad[draw.randrange(reach)] ^= 1 << draw.randrange(8)
        outcomes.add(kind_of(bytes(bad), allow_damaged=seed % 3 == 0))
    assert outcomes <= {
        None,
        ErrorKind.CORRUPT,
        ErrorKind.TRUNCATED,
        ErrorKind.DECODE_ERRORS,
        ErrorKind.UNSUPPORTED,
        ErrorKind.NO_VIDEO_STREAM,
        ErrorKind.NO_FRAMES,
        ErrorKind.TOO_LARGE,
        ErrorKind.UNSAFE_CONTAINER,
    }
    assert time.monotonic() - started < 60
