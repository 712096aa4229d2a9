"""What a film is encoded with is decided before a frame is decoded, and what cannot be held is refused by name."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import pytest

from farm.encoders import CODECS
from farm.errors import ErrorKind, ItemError
from farm.media.video.pictures.target import choose_pictures
from farm.media.video.pixel_format import parse_pixel_format
from farm.media.video.write import settings
from farm.media.video.write.codecs import choose_encoder, size_step
from farm.media.video.write.piece import PieceReader
from sr_kernel.layout import FrameLayout
from tests.farm.media.films import encode, facts, plan, video_params

SIZE = (160, 96)


def yuv(depth: int = 8, chroma_shift: tuple[int, int] = (1, 1), *, alpha: bool = False) -> FrameLayout:
    return FrameLayout(width=160, height=96, depth=depth, chroma_shift=chroma_shift, alpha=alpha)


def gray(depth: int = 8) -> FrameLayout:
    return FrameLayout(width=160, height=96, model="gray", depth=depth)


def rgb(depth: int = 8) -> FrameLayout:
    return FrameLayout(width=160, height=96, model="rgb", depth=depth, full_range=True)


YUV420, YUV444, ALPHA = yuv(), yuv(8, (0, 0)), yuv(alpha=True)


@pytest.mark.parametrize(
    ("codec", "container", "encoder"),
    [
        ("h264", "mp4", "libx264"),
        ("hevc", "mkv", "libx265"),
        ("libdav1d", "mp4", "libsvtav1"),
        ("vp9", "webm", "libvpx-vp9"),
        ("vp8", "webm", "libvpx-vp9"),
        ("ffv1", "mkv", "ffv1"),
        ("prores", "mov", "prores_ks"),
        ("mpeg2video", "mkv", "libx264"),
        ("h264", "webm", "libvpx-vp9"),
        ("ffv1", "mp4", "libx264"),
        ("prores", "mp4", "libx264"),
        ("libdav1d", "mov", "libx264"),
    ],
)
def test_auto_keeps_the_family_where_the_container_holds_it(codec: str, container: str, encoder: str) -> None:
    chosen = choose_encoder(facts(YUV420, codec), SIZE, video_params(container=container), "film")
    assert chosen.encoder == encoder


@pytest.mark.parametrize(
    ("layout", "codec", "container", "pix_fmt"),
    [
        (YUV420, "h264", "mp4", "yuv420p"),
        (yuv(10), "h264", "mp4", "yuv420p10le"),
        (yuv(10, (1, 0)), "hevc", "mp4", "yuv422p10le"),
        (yuv(12), "hevc", "mkv", "yuv420p12le"),
        (YUV444, "h264", "mkv", "yuv444p"),
        (yuv(9), "h264", "mkv", "yuv420p10le"),
        (yuv(8, (2, 0)), "h264", "mkv", "yuv422p"),
        (rgb(), "hevc", "mkv", "gbrp"),
        (rgb(), "vp9", "webm", "gbrp"),
        (rgb(), "ffv1", "mkv", "bgr0"),
        (rgb(), "h264", "mp4", "yuv444p"),
        (rgb(16), "ffv1", "mkv", "gbrp16le"),
        (gray(10), "h264", "mkv", "gray10le"),
        (gray(), "libdav1d", "mp4", "yuv420p"),
        (YUV420, "prores", "mov", "yuv422p10le"),
        (YUV444, "prores", "mov", "yuv444p10le"),
        (ALPHA, "vp9", "webm", "yuva420p"),
        (ALPHA, "prores", "mov", "yuva444p10le"),
        (ALPHA, "qtrle", "mov", "yuva444p10le"),
        (ALPHA, "qtrle", "mkv", "yuva420p"),
        (ALPHA, "h264", "webm", "yuva420p"),
    ],
)
def test_samples_stay_as_the_source_has_them(layout: FrameLayout, codec: str, container: str, pix_fmt: str) -> None:
    chosen = choose_encoder(facts(layout, codec), SIZE, video_params(container=container), "film")
    found = parse_pixel_format(pix_fmt)
    assert found is not None
    target = chosen.target
    held = (target.model, target.depth, target.chroma_shift, target.alpha)
    assert (chosen.pix_fmt, held) == (pix_fmt, (found.model, found.depth, found.chroma_shift, found.alpha))
    assert "loses" not in (chosen.warning or "")


def test_ten_bits_in_are_ten_bits_out_where_the_family_here_has_only_eight() -> None:
    chosen = choose_encoder(facts(yuv(10), "vp9"), SIZE, video_params(container="webm"), "film")
    assert (chosen.encoder, chosen.target.depth) == ("libsvtav1", 10)
    assert "vp9 becomes av1" in (chosen.warning or "")


@pytest.mark.parametrize(
    ("layout", "codec", "says"),
    [(YUV444, "av1", "loses chroma resolution"), (yuv(12, (0, 0)), "prores", "2 of 12 bits")],
)
def test_what_a_codec_loses_is_said(layout: FrameLayout, codec: str, says: str) -> None:
    chosen = choose_encoder(facts(layout), SIZE, video_params(container="mkv", codec=codec), "film")
    assert says in (chosen.warning or "")


def test_rgb_that_becomes_yuv_is_tagged_as_what_it_is() -> None:
    source = facts(rgb(), "h264", colour_tags=(1, 13, 0, 2))
    became = choose_encoder(source, SIZE, video_params(container="mp4"), "film")
    assert (became.colour_tags, became.target.matrix, became.target.full_range) == ((1, 13, 1, 1), "bt709", False)
    kept = choose_encoder(source, SIZE, video_params(container="mkv", codec="ffv1"), "film")
    assert (kept.colour_tags, kept.target.model) == ((1, 13, 0, 2), "rgb")


@pytest.mark.parametrize(("codec", "pix_fmt"), [("ffv1", "bgr0"), ("ffv1", "gbrp10le"), ("hevc", "gbrp")])
@pytest.mark.parametrize("said", [(1, 1, 1, 1), (9, 16, 9, 1), (2, 2, 2, 0)])
def test_yuv_that_is_asked_to_become_rgb_is_tagged_as_what_it_is(
    codec: str, pix_fmt: str, said: tuple[int, int, int, int]
) -> None:
    params = video_params(container="mkv", codec=codec, pix_fmt=pix_fmt)
    chosen = choose_encoder(facts(YUV420, colour_tags=said), SIZE, params, "film")
    assert (chosen.colour_tags, chosen.target.model) == ((*said[:2], 0, 2), "rgb")


@pytest.mark.parametrize("container", ["mov", "mkv"])
@pytest.mark.parametrize(
    ("layout", "said", "made"),
    [
        (replace(YUV420, full_range=True), (1, 1, 1, 2), (1, 1, 1, 1)),
        (replace(YUV420, full_range=True, alpha=True), (2, 2, 2, 2), (2, 2, 2, 1)),
        (replace(gray(), full_range=True), (2, 2, 2, 0), (2, 2, 2, 1)),
        (gray(), (2, 2, 2, 1), (2, 2, 2, 1)),
        (YUV420, (1, 1, 1, 0), (1, 1, 1, 0)),
    ],
)
def test_prores_is_of_limited_range_as_every_reader_takes_it(
    layout: FrameLayout, said: tuple[int, int, int, int], made: tuple[int, int, int, int], container: str
) -> None:
    params = video_params(container=container, codec="prores")
    chosen = choose_encoder(facts(layout, colour_tags=said), SIZE, params, "film")
    assert (chosen.target.full_range, chosen.colour_tags) == (False, made)
    kept = choose_encoder(facts(layout, colour_tags=said), SIZE, video_params(container="mkv", codec="ffv1"), "film")
    assert kept.target.full_range == layout.full_range


def test_prores_stays_prores_although_it_is_decoded_with_more_bits_than_it_is_encoded_from() -> None:
    source = facts(yuv(12, (0, 0)), "prores")
    chosen = choose_encoder(source, SIZE, video_params(container="mov"), "film")
    assert (chosen.encoder, chosen.pix_fmt) == ("prores_ks", "yuv444p10le")
    assert chosen.warning == "prores as yuv444p10le loses 2 of 12 bits"
    assert choose_encoder(source, SIZE, video_params(container="mp4"), "film").encoder == "libx265"


@pytest.mark.parametrize(
    ("source", "pix_fmt", "siting"),
    [
        ((1, 1), "yuv420p", "center"),
        ((1, 1), "yuv422p", "left"),
        ((1, 0), "yuv420p", "left"),
        ((1, 0), "yuv422p", "left"),
    ],
)
def test_chroma_lies_where_readers_take_it_to_lie(source: tuple[int, int], pix_fmt: str, siting: str) -> None:
    layout = replace(yuv(8, source), siting="center")
    params = video_params(container="mkv", codec="ffv1", pix_fmt=pix_fmt)
    assert choose_encoder(facts(layout), SIZE, params, "film").target.siting == siting


@pytest.mark.parametrize(
    ("codec", "rate", "size", "says"),
    [
        ("h264", 121, (8192, 4320), "8192x4320 at 121 frames a second is beyond the highest level of h264"),
        ("hevc", 121, (8192, 4320), "8192x4320 at 121 frames a second is beyond the highest level of hevc"),
        ("h264", 120, (8192, 4320), None),
        ("h264", 500, (3840, 2160), None),
        ("ffv1", 240, (8192, 4320), None),
    ],
)
def test_frames_that_follow_each_other_too_fast_for_any_level_are_said(
    codec: str, rate: int, size: tuple[int, int], says: str | None
) -> None:
    params = video_params(container="mkv", codec=codec)
    chosen = choose_encoder(facts(YUV420, rate=Fraction(rate)), size, params, "film")
    assert chosen.warning == (says and f"{says}, and few players keep up")


@pytest.mark.parametrize(
    ("layout", "video", "says"),
    [
        (YUV420, {"container": "webm", "codec": "h264"}, "--codec av1 or vp9"),
        (YUV420, {"container": "mp4", "codec": "ffv1"}, "--container mkv"),
        (YUV420, {"container": "webm", "codec": "prores"}, "--container mov or mkv"),
        (YUV420, {"codec": "mpeg2"}, "h264, hevc, av1, vp9, ffv1, prores"),
        (YUV420, {"container": "ogg"}, "mp4, mkv, mov or webm"),
        (YUV420, {"codec": "h264", "pix_fmt": "yuv420p12le"}, "yuv444p10le"),
        (YUV420, {"codec": "av1", "pix_fmt": "yuv444p"}, "ask for one of yuv420p, yuv420p10le"),
        (YUV420, {"codec": "h264", "crf": 52}, "from 0 (best) to 51"),
        (YUV420, {"codec": "h264", "preset": "p5"}, "placebo"),
        (ALPHA, {"container": "mp4"}, "transparent"),
        (ALPHA, {"container": "mkv", "codec": "h264"}, "transparent"),
        (ALPHA, {"container": "mp4", "codec": "vp9"}, "transparent"),
        (ALPHA, {"container": "mov", "codec": "prores", "pix_fmt": "yuv422p10le"}, "alpha"),
        (YUV420, {"encoder": "nvenc", "codec": "vp9"}, "NVENC has no vp9"),
    ],
)
def test_what_cannot_be_is_refused_with_advice(layout: FrameLayout, video: dict[str, object], says: str) -> None:
    with pytest.raises(ItemError) as caught:
        choose_encoder(facts(layout), SIZE, video_params(**video), "film")
    assert caught.value.kind is ErrorKind.UNSUPPORTED
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("codec", "container", "size", "says"),
    [
        ("h264", "mp4", (16_386, 64), "16384"),
        ("h264", "mp4", (8192, 4354), "35651584"),
        ("hevc", "mp4", (16_890, 64), "16888"),
        ("hevc", "mkv", (8192, 8192), "--codec av1 or vp9 or ffv1 or prores"),
        ("av1", "mkv", (8704, 8706), "16384x8704"),
        ("vp9", "webm", (65_536, 64), "65535"),
        ("ffv1", "mkv", (20_000, 20_000), "268 million"),
        ("prores", "mov", (65_536, 16), "65534"),
    ],
)
def test_sizes_beyond_a_limit_are_refused_with_the_limit(
    codec: str, container: str, size: tuple[int, int], says: str
) -> None:
    params = video_params(container=container, codec=codec)
    with pytest.raises(ItemError, match="--outscale") as caught:
        choose_encoder(facts(YUV420), size, params, "film")
    assert caught.value.kind is ErrorKind.TOO_LARGE
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("codec", "size"),
    [("h264", (8192, 4352)), ("hevc", (8192, 4352)), ("av1", (16_384, 8704)), ("vp9", (16_384, 8192))],
)
def test_the_largest_sizes_are_taken(codec: str, size: tuple[int, int]) -> None:
    assert choose_encoder(facts(YUV420), size, video_params(codec=codec), "film").target.width == size[0]


@pytest.mark.parametrize(
    ("codec", "layout", "step"),
    [
        ("h264", YUV420, (2, 2)),
        ("h264", yuv(8, (1, 0)), (2, 1)),
        ("h264", YUV444, (1, 1)),
        ("hevc", YUV420, (2, 2)),
        ("av1", YUV420, (2, 2)),
        ("vp9", YUV420, (1, 1)),
        ("ffv1", YUV420, (1, 1)),
        ("prores", YUV420, (1, 1)),
    ],
)
def test_sides_are_even_only_where_chroma_needs_it(codec: str, layout: FrameLayout, step: tuple[int, int]) -> None:
    assert size_step(facts(layout), video_params(codec=codec), "film") == step


def test_a_setting_that_a_codec_has_no_use_for_is_said() -> None:
    chosen = choose_encoder(facts(YUV420), SIZE, video_params(codec="ffv1", crf=10, preset="slow"), "film")
    assert chosen.warning == "ffv1 has no use for --crf and --preset"


@pytest.mark.parametrize(("asked", "told"), [("slow", "4"), ("11", "11"), ("", "7")])
def test_names_of_speeds_serve_encoders_that_count_them(asked: str, told: str) -> None:
    chosen = choose_encoder(facts(YUV420), SIZE, video_params(codec="av1", preset=asked), "film")
    assert dict(chosen.options)["preset"] == told


def test_every_pixel_format_of_the_table_is_one_that_the_encoder_takes() -> None:
    for codec in CODECS.values():
        known = {one.name for one in av.Codec(codec.encoder, "w").video_formats or ()}
        assert set(codec.pix_fmts) <= known, codec.name
        assert all(parse_pixel_format(name) for name in codec.pix_fmts)


@pytest.mark.parametrize(
    ("source", "video", "encoder", "pix_fmt"),
    [
        ("hevc", {}, "hevc_nvenc", "p010le"),
        ("h264", {}, "hevc_nvenc", "p010le"),
        ("libdav1d", {}, "av1_nvenc", "p010le"),
        ("hevc", {"pix_fmt": "yuv420p10le", "codec": "av1"}, "av1_nvenc", "p010le"),
        ("hevc", {"pix_fmt": "yuv420p"}, "hevc_nvenc", "yuv420p"),
    ],
)
def test_hardware_is_given_all_ten_bits(
    source: str, video: dict[str, Any], encoder: str, pix_fmt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def there(fit: object, *_: object) -> object:
        return fit

    monkeypatch.setattr("farm.media.video.write.codecs._checked", there)
    chosen = choose_encoder(facts(yuv(10), source), SIZE, video_params(encoder="nvenc", **video), "film")
    assert (chosen.encoder, chosen.pix_fmt) == (encoder, pix_fmt)
    assert (chosen.target.depth, chosen.target.chroma_shift) == (10 if pix_fmt == "p010le" else 8, (1, 1))


@pytest.mark.parametrize("container", ["sequence", "gif", "webp", "apng"])
def test_hardware_that_pictures_have_no_use_for_is_said(container: str) -> None:
    chosen = choose_pictures(facts(YUV420), SIZE, video_params(container=container, encoder="nvenc"), "film")
    assert f"--container {container} has no use for --encoder" in (chosen.warning or "")


def options(codec: str, size: tuple[int, int], **video: Any) -> dict[str, str]:
    """The encoder's own parameters, in one."""
    chosen = dict(choose_encoder(facts(YUV420), size, video_params(codec=codec, **video), "film").options)
    own = next((value for name, value in chosen.items() if name.endswith("-params")), "")
    return {**chosen, **dict(part.split("=") for part in own.split(":") if part)}


