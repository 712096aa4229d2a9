"""Animated GIF, WebP and APNG as films and as outputs, against Pillow: frames, delays, loops, transparency."""

from __future__ import annotations

import errno
import io
import zlib
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
import pyvips
from numpy.testing import assert_array_equal
from PIL import Image, ImageSequence

from farm.errors import ErrorKind, ItemError
from farm.film import Span
from farm.media.image import ReadLimits, decode
from farm.media.video.film import join_film
from farm.media.video.pictures.animation import Animation, _shown, open_animation
from farm.media.video.pictures.animation_join import join_animation
from farm.media.video.pictures.film import is_pictures, iter_pictures, read_pictures
from farm.media.video.pictures.still_frames import pixels_of, planes_of
from farm.media.video.pictures.target import KEEP_PROFILE, choose_pictures
from farm.media.video.read.reader import FilmReader
from farm.media.video.values import FilmCut, Joined
from farm.media.video.write.codecs import SourceFacts
from farm.media.video.write.encode import SegmentEncoder
from farm.params import UpscaleParams
from sr_kernel.layout import FrameLayout
from tests.farm.items import PARAMS, VIDEO
from tests.farm.media.films import encode, openers
from tests.pictures import flipped, photo

KINDS = ("gif", "webp", "apng")
SIZE = (30, 20)
DELAYS = [40, 100, 20, 250, 60, 30, 90]


def params(container: str = "mkv", *, outscale: float = 1.0, **video: Any) -> UpscaleParams:
    codec = "ffv1" if container == "mkv" else "auto"
    file_format = "png" if container == "sequence" else container
    changed = replace(VIDEO, **{"container": container, "codec": codec, "segment_frames": 3, **video})
    quality = 100 if container == "webp" else 0
    return replace(PARAMS, outscale=outscale, format=file_format, quality=quality, video=changed)


def drawings(count: int = 7, *, alpha: bool = False, same: tuple[int, ...] = (4,)) -> list[Image.Image]:
    """Few colours, so that a GIF holds them as they are; a square moves over it, but in frames of `same`."""
    made: list[Image.Image] = []
    for number in range(count):
        step = number - 1 if number in same else number
        pixels = np.zeros((SIZE[1], SIZE[0], 4), np.uint8)
        pixels[...] = (30, 60, 90, 255)
        pixels[2 + step : 9 + step, 3 * step : 3 * step + 6] = (250, 20 * step, 10, 255)
        if alpha:
            pixels[:, : 4 + step, 3] = 0
            pixels[:, : 4 + step, :3] = 0
        made.append(Image.fromarray(pixels) if alpha else Image.fromarray(pixels).convert("RGB"))
    return made


def animation(
    kind: str, frames: list[Image.Image], delays: Any = DELAYS, loop: int | None = 0, **options: Any
) -> bytes:
    sink = io.BytesIO()
    more = {"duration": delays, "lossless": True, "exact": True, **options}
    if loop is not None:
        more["loop"] = loop
    frames[0].save(sink, {"apng": "PNG"}.get(kind, kind), save_all=True, append_images=frames[1:], **more)
    return sink.getvalue()


def film(data: bytes, kind: str, wanted: UpscaleParams) -> tuple[FilmCut, list[np.ndarray]]:
    """The plan, and every frame of every segment."""
    source, url = io.BytesIO(data), f"/in/a b%.{kind}"
    cut = read_pictures(source, url, wanted)
    frames = [
        frame for span in cut.spans for frame in iter_pictures(FilmReader.of(source, url), url, cut.film, span, wanted)
    ]
    assert [frame.index for frame in frames] == list(range(cut.film.frames))
    return cut, [pixels_of(frame.planes) for frame in frames]


def out_pts(cut: FilmCut) -> list[int]:
    return [pts for span in cut.spans for pts in span.out_pts]


def written(data: bytes, kind: str, wanted: UpscaleParams, cut: FilmCut, frames: list[np.ndarray]) -> bytes:
    """Segments as pieces, and the pieces joined."""
    pieces: list[bytes] = []
    for span in cut.spans:
        with SegmentEncoder(cut.film, "x") as encoder:
            for index in range(*span.frames):
                encoder.write(tuple(np.moveaxis(frames[index], 2, 0)))
            pieces.append(encoder.finish())
    sink, openers = io.BytesIO(), [lambda piece=piece: io.BytesIO(piece) for piece in pieces]
    join_animation(io.BytesIO(data), f"/in/a.{kind}", cut.film, out_pts(cut), wanted, openers, sink, None)
    return sink.getvalue()


