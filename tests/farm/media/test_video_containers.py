"""What the structure of a film's file says of it as a whole: cut, or with junk behind it, encrypted, or misnamed."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farm.errors import ErrorKind, ItemError
from farm.kinds import CONTAINERS, MediaKind, kind_of
from farm.media.video.ebml import children, element
from farm.media.video.plan import read_film
from farm.media.video.read.containers import cut_sign, misnamed
from farm.media.video.read.source import read_header
from tests.clips import X264, X265, clip, film, in_front
from tests.farm.media.films import CountedFile
from tests.farm.media.test_video_table import params, table_of
from tests.moving_pattern import encode, run_ffmpeg
from tests.outside import FILMS, needs_data

URL = "films/x.mp4"
PERCENT = range(4, 100, 4)


def refusal(data: bytes) -> ItemError:
    with pytest.raises(ItemError) as caught:
        table_of(data)
    return caught.value


def cuts(data: bytes) -> Iterator[bytes]:
    return (data[: len(data) * percent // 100] for percent in PERCENT)


def sign(data: bytes, container: str) -> str | None:
    return cut_sign(container, io.BytesIO(data))


def made(path: Path, *args: str, **more: object) -> bytes:
    """A film with sound, made by FFmpeg's program."""
    encode(path, *args, **more)  # pyright: ignore[reportArgumentType]
    return path.read_bytes()


# -- frames of one size --------------------------------------------------------------------------------------------


def y4m(pix_fmt: str, colours: str, size: tuple[int, int], *, frame_words: bytes = b"", frames: int = 12) -> bytes:
    """A Y4M film of the pattern; each frame's line may have parameters."""
    raw = clip("rawvideo", "rawvideo", pix_fmt, frames=frames, size=size)
    length = len(raw) // frames
    head = f"YUV4MPEG2 W{size[0]} H{size[1]} F25:1 Ip A1:1{colours}\n".encode()
    line = b"FRAME" + frame_words + b"\n"
    return head + b"".join(line + raw[at : at + length] for at in range(0, len(raw), length))


Y4M = {
    "usual": ("yuv420p", " C420jpeg", (96, 64)),
    "odd": ("yuv420p", " C420mpeg2 XYSCSS=420MPEG2", (97, 65)),
    "unsaid": ("yuv420p", "", (96, 64)),
    "older": ("yuv422p", " XYSCSS=422", (97, 65)),
    "411": ("yuv411p", " C411", (98, 64)),
    "444": ("yuv444p", " C444", (97, 65)),
    "ten": ("yuv422p10le", " C422p10 XYSCSS=422P10", (97, 65)),
    "gray": ("gray", " Cmono", (97, 65)),
    "gray10": ("gray10le", " Cmono10", (97, 65)),
}


@pytest.mark.parametrize("frame_words", [b"", b" Ip XTIME=1"])
@pytest.mark.parametrize(("pix_fmt", "colours", "size"), Y4M.values(), ids=Y4M)
def test_a_y4m_film_ends_with_a_frame_or_is_cut(
    pix_fmt: str, colours: str, size: tuple[int, int], frame_words: bytes
) -> None:
    data = y4m(pix_fmt, colours, size, frame_words=frame_words)
    assert len(table_of(data).stamps) == 12
    for left in (1, 5, 1000):
        error = refusal(data[:-left])
        assert error.kind is ErrorKind.TRUNCATED
        assert error.found == f"11 frames decodable; its last frame ends {left} bytes beyond the file"
    assert len(table_of(data[:-1000], salvage=True).stamps) == 11
    within_line = data[: data.rindex(b"FRAME") + 3]
    assert refusal(within_line).kind is ErrorKind.TRUNCATED


def test_the_frames_of_a_long_y4m_film_are_not_read_for_its_end() -> None:
    data = y4m("yuv420p", " C420jpeg", (96, 64), frame_words=b" Ip")
    for whole in (data, data[:-1]):
        source = CountedFile(whole)
        cut_sign("yuv4mpegpipe", source)
        assert source.count < 8192