@pytest.mark.parametrize(
    ("codec", "name"),
    [("h264", "rc-lookahead"), ("hevc", "rc-lookahead"), ("av1", "lookahead"), ("vp9", "lag-in-frames")],
)
def test_larger_frames_are_encoded_with_fewer_others_in_memory(codec: str, name: str) -> None:
    ahead = [int(options(codec, size)[name]) for size in ((96, 64), (1920, 1088), (3840, 2160), (7680, 4320))]
    assert ahead[0] == ahead[1] == 20
    assert ahead[1] > ahead[2] > ahead[3]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_up_to_full_hd_frames_are_used_as_the_preset_says(codec: str) -> None:
    assert not {"bframes", "ref"} & options(codec, (1920, 1080), preset="slower").keys()
    assert int(options(codec, (3840, 2160), preset="slower")["ref"]) == 2


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
@pytest.mark.parametrize("preset", ["ultrafast", "veryfast", "slower"])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 4)])
def test_every_reach_opens_with_every_preset(
    codec: str, preset: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limits of the reaches are divided by 15 x 17, so that frames are small."""
    small = [replace(reach, up_to_px=reach.up_to_px // 255) for reach in settings._REACHES]
    monkeypatch.setattr(settings, "_REACHES", tuple(small))
    layout = FrameLayout(width=112 * size[0], height=64 * size[1], chroma_shift=(1, 1))
    film = plan(facts(layout), video_params(codec=codec, preset=preset))
    with PieceReader(io.BytesIO(encode(film, range(3)))) as piece:
        assert sorted(number for number, _ in piece.numbered()) == [0, 1, 2]


def test_hardware_that_is_not_there_is_said_at_plan_time() -> None:
    params = video_params(encoder="nvenc", codec="h264")
    try:
        encoder = choose_encoder(facts(YUV420), SIZE, params, "film").encoder
    except ItemError as error:
        encoder = f"{error.kind.value}: {error.found}"
    assert encoder == "h264_nvenc" or encoder.startswith("unsupported: h264_nvenc does not open here")