def seen(data: bytes) -> tuple[list[np.ndarray], list[int], int | None]:
    """Frames as RGBA, delays in ms and the loop count as Pillow reads them."""
    with Image.open(io.BytesIO(data)) as image:
        frames, delays = [], []
        for frame in ImageSequence.Iterator(image):
            frames.append(np.asarray(frame.convert("RGBA")))
            delays.append(round(image.info.get("duration", 0)))
        return frames, delays, image.info.get("loop")


def visible_equal(one: np.ndarray, two: np.ndarray) -> bool:
    """Alike wherever they can be seen."""
    return np.array_equal(one[..., 3], two[..., 3]) and np.array_equal(one[one[..., 3] > 0], two[two[..., 3] > 0])


def rgba(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).convert("RGBA"))


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_is_what_a_viewer_shows_with_its_time(kind: str, alpha: bool) -> None:
    data = animation(kind, drawings(alpha=alpha))
    shown, delays, _ = seen(data)
    cut, frames = film(data, kind, params())
    assert is_pictures(f"x.{kind}")
    assert (len(shown), cut.film.frames, cut.film.source.alpha) == (len(frames), len(shown), alpha)
    assert all(visible_equal(one, rgba(two)) for one, two in zip(shown, frames, strict=True))
    times = [pts * cut.film.out_base * 1000 for pts in out_pts(cut)]
    assert times == [sum(delays[:number]) for number in range(len(delays))]
    assert cut.film.rate == Fraction(len(delays) * 1000, sum(delays))
    assert [span.frames for span in cut.spans] == [(at, min(at + 3, len(shown))) for at in range(0, len(shown), 3)]