def test_every_cut_of_a_dv_film_is_found() -> None:
    data = clip("dvvideo", "dv", "yuv420p", size=(720, 576), frames=4)
    assert len(data) == 4 * 144_000
    assert len(table_of(data).stamps) == 4
    assert sign(data, "dv") is None
    for cut in (data[:-1], data[: len(data) * 9 // 10], data[: 144_000 + 80]):
        error = refusal(cut)
        assert error.kind is ErrorKind.TRUNCATED
        assert "of the 144000 bytes of the last frame are there" in error.found


# -- MXF -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mxf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("mxf") / "x.mxf"
    return made(path, "-c:v", "mpeg2video", "-q:v", "4", "-pix_fmt", "yuv422p", "-c:a", "pcm_s16le", frames=50)


def without_index(data: bytes) -> bytes:
    """Without the list of partitions at its end, which need not be there."""
    return data[: -int.from_bytes(data[-4:], "big")]


def unfinished(data: bytes) -> bytes:
    """The same with an open header, which names no footer, as a recorder writes it first."""
    at = data.index(bytes.fromhex("060e2b34020501010d0102010102"))
    head = bytearray(data)
    head[at + 14] = 1
    place = at + 16 + 1 + (head[at + 16] & 0x7F) * (head[at + 16] >> 7) + 24
    head[place : place + 8] = bytes(8)
    return bytes(head)


def test_every_cut_of_an_mxf_film_is_found(mxf: bytes) -> None:
    assert len(table_of(mxf).stamps) == 50
    for cut in cuts(mxf):
        assert refusal(cut).kind is ErrorKind.TRUNCATED
    error = refusal(mxf[: len(mxf) * 9 // 10])
    assert error.found.split(" frames decodable")[0] in {f"{count} of about 50" for count in range(40, 50)}
    assert "footer" in error.found
    assert 40 <= len(table_of(mxf[: len(mxf) * 9 // 10], salvage=True).stamps) < 50


def test_whole_mxf_films_of_every_kind_show_no_sign_of_a_cut(mxf: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.mxf").write_bytes(mxf)
    piped = run_ffmpeg("-i", tmp_path / "x.mxf", "-c", "copy", "-f", "mxf", "pipe:1")
    for whole in (mxf, piped, without_index(mxf), unfinished(without_index(mxf)), bytes(1000) + mxf, mxf + b"tail"):
        assert sign(whole, "mxf") is None


def test_an_mxf_film_that_was_never_finished_is_cut(mxf: bytes) -> None:
    start = unfinished(mxf)
    footer = mxf.rindex(bytes.fromhex("060e2b34020501010d0102010104"))
    assert "no footer" in (sign(start[:footer], "mxf") or "")
    assert "beyond the file" in (sign(start[: footer - 3], "mxf") or "")
    assert "head of a packet" in (sign(start[: footer + 16], "mxf") or "")


def test_an_mxf_film_is_not_read_for_its_end(mxf: bytes) -> None:
    for whole in (mxf, without_index(mxf), mxf[:-100]):
        source = CountedFile(whole)
        cut_sign("mxf", source)
        assert source.count < (1 << 16) + 1024


# -- MPEG program streams ------------------------------------------------------------------------------------------

MPEG2 = ("-c:v", "mpeg2video", "-b:v", "2M")
PROGRAMS = {
    "x.mpg": ("-c:v", "mpeg2video", "-q:v", "2", "-c:a", "mp2", "-b:a", "192k"),
    "one.mpg": ("-c:v", "mpeg1video", "-q:v", "4", "-c:a", "mp2", "-b:a", "192k"),
    "super.mpg": ("-f", "svcd", *MPEG2, "-ar", "44100", "-c:a", "mp2", "-b:a", "192k"),
    "x.vob": ("-f", "dvd", *MPEG2, "-c:a", "ac3", "-b:a", "192k"),
    "plain.vob": ("-f", "dvd", *MPEG2, "-c:a", "pcm_s16be"),
}
PACK = 2048
END = b"\0\0\1\xb9"


@pytest.fixture(scope="module", params=PROGRAMS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return made(tmp_path_factory.mktemp("program") / request.param, *PROGRAMS[request.param], frames=50)


def test_a_cut_within_a_packet_of_a_program_stream_is_found(program: bytes) -> None:
    for percent in PERCENT:
        at = len(program) * percent // 100 // PACK * PACK
        for more in (3, 5, 900):
            assert sign(program[: at + more], "mpeg"), (percent, more)
        assert refusal(program[: at + 900]).kind is ErrorKind.TRUNCATED


def test_a_cut_between_packets_of_a_program_stream_is_found_by_its_last_frames_and_sound(
    tmp_path: Path,
) -> None:
    data = made(tmp_path / "x.vob", *PROGRAMS["x.vob"])
    found = {refusal(data[:at]).found.split("; ")[1] for at in range(8 * PACK, len(data) - PACK, PACK)}
    assert found == {"its last frame is not whole", "its sound ends within a frame"}


def test_whole_program_streams_need_no_end_code(program: bytes) -> None:
    assert END not in program[-PACK:]
    for whole in (program, program + END, program + END + bytes(PACK - 4), program + bytes(3000), program + b"tail"):
        assert sign(whole, "mpeg") is None
        assert len(table_of(whole).stamps) == 50


# -- others --------------------------------------------------------------------------------------------------------

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "12")
OTHERS = {
    "x.nut": (*H264, "-c:a", "mp2"),
    "x.gxf": ("-s", "720x576", *MPEG2, "-c:a", "pcm_s16le"),
    "x.rm": ("-c:v", "rv20", "-c:a", "ac3"),
    "x.flv": (*H264, "-c:a", "aac"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_every_cut_of_a_film_in_other_containers_is_found(name: str, tmp_path: Path) -> None:
    data = made(tmp_path / name, *OTHERS[name], frames=50)
    assert len(table_of(data).stamps) == 50
    for cut in (*cuts(data), data[: len(data) * 68 // 100]):
        assert refusal(cut).kind is ErrorKind.TRUNCATED


# -- junk behind MP4 -----------------------------------------------------------------------------------------------

JUNK = {
    "zeros": bytes(5000),
    "a few zeros": bytes(3),
    "id3": b"TAG" + b"Three hours".ljust(125, b"\0"),
    "ape": b"APETAGEX" + b"\xd0\7\0\0" + bytes(20) + b"x" * 200,
    "text": b"recorded by a camera of ours\n" * 20,
    "newline": b"\r\n",
    "archive": b"PK\3\4\x14\0\0\0\x08\0" + b"inner.txt" * 30,
    "short text": b"hello",
    "noise": bytes(range(37, 256)) * 7,
}
SHAPES: dict[str, Callable[[], bytes]] = {
    "index behind": lambda: film("constant.mp4"),
    "index in front": lambda: in_front(film("constant.mp4")),
    "fragments": lambda: film("fragments.mp4"),
}


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_was_added_behind_an_mp4_film_is_no_cut(shape: str, junk: str) -> None:
    table = table_of(SHAPES[shape]() + JUNK[junk])
    assert (len(table.stamps), table.warning) == (40, None)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_cut_of_an_mp4_film_is_found(shape: str) -> None:
    data = SHAPES[shape]()
    for percent in range(1, 100):
        error = refusal(data[: len(data) * percent // 100])
        assert error.kind is ErrorKind.TRUNCATED, (percent, error)
    boxes = [data.rindex(name) - 4 for name in (b"mdat", b"moof", b"moov") if name in data]
    for at in boxes:
        for more in (1, 4, 7, 8, 12, 15, 16, 40):
            if any(data[at : at + more]) or shape != "fragments":
                assert refusal(data[: at + more]).kind is ErrorKind.TRUNCATED, (at, more)


def test_a_cut_film_is_found_behind_which_there_is_junk_within_a_box() -> None:
    """A cut film whose rest a tool has filled: its last box still ends behind the file."""
    data = in_front(film("constant.mp4"))
    cut = data[: len(data) * 7 // 10]
    assert refusal(cut + JUNK["id3"]).kind is ErrorKind.TRUNCATED
    assert refusal(cut + JUNK["text"]).kind is ErrorKind.TRUNCATED


# -- encryption ----------------------------------------------------------------------------------------------------

KEY = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "00112233445566778899aabbccddeeff")
KEY = (*KEY, "-encryption_kid", "a7e61c373e219033c21091fa607bf3b8")
VIDEO_AND_SOUND = (*H264, "-c:a", "aac")


def is_refused_as_encrypted(data: bytes) -> bool:
    error = refusal(data)
    return error.kind is ErrorKind.UNSUPPORTED and "encrypted" in error.found and "decrypt" in error.advice


@pytest.mark.parametrize("flags", [(), ("-movflags", "+faststart"), ("-movflags", "frag_keyframe+empty_moov")])
def test_an_encrypted_mp4_film_is_unsupported(flags: tuple[str, ...], tmp_path: Path) -> None:
    data = made(tmp_path / "x.mp4", *VIDEO_AND_SOUND, *KEY, *flags)
    assert b"encv" in data
    assert is_refused_as_encrypted(data)


def test_an_mp4_film_with_encrypted_sound_is_unsupported(tmp_path: Path) -> None:
    plain = made(tmp_path / "plain.mp4", *VIDEO_AND_SOUND)
    locked = made(tmp_path / "locked.mp4", *VIDEO_AND_SOUND, *KEY)
    assert table_of(plain)
    assert is_refused_as_encrypted(locked.replace(b"encv", b"avc1"))


def with_encryption(data: bytes) -> bytes:
    """A streamed Matroska film whose only track says that it is encrypted with AES, as WebM's encryption writes it."""
    encryption = element(0x5035, element(0x47E1, b"\5") + element(0x47E2, bytes(16)))
    encoding = element(0x6240, element(0x5033, b"\1") + encryption)
    added = element(0x6D80, encoding)
    head = next(children(data, 0, len(data)))
    segment = next(children(data, head.end, len(data)))
    tracks = next(one for one in children(data, segment.content, len(data)) if one.name == 0x1654AE6B)
    entry = next(one for one in children(data, tracks.content, tracks.end) if one.name == 0xAE)
    inner = element(0xAE, data[entry.content : entry.end] + added)
    whole = data[tracks.content : entry.at] + inner + data[entry.end : tracks.end]
    return data[: tracks.at] + element(0x1654AE6B, whole) + data[tracks.end :]


def test_an_encrypted_matroska_film_is_unsupported() -> None:
    for name in ("piped.mkv", "piped.webm", "browser.webm"):
        assert is_refused_as_encrypted(with_encryption(film(name)))


def test_a_protected_windows_film_is_unsupported() -> None:
    data = film("windows.asf")
    length, count = int.from_bytes(data[16:24], "little"), int.from_bytes(data[24:28], "little")
    mark = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e") + (24 + 20).to_bytes(8, "little") + bytes(20)
    head = data[:16] + (length + len(mark)).to_bytes(8, "little") + (count + 1).to_bytes(4, "little")
    locked = head + data[28:length] + mark + data[length:]
    assert is_refused_as_encrypted(locked)


# -- names ---------------------------------------------------------------------------------------------------------


def warning_of(data: bytes, url: str) -> str | None:
    return read_film(io.BytesIO(data), url, params()).film.warning


@pytest.mark.parametrize(
    ("name", "url", "holds"),
    [
        ("variable.mkv", "a/film.mp4", "named .mp4 but holds Matroska or WebM"),
        ("constant.mp4", "s3://b/film.AVI", "named .avi but holds MP4 or QuickTime"),
        ("mpeg2.ts", "film.mpg", "named .mpg but holds an MPEG transport stream"),
        ("mpeg4.avi", "film.mkv", "named .mkv but holds AVI"),
        ("vp8.ivf", "film.webm", "named .webm but holds IVF"),
    ],
)
def test_a_wrong_name_is_a_warning_and_the_content_is_believed(name: str, url: str, holds: str) -> None:
    assert warning_of(film(name), url) == holds


def test_names_of_one_family_are_not_wrong() -> None:
    families = {
        "constant.mp4": ("mp4", "m4v", "f4v", "mov", "3gp", "3gpp", "3g2", "qt", "MOV"),
        "jpeg.mov": ("mov", "mp4"),
        "variable.mkv": ("mkv", "mk3d", "webm"),
        "vp9.webm": ("webm", "mkv"),
        "mpeg2.ts": ("ts", "mts", "m2t", "m2ts"),
        "mpeg2.mpg": ("mpg", "mpeg", "vob", "m1v", "m2v"),
        "raw.m2v": ("m2v", "m1v", "mpg"),
        "mpeg4.avi": ("avi", "divx"),
        "windows.asf": ("wmv", "asf"),
        "flash.flv": ("flv", "f4v"),
        "nv12.nut": ("nut",),
        "vp8.ivf": ("ivf", "film", ""),
    }
    for name, extensions in families.items():
        container = read_header(io.BytesIO(film(name)), URL).container
        assert [misnamed(f"a/film.{one}", container) for one in extensions] == [None] * len(extensions), name


@pytest.mark.parametrize(
    ("codec", "container", "options", "extensions"),
    [
        ("libx264", "h264", X264, ("h264", "264")),
        ("libx265", "hevc", {"preset": "ultrafast", "x265-params": X265}, ("hevc", "h265", "265")),
        ("libsvtav1", "obu", {"preset": "12"}, ("obu",)),
        ("mpeg1video", "mpeg1video", {}, ("m1v",)),
        ("rv20", "rm", {}, ("rm", "rmvb")),
        ("libvpx", "ogg", {"cpu-used": "8"}, ("ogv", "ogm")),
    ],
)
def test_every_name_of_a_film_is_that_of_a_film(
    codec: str, container: str, options: dict[str, str], extensions: tuple[str, ...]
) -> None:
    data = clip(codec, container, options=options, frames=4)
    for extension in extensions:
        url = f"a/film.{extension}"
        assert kind_of(url) is MediaKind.VIDEO
        assert CONTAINERS[extension] == "mkv"
        film = read_film(io.BytesIO(data), url, params()).film
        assert (film.frames, film.lacking, "named" in (film.warning or "")) == (4, False, False)


@needs_data
@pytest.mark.parametrize("path", FILMS, ids=lambda path: path.name)
def test_a_real_film_is_neither_cut_nor_encrypted_nor_misnamed(path: Path) -> None:
    with path.open("rb") as source:
        container = read_header(source, str(path)).container
        assert cut_sign(container, source) is None
        assert misnamed(str(path), container) is None