@pytest.mark.parametrize(("container", "fps"), [("mp4", ""), ("mkv", ""), ("mp4", "10/1"), ("mkv", "10/1")])
@pytest.mark.parametrize("delays", [[100, 100, 2000], [100, 100, 40], [500]], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_the_last_frame_of_a_picture_that_becomes_a_film_is_shown_as_long_as_it_asks(
    kind: str, delays: list[int], container: str, fps: str
) -> None:
    wanted = params(container, fps=fps, segment_frames=48, **({"codec": "h264", "preset": "ultrafast"}))
    source, url = io.BytesIO(animation(kind, drawings(len(delays), same=()), delays)), f"/in/a.{kind}"
    cut, sink = read_pictures(source, url, wanted), io.BytesIO()
    piece = encode(cut.film, range(cut.film.frames))
    assert join_film(source, url, cut.film, out_pts(cut), wanted, openers([piece]), sink, None) == Joined()
    with av.open(io.BytesIO(sink.getvalue())) as made:
        shown = Fraction(made.duration or 0, av.time_base) * 1000
    asked = 100 if delays == [500] and kind != "gif" else sum(delays)  # what is no animation says no delay
    assert shown == (-(-asked // 100) * 100 if fps else asked)


@pytest.mark.parametrize("disposal", [1, 2, 3])
def test_partial_frames_and_disposal_of_a_gif_are_done(disposal: int) -> None:
    data = animation("gif", drawings(alpha=True, same=()), disposal=disposal, optimize=True)
    cut, frames = film(data, "gif", params(segment_frames=1))
    assert cut.film.frames == 7
    assert all(visible_equal(one, rgba(two)) for one, two in zip(seen(data)[0], frames, strict=True))


# Not (2, 1): Pillow does not take "previous" of the first frame for "background", as the standard wants.
@pytest.mark.parametrize(("disposal", "blend"), [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)])
def test_partial_frames_and_disposal_of_an_apng_are_done(disposal: int, blend: int) -> None:
    data = animation("apng", drawings(alpha=True, same=()), disposal=disposal, blend=blend)
    _, frames = film(data, "apng", params())
    assert all(visible_equal(one, rgba(two)) for one, two in zip(seen(data)[0], frames, strict=True))


def test_the_picture_that_stands_for_an_apng_is_no_frame_of_it() -> None:
    data = animation("apng", drawings(5, same=()), 50, default_image=True)
    cut, frames = film(data, "apng", params())
    assert cut.film.frames == 4
    assert np.array_equal(frames[0], np.asarray(drawings(5, same=())[1]))


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("loop", [None, 0, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_an_animated_picture_keeps_frames_delays_loops_and_transparency(
    kind: str, loop: int | None, alpha: bool
) -> None:
    data = animation(kind, drawings(alpha=alpha), loop=loop)
    wanted = params(kind)
    cut, frames = film(data, kind, wanted)
    again, delays, plays = seen(written(data, kind, wanted, cut, frames))
    before, delays_before, plays_before = seen(data)
    assert (delays, plays) == (delays_before, plays_before)
    assert len(again) == len(before)
    assert all(visible_equal(one, two) for one, two in zip(before, again, strict=True))


@pytest.mark.parametrize("target", KINDS)
def test_frames_that_do_not_change_stay_frames(target: str) -> None:
    data = animation("gif", drawings(same=()), 50)
    wanted = params(target)
    cut, frames = film(data, "gif", wanted)
    still = [frames[0], frames[1], frames[1], frames[1], frames[4], frames[5], frames[5]]
    again, delays, _ = seen(written(data, "gif", wanted, cut, still))
    assert delays == [50] * 7
    assert all(np.array_equal(rgba(one), two) for one, two in zip(still, again, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_short_delays_are_kept_in_pictures_and_shown_as_browsers_do_in_films(kind: str) -> None:
    data = animation(kind, drawings(3, same=()), [0, 10, 20])
    assert seen(data)[1] == [0, 10, 20]
    cut, frames = film(data, kind, params(kind))
    assert [pts * cut.film.out_base for pts in out_pts(cut)] == [0, Fraction(1, 10), Fraction(2, 10)]
    assert seen(written(data, kind, params(kind), cut, frames))[1] == [0, 10, 20]


def test_times_of_an_apng_are_exact() -> None:
    data = bytearray(animation("apng", drawings(4, same=()), 40))
    for at in [at for at in range(len(data)) if data[at : at + 4] == b"fcTL"]:
        data[at + 24 : at + 28] = (1001).to_bytes(2, "big") + (30000).to_bytes(2, "big")
        data[at + 30 : at + 34] = zlib.crc32(data[at : at + 30]).to_bytes(4, "big")
    wanted = params("apng")
    cut, frames = film(bytes(data), "apng", wanted)
    assert [pts * cut.film.out_base for pts in out_pts(cut)] == [Fraction(1001 * at, 30000) for at in range(4)]
    again = written(bytes(data), "apng", wanted, cut, frames)
    assert again.count((1001).to_bytes(2, "big") + (30000).to_bytes(2, "big")) == 4


def test_apng_of_sixteen_bits_and_gray_stay_so() -> None:
    deep, gray = photo(1, 30, 20, 3, 16), photo(2, 30, 20, 1)
    wanted = params("apng")
    for pixels, model in ((deep, "rgb"), (gray, "gray")):
        depth = 8 * pixels.dtype.itemsize
        layout = FrameLayout(width=30, height=20, model=model, depth=depth, full_range=True)
        choice = choose_pictures(SourceFacts(codec="x", layout=layout, rate=Fraction(10)), (30, 20), wanted, "x")
        assert (choice.encoder, choice.target.depth, choice.target.model) == ("ffv1", depth, model)
        source = animation("apng", drawings(2, same=()), 100)
        cut = read_pictures(io.BytesIO(source), "a.apng", wanted)
        cut = replace(cut, film=replace(cut.film, target=choice.target, pix_fmt=choice.pix_fmt, options=choice.options))
        made = written(source, "apng", wanted, cut, [pixels, pixels[::-1]])
        assert np.array_equal(decode(made, "a.png", ReadLimits(pages="first")).pixels, pixels)
        again, frames = film(made, "apng", wanted)
        assert (again.film.source.model, again.film.source.depth) == (model, depth)
        assert np.array_equal(frames[1], pixels[::-1])


def test_an_animated_png_is_an_apng_and_a_still_one_a_film_of_one_frame() -> None:
    data = animation("apng", drawings(same=()))
    cut, frames = film(data, "png", params())
    assert is_pictures("x.PNG")
    assert (cut.film.warning, len(frames)) == (None, len(DELAYS))
    assert all(np.array_equal(one, two) for one, two in zip(frames, film(data, "apng", params())[1], strict=True))
    assert seen(written(data, "png", params("apng"), cut, frames))[1:] == (DELAYS, 0)
    sink = io.BytesIO()
    drawings(1)[0].save(sink, "PNG")
    for container in ("mkv", "apng"):
        cut, frames = film(sink.getvalue(), "png", params(container))
        assert len(frames) == cut.film.frames == 1
    assert "holds png" in (film(sink.getvalue(), "gif", params())[0].film.warning or "")


def test_delays_that_an_asked_rate_would_fill_without_end_are_refused() -> None:
    data = animation("apng", drawings(same=()), [65_000_000] * 7)
    with pytest.raises(ItemError) as caught:
        film(data, "apng", params(fps="60/1"))
    assert caught.value.kind is ErrorKind.UNSUPPORTED
    assert "3900000 times" in caught.value.found


def _read_for_ever(source: io.BytesIO, url: str, cut: FilmCut) -> None:
    while True:  # the disk fails some time
        read_pictures(source, url, params())
        list(iter_pictures(FilmReader.of(source, url), url, cut.film, cut.spans[0], params()))


def test_an_error_of_the_disk_is_tried_again() -> None:
    class Broken(io.BytesIO):
        """A disk that fails after some reads."""

        left = 0

        def read(self, size: int | None = -1) -> bytes:
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.EIO, "x")
            return super().read(size)

    for kind in KINDS:
        data = animation(kind, drawings(same=()))
        cut, _ = film(data, kind, params())
        for left in (0, 1, 5, 30):
            source = Broken(data)
            source.left = left
            with pytest.raises(ItemError) as caught:
                _read_for_ever(source, f"x.{kind}", cut)
            assert caught.value.kind is ErrorKind.STORAGE_ERROR


@pytest.mark.parametrize("kind", KINDS)
def test_a_still_picture_is_a_film_of_one_frame(kind: str) -> None:
    sink = io.BytesIO()
    drawings(1)[0].save(sink, {"apng": "PNG"}.get(kind, kind), lossless=True)
    for container in ("mkv", kind):
        cut, frames = film(sink.getvalue(), kind, params(container))
        assert (cut.film.frames, len(frames), out_pts(cut)) == (1, 1, [0])
        assert np.array_equal(frames[0], np.asarray(drawings(1)[0]))
    made = seen(written(sink.getvalue(), kind, params(kind), cut, frames))[0]
    assert len(made) == 1
    assert np.array_equal(made[0][..., :3], frames[0])


def test_alpha_that_only_saves_bytes_is_no_transparency() -> None:
    data = animation("gif", drawings(same=()), optimize=True, disposal=1)
    assert decode(data, "a.gif", ReadLimits(pages="first")).header.has_alpha
    cut, _ = film(data, "gif", params("mp4"))
    assert (cut.film.source.alpha, cut.film.target.model) == (False, "yuv")
    with pytest.raises(ItemError) as caught:
        film(animation("gif", drawings(alpha=True)), "gif", params("mp4"))
    assert caught.value.kind is ErrorKind.UNSUPPORTED


def test_an_asked_rate_repeats_and_leaves_out_frames_by_time() -> None:
    data = animation("gif", drawings(4, same=()), [100, 300, 20, 180])
    cut, frames = film(data, "gif", params(fps="10/1"))
    assert [pts * cut.film.out_base for pts in out_pts(cut)] == [Fraction(at, 10) for at in range(6)]
    assert cut.film.rate == 10
    wanted = [np.asarray(drawings(4, same=())[number]) for number in (0, 1, 1, 1, 2, 3)]
    assert all(np.array_equal(one, two) for one, two in zip(frames, wanted, strict=True))
    target = params("gif", fps="10/1")
    cut, frames = film(data, "gif", target)
    assert seen(written(data, "gif", target, cut, frames))[1] == [100] * 6


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_file_is_truncated_and_its_whole_frames_can_be_kept(kind: str) -> None:
    data = animation(kind, drawings(same=()), 50)
    data = data[: int(len(data) * 0.6)]
    with pytest.raises(ItemError) as caught:
        film(data, kind, params())
    assert caught.value.kind is ErrorKind.TRUNCATED
    assert "4" in caught.value.found or "3" in caught.value.found
    assert kind != "apng" or " of 7 frames decodable" in caught.value.found
    cut, frames = film(data, kind, params(salvage=True))
    assert cut.film.frames in (3, 4)
    assert "cut" in (cut.film.warning or "")
    assert cut.film.lacking
    whole = [np.asarray(one) for one in drawings(same=())]
    assert all(np.array_equal(one, two) for one, two in zip(whole, frames, strict=False))


@pytest.mark.parametrize("lost", [1, 2, 9])
def test_a_gif_without_its_end_is_truncated_however_little_of_it_is_missing(lost: int) -> None:
    data = animation("gif", drawings(same=()), 50)
    with pytest.raises(ItemError) as caught:
        film(data[:-lost], "gif", params())
    whole = 7 if lost == 1 else 6
    assert (caught.value.kind, f"{whole} frames decodable" in caught.value.found) == (ErrorKind.TRUNCATED, True)
    assert film(data[:-lost], "gif", params(salvage=True))[0].film.frames == whole


def test_zeros_between_the_blocks_of_a_gif_are_no_end_of_it() -> None:
    data = animation("gif", drawings(same=()), 50)
    assert len(film(data[:-1] + b"\0\0;", "gif", params())[1]) == 7
    with pytest.raises(ItemError) as caught:
        film(data[:-1] + b"\0", "gif", params())
    assert caught.value.kind is ErrorKind.TRUNCATED


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_an_error_or_a_film_and_never_a_crash(kind: str) -> None:
    data = animation(kind, drawings(same=()), 50)
    outcomes = set()
    for seed in range(40):
        for allowed in (False, True):
            try:
                cut, frames = film(flipped(data, seed), kind, params(allow_damaged=allowed))
                assert len(frames) == cut.film.frames
                outcomes.add("film")
            except ItemError as error:
                outcomes.add(error.kind.value)
    assert "film" in outcomes
    assert len(outcomes) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_allowing_loss_of_a_whole_file_finds_none(kind: str) -> None:
    data = animation(kind, drawings(same=()), 50)
    assert not film(data, kind, params(salvage=True, allow_damaged=True))[0].film.lacking


def test_a_damaged_picture_that_is_no_animation_is_known_to_lack_something() -> None:
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(whole, "jpeg")
    assert not film(whole.getvalue(), "gif", params(salvage=True))[0].film.lacking
    cut, _ = film(whole.getvalue()[: len(whole.getvalue()) // 2], "gif", params(salvage=True))
    assert cut.film.lacking
    assert "what it still holds was kept" in (cut.film.warning or "")


def test_what_is_no_animation_is_refused_by_its_kind() -> None:
    for data, kind in ((b"", ErrorKind.EMPTY_INPUT), (b"<html>", ErrorKind.NOT_AN_IMAGE), (b"GIF89a", None)):
        with pytest.raises(ItemError) as caught:
            film(data, "gif", params())
        assert kind is None or caught.value.kind is kind


@pytest.mark.parametrize("kind", KINDS)
def test_large_pages_are_refused_from_the_header(kind: str) -> None:
    film(animation(kind, drawings()), kind, replace(params(), max_pixels_in=600))
    with pytest.raises(ItemError) as caught:
        film(animation(kind, drawings()), kind, replace(params(), max_pixels_in=599))
    assert caught.value.kind is ErrorKind.TOO_LARGE


def test_sizes_that_a_format_cannot_hold_are_refused_when_planned() -> None:
    layout = FrameLayout(width=100, height=100, model="rgb", full_range=True)
    facts = SourceFacts(codec="h264", layout=layout, rate=Fraction(60))
    for kind, side in (("webp", 16_384), ("gif", 65_536), ("apng", 60_000)):
        with pytest.raises(ItemError) as caught:
            choose_pictures(facts, (side, side), params(kind), "x")
        assert caught.value.kind is ErrorKind.TOO_LARGE
    with pytest.raises(ItemError) as caught:
        choose_pictures(facts, (3, 8), params("gif"), "x")
    assert caught.value.kind is ErrorKind.UNSUPPORTED
    warning = choose_pictures(facts, (16, 16), params("gif", crf=3), "x").warning or ""
    assert "256 colours" in warning
    assert "50 of 60" in warning
    assert "--crf" in warning


def test_a_film_becomes_an_animation_that_does_not_drift() -> None:
    wanted = params("gif")
    data = animation("gif", drawings(same=()), 50)
    cut, frames = film(data, "gif", wanted)
    base, times = Fraction(1, 30), tuple(range(7))
    cut = replace(cut, film=replace(cut.film, time_base=base, rate=Fraction(30)))
    pieces: list[bytes] = []
    with SegmentEncoder(cut.film, "x") as encoder:
        for one in frames:
            encoder.write(tuple(np.moveaxis(one, 2, 0)))
        pieces.append(encoder.finish())
    sink = io.BytesIO()
    join_animation(None, "/in/a.mp4", cut.film, times, wanted, [lambda: io.BytesIO(pieces[0])], sink, None)
    _, delays, loop = seen(sink.getvalue())
    assert delays == [30, 40, 30, 30, 40, 30, 30]
    assert sum(delays) == 230
    assert loop == 0


def test_pieces_that_do_not_make_up_the_film_are_made_anew() -> None:
    data = animation("gif", drawings(same=()), 50)
    wanted = params("webp", segment_frames=10)
    cut, frames = film(data, "gif", wanted)
    with SegmentEncoder(cut.film, "x") as encoder:
        for one in frames:
            encoder.write(tuple(np.moveaxis(one, 2, 0)))
        piece = encoder.finish()
    for kind in KINDS:
        for pieces in ([], [piece, piece], [piece[:-40]]):
            openers = [lambda piece=piece: io.BytesIO(piece) for piece in pieces]
            with pytest.raises(ItemError) as caught:
                join_animation(None, "x", cut.film, out_pts(cut), params(kind), openers, io.BytesIO(), None)
            assert caught.value.kind is ErrorKind.CHANGED_DURING_READ


@pytest.mark.parametrize("container", ["webp", "apng"])
@pytest.mark.parametrize("kind", ["webp", "apng"])
def test_a_colour_profile_travels(kind: str, container: str) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    wanted = params(container)
    for frames in (drawings(3), drawings(1)):
        data = animation(kind, frames, 50, icc_profile=profile)
        cut, shown = film(data, kind, wanted)
        made = written(data, kind, wanted, cut, shown)
        with Image.open(io.BytesIO(made)) as image:
            assert image.info["icc_profile"] == profile
        assert pyvips.Image.new_from_buffer(made, "", fail_on="warning").get("icc-profile-data") == profile
        assert len(seen(made)[0]) == len(frames)
        assert_array_equal(seen(made)[0], [rgba(one) for one in shown])


def test_an_apng_says_how_it_was_made_and_is_otherwise_the_same() -> None:
    data, wanted = animation("apng", drawings(3), 50), params("apng")
    cut, _ = film(data, "apng", wanted)
    piece = encode(cut.film, range(3))
    made: list[bytes] = []
    for stamp in (None, {"model": "x4plus & co"}):
        sink = io.BytesIO()
        join_animation(io.BytesIO(data), "/in/a.apng", cut.film, out_pts(cut), wanted, openers([piece]), sink, stamp)
        made.append(sink.getvalue())
    xmp = pyvips.Image.new_from_buffer(made[1], "", fail_on="warning").get("xmp-data")
    assert b'farm:model="x4plus &amp; co"' in xmp
    head, rest = made[1][:33], made[1][33 + 12 + len("XML:com.adobe.xmp") + 5 + len(xmp) :]
    assert head + rest == made[0]
    assert_array_equal(seen(made[1])[0], seen(made[0])[0])


@pytest.mark.parametrize("container", ["webp", "apng", "gif", "mp4", "sequence"])
@pytest.mark.parametrize("kind", ["webp", "apng"])
def test_a_colour_profile_that_is_left_out_is_said(kind: str, container: str) -> None:
    plain = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb")
    for name, frames in (("p3", drawings(2)), ("srgb", drawings(2)), ("p3", drawings(1))):
        profile = plain.icc_transform(name, input_profile="srgb").get("icc-profile-data")
        data = animation(kind, frames, 50, icc_profile=profile)
        warning = film(data, kind, params(container))[0].film.warning or ""
        assert ("colour profile is left out" in warning) == (name == "p3" and container not in KEEP_PROFILE), (
            name,
            warning,
        )


def test_the_shape_of_turned_samples_is_that_of_the_upright_picture() -> None:
    data, wanted = animation("gif", drawings(same=()), 50), params("gif")
    cut, frames = film(data, "gif", wanted)
    matrix = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    turned = replace(cut.film, sample_aspect=Fraction(4, 3), rotation=matrix)
    piece = encode(turned, range(len(frames)))
    said = join_animation(None, "/in/a.mp4", turned, out_pts(cut), wanted, openers([piece]), io.BytesIO(), None)
    assert said == "gif cannot say that samples are 3/4 as wide as high; viewers show squares"


@pytest.mark.parametrize("fps", ["", "25/1"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_left_open_gives_the_same_frames_in_any_order(
    kind: str, fps: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, url = animation(kind, drawings(12, same=(5,)), 40), f"/in/a.{kind}"
    wanted = params(segment_frames=2, fps=fps)
    cut = read_pictures(io.BytesIO(data), url, wanted)
    assert [span.followed for span in cut.spans] == [True] * (len(cut.spans) - 1) + [False]
    opened: list[int] = []
    pictures = Animation.pictures

    def counted(self: Animation, first: int, last: int) -> Generator[Any, None, None]:
        opened.append(first)
        yield from pictures(self, first, last)

    monkeypatch.setattr(Animation, "pictures", counted)
    anew = {span: segment(FilmReader.of(io.BytesIO(data), url), url, cut, span, wanted) for span in cut.spans}
    assert len(opened) == len(cut.spans)
    for spans, openings in ((cut.spans, 1), (cut.spans[1::2], 1), (cut.spans[::-1], len(cut.spans))):
        opened.clear()
        with closing(FilmReader.of(io.BytesIO(data), url)) as reader:
            assert [segment(reader, url, cut, span, wanted) for span in spans] == [anew[span] for span in spans]
        assert len(opened) == openings


def segment(reader: FilmReader, url: str, cut: FilmCut, span: Span, wanted: UpscaleParams) -> list[Any]:
    """Number, pixels and whether it is damaged, of each frame."""
    frames = iter_pictures(reader, url, cut.film, span, wanted)
    return [(frame.index, [plane.tobytes() for plane in frame.planes], frame.damaged) for frame in frames]


@pytest.mark.parametrize("kind", KINDS)
def test_damage_in_later_segments_changes_nothing_of_those_before(kind: str) -> None:
    whole, url = animation(kind, drawings(8, same=()), 40), f"/in/a.{kind}"
    wanted, found = params(segment_frames=2, allow_damaged=True, salvage=True), 0
    for seed in range(60):
        data = flipped(whole, seed, 2)
        try:
            cut = read_pictures(io.BytesIO(data), url, wanted)
        except ItemError:
            continue
        alone = [by_itself(data, url, cut, span, wanted) for span in cut.spans]
        anew = [segment(FilmReader.of(io.BytesIO(data), url), url, cut, span, wanted) for span in cut.spans]
        with closing(FilmReader.of(io.BytesIO(data), url)) as reader:
            assert alone == anew == [segment(reader, url, cut, span, wanted) for span in cut.spans]
        found += any(damaged for one in anew for *_, damaged in one)
    assert found or kind == "webp", "libwebp gives other pixels without a word, or nothing"


def by_itself(data: bytes, url: str, cut: FilmCut, span: Span, wanted: UpscaleParams) -> list[Any]:
    """A segment of which nothing is decoded that comes behind it."""
    opened, first = open_animation(io.BytesIO(data), url, wanted), cut.spans.index(span) * 2
    shown = list(_shown(opened, first, first + len(span.pts), wanted))
    planes = [(planes_of(pixels, cut.film.source), damaged) for _, pixels, damaged in shown]
    return [
        (index, [plane.tobytes() for plane in some], damaged)
        for index, (some, damaged) in zip(range(*span.frames), planes, strict=True)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_an_animation_goes_on_in_another_thread(kind: str) -> None:
    data, url, wanted = animation(kind, drawings(12, same=(5,)), 40), f"/in/a.{kind}", params(segment_frames=1)
    cut = read_pictures(io.BytesIO(data), url, wanted)
    anew = [segment(FilmReader.of(io.BytesIO(data), url), url, cut, span, wanted) for span in cut.spans]
    with closing(FilmReader.of(io.BytesIO(data), url)) as reader:
        for span, expected in zip(cut.spans, anew, strict=True):
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(segment, reader, url, cut, span, wanted).result() == expected
            assert reader.is_open
