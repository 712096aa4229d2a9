"""Numbered pictures as a film, and a film as numbered pictures: every picture once, in order, at its depth."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import pyvips
from PIL import Image

from farm import storage
from farm.errors import ErrorKind, ItemError
from farm.media.image import EncodeSpec, ImageMeta, decode, encode
from farm.media.image import ReadLimits as Limits
from farm.media.video.pictures import sequence
from farm.media.video.pictures.film import is_pictures, iter_pictures, read_pictures
from farm.media.video.pictures.still_frames import encode_still, frame_name, pixels_of, sequence_index, turned
from farm.media.video.values import FilmCut
from farm.params import UpscaleParams
from tests.farm.items import FILM, PARAMS, VIDEO
from tests.pictures import photo
from tests.s3_server import require_s3
from tests.stores import reach


def params(*, outscale: float = 2.0, picture: str = "png", **video: Any) -> UpscaleParams:
    return replace(PARAMS, outscale=outscale, format=picture, video=replace(VIDEO, **video))


def picture(number: int, *, bands: int = 3, depth: int = 8, kind: str = "png") -> bytes:
    return encode(photo(number, 20, 12, bands, depth), ImageMeta(), EncodeSpec(format=kind, quality=95), "x")


def write(folder: Path, names: str, numbers: range | list[int], make: Callable[[int], bytes] = picture) -> str:
    """Pictures of a sequence, and its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / names.replace("%04d", f"{number:04d}").replace("%d", str(number))).write_bytes(make(number))
    return f"{folder}/{names}"


def pixels(url: str, cut: FilmCut, wanted: UpscaleParams) -> list[np.ndarray]:
    """Every frame of every segment; their numbers must be the film's."""
    frames = [frame for span in cut.spans for frame in iter_pictures(None, url, cut.film, span, wanted)]
    assert [frame.index for frame in frames] == list(range(cut.film.frames))
    assert all(tuple(plane.shape[::-1] for plane in frame.planes) == cut.film.source.plane_sizes for frame in frames)
    return [pixels_of(frame.planes) for frame in frames]


def refused(url: str, wanted: UpscaleParams | None = None) -> ItemError:
    """Why a sequence is not restored, be it found at once or with a frame."""
    wanted = wanted or params()

    def read() -> None:
        pixels(url, read_pictures(None, url, wanted), wanted)

    with pytest.raises(ItemError) as caught:
        read()
    return caught.value


@pytest.mark.parametrize(
    "names", ["f%04d.png", "f%d.png", "100% of it %04d.png", "a [b]*?#%20 %04d-x.png", "Größe é%d.png"]
)
@pytest.mark.parametrize("first", [0, 1, 9_998])
def test_every_picture_is_one_frame_in_the_order_of_its_number(tmp_path: Path, names: str, first: int) -> None:
    numbers = range(first, first + 5)
    url = write(tmp_path / "50% späte Bilder", names, numbers)
    for stranger in ("f12.png.txt", "f0001.jpg", "xf0001.png", "f00001.png", "f-001.png", "frames.json"):
        (tmp_path / "50% späte Bilder" / stranger).write_bytes(b"no picture")
    write(tmp_path / "50% späte Bilder" / "below", names, [7])
    cut = read_pictures(None, url, params(segment_frames=2))
    assert is_pictures(url)
    assert [span.frames for span in cut.spans] == [(0, 2), (2, 4), (4, 5)]
    assert [pts for span in cut.spans for pts in span.out_pts] == [0, 1, 2, 3, 4]
    assert (cut.film.rate, cut.film.time_base) == (24, Fraction(1, 24))
    shown = pixels(url, cut, params())
    assert all(np.array_equal(one, photo(number, 20, 12)) for one, number in zip(shown, numbers, strict=True))


def test_the_asked_rate_is_the_rate_of_the_pictures(tmp_path: Path) -> None:
    url = write(tmp_path, "f%04d.png", range(3))
    film = read_pictures(None, url, params(fps="30000/1001")).film
    assert (film.rate, film.time_base, film.frames) == (Fraction(30000, 1001), Fraction(1001, 30000), 3)


@pytest.mark.parametrize(("bands", "depth", "kind"), [(1, 8, "png"), (2, 16, "png"), (3, 16, "tiff"), (4, 8, "tiff")])
@pytest.mark.parametrize("container", ["sequence", "mkv"])
def test_depth_gray_and_alpha_are_kept(tmp_path: Path, bands: int, depth: int, kind: str, container: str) -> None:
    url = write(tmp_path, f"f%d.{kind}", range(2), lambda number: picture(number, bands=bands, depth=depth, kind=kind))
    wanted = params(container=container, codec="auto" if container == "sequence" else "ffv1", outscale=1.0)
    film = read_pictures(None, url, wanted).film
    source, target = film.source, film.target
    assert (source.model, source.depth, source.alpha) == ("gray" if bands < 3 else "rgb", depth, bands in (2, 4))
    assert (target.alpha, target.depth) == (source.alpha, depth)
    shown = pixels(url, read_pictures(None, url, wanted), wanted)
    assert all(np.array_equal(one, photo(number, 20, 12, bands, depth)) for number, one in enumerate(shown))
    if container == "sequence":
        again = [
            decode(encode_still(tuple(np.moveaxis(one, 2, 0)), film, wanted), "x", Limits()).pixels for one in shown
        ]
        assert all(np.array_equal(one, two) for one, two in zip(shown, again, strict=True))


def test_pictures_of_several_kinds_make_a_film_that_holds_them_all(tmp_path: Path) -> None:
    kinds = [(1, 8), (3, 16), (4, 8)]
    url = write(tmp_path, "f%d.png", range(3), lambda at: picture(at, bands=kinds[at][0], depth=kinds[at][1]))
    wanted = params(container="sequence")
    cut = read_pictures(None, url, wanted)
    assert (cut.film.source.model, cut.film.source.depth, cut.film.source.alpha) == ("rgb", 16, True)
    gray, deep, clear = pixels(url, cut, wanted)
    assert np.array_equal(gray[..., :3], photo(0, 20, 12, 1).astype(np.uint16).repeat(3, 2) * 257)
    assert np.array_equal(deep[..., :3], photo(1, 20, 12, 3, 16))
    assert np.array_equal(clear, photo(2, 20, 12, 4).astype(np.uint16) * 257)
    assert gray[..., 3].min() == deep[..., 3].min() == 65_535


def test_jpeg_frames_are_what_the_image_path_gives(tmp_path: Path) -> None:
    url = write(tmp_path, "f%04d.jpg", range(2), lambda number: picture(number, kind="jpg"))
    shown = pixels(url, read_pictures(None, url, params()), params())
    for number, one in enumerate(shown):
        assert np.array_equal(one, decode((tmp_path / f"f{number:04d}.jpg").read_bytes(), "x", Limits()).pixels)


def test_opaque_alpha_is_no_reason_to_refuse_a_container_without(tmp_path: Path) -> None:
    opaque, clear = photo(0, 32, 32, 4), photo(1, 32, 32, 4)
    opaque[..., 3] = 255
    clear[..., 3] = 7
    spec = EncodeSpec(format="png")
    url = write(tmp_path, "f%d.png", range(2), lambda _: encode(opaque, ImageMeta(), spec, "x"))
    wanted = params(container="mp4", codec="auto")
    film = read_pictures(None, url, wanted).film
    assert (film.source.alpha, film.target.model, film.colour_tags) == (False, "yuv", (1, 1, 1, 1))
    assert (film.target.matrix, film.target.full_range) == ("bt709", False)
    (tmp_path / "f2.png").write_bytes(encode(clear, ImageMeta(), spec, "x"))
    assert refused(url, wanted).kind is ErrorKind.UNSUPPORTED


def test_numbers_without_a_picture_are_named(tmp_path: Path) -> None:
    url = write(tmp_path, "f%04d.png", [3, 4, 6, 10])
    error = refused(url)
    assert (error.kind, error.url) == (ErrorKind.MISSING, url)
    assert error.found == "4 of the numbers 3-10 have no picture: 5, 7-9"
    (tmp_path / "f999999999999.png").write_bytes(picture(1))  # one astray makes no endless list
    assert "11-999999999998" in refused(url).found


def test_a_sequence_without_pictures_is_missing_and_a_near_miss_is_told(tmp_path: Path) -> None:
    write(tmp_path, "f%04d.png", range(2))
    with pytest.raises(ItemError, match=r"^missing: .*try %04d$"):
        sequence.stat(f"{tmp_path}/f%d.png")
    assert refused(f"{tmp_path}/nowhere/f%d.png").kind is ErrorKind.MISSING


@pytest.mark.parametrize("folder_is_link", [False, True])
def test_links_out_of_the_folder_are_not_followed(tmp_path: Path, folder_is_link: bool) -> None:
    (tmp_path / "private.png").write_bytes(picture(0))
    (tmp_path / "framesx").mkdir()
    (tmp_path / "framesx" / "private.png").write_bytes(picture(0))
    url = write(tmp_path / "frames", "f%04d.png", [1, 2])
    if folder_is_link:
        (tmp_path / "link").symlink_to("frames")
        url = url.replace("/frames/", "/link/")
    third = tmp_path / "frames" / "f0003.png"
    for target in (tmp_path / "private.png", "../private.png", "../framesx/private.png", "/no/such/file"):
        third.symlink_to(target)
        with pytest.raises(ItemError) as caught:
            sequence.stat(url)
        for error in (refused(url), caught.value):
            assert (error.kind, error.url) == (ErrorKind.UNSAFE_PATH, url.replace("%04d", "0003"))
        third.unlink()
    third.symlink_to("f0001.png")
    assert read_pictures(None, url, params()).film.frames == 3


def test_an_error_of_the_disk_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = write(tmp_path / "frames", "f%04d.png", [1, 2])
    cut = read_pictures(None, url, params())

    def broken(*_: object) -> BinaryIO:
        raise OSError(errno.EIO, "x")

    monkeypatch.setattr("farm.storage.open_read", broken)
    for read in (
        lambda: read_pictures(None, url, params()),
        lambda: list(iter_pictures(None, url, cut.film, cut.spans[0], params())),
    ):
        with pytest.raises(ItemError) as caught:
            read()
        assert caught.value.kind is ErrorKind.STORAGE_ERROR


def test_the_first_picture_of_another_size_is_named(tmp_path: Path) -> None:
    url = write(tmp_path, "f%d.png", range(3))
    (tmp_path / "f1.png").write_bytes(encode(photo(1, 21, 12), ImageMeta(), EncodeSpec(format="png"), "x"))
    error = refused(url)
    assert (error.kind, error.url) == (ErrorKind.UNSUPPORTED, f"{tmp_path}/f1.png")
    assert "21 x 12" in error.found


@pytest.mark.parametrize("left", [0.6, 0.0])
def test_a_damaged_picture_is_named_or_concealed_when_that_is_allowed(tmp_path: Path, left: float) -> None:
    url = write(tmp_path, "f%d.png", range(5))
    for number in (0, 3):
        data = picture(number)
        (tmp_path / f"f{number}.png").write_bytes(data[: int(len(data) * left)])
    error = refused(url, params(container="sequence"))
    assert (error.kind, error.url) == (ErrorKind.TRUNCATED if left else ErrorKind.EMPTY_INPUT, f"{tmp_path}/f0.png")
    wanted = params(container="sequence", allow_damaged=True)
    cut = read_pictures(None, url, replace(wanted, video=replace(wanted.video or VIDEO, segment_frames=3)))
    frames = [frame for span in cut.spans for frame in iter_pictures(None, url, cut.film, span, wanted)]
    assert [frame.damaged for frame in frames] == [True, False, False, True, False]
    if not left:
        assert np.array_equal(pixels_of(frames[0].planes), photo(1, 20, 12))
        assert np.array_equal(pixels_of(frames[3].planes), photo(2, 20, 12))


def test_the_version_changes_with_any_picture_and_only_then(tmp_path: Path) -> None:
    url = write(tmp_path, "f%d.png", range(3))
    before = sequence.stat(url)
    (tmp_path / "notes.txt").write_text("no part of it")
    assert sequence.stat(url) == before
    assert before.bytes == sum(path.stat().st_size for path in tmp_path.glob("f*.png"))
    (tmp_path / "f1.png").write_bytes(picture(9))
    changed = sequence.stat(url)
    (tmp_path / "f3.png").write_bytes(picture(3))
    assert len({before.version, changed.version, sequence.stat(url).version}) == 3


def test_a_foreign_colour_profile_is_left_out_with_a_warning(tmp_path: Path) -> None:
    plain = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb")
    profiles = {name: plain.icc_transform(name, input_profile="srgb") for name in ("srgb", "p3")}
    for name, carrier in profiles.items():
        icc = carrier.get("icc-profile-data")
        data = encode(photo(0, 20, 12), ImageMeta(icc=icc), EncodeSpec(format="png"), "x")
        url = write(tmp_path / name, "f%d.png", range(1), lambda _, data=data: data)
        warning = read_pictures(None, url, params(container="sequence", codec="auto")).film.warning
        assert (warning is None) == (name == "srgb"), (name, warning)


FILES = (("ab", 7), ("cd", 8))


def test_the_index_says_what_pictures_do_not(tmp_path: Path) -> None:
    wanted = params(container="sequence", picture="jpg")
    film = replace(FILM, frames=2, sample_aspect=Fraction(4, 3), rotation=(0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30))
    index = json.loads(sequence_index(film, (5, 9), wanted, {"Model": "x"}, FILES))
    assert (
        index["names"] == ["frame00000000.jpg", "frame00000001.jpg"] == [frame_name(0, wanted), frame_name(1, wanted)]
    )
    assert (index["pts"], index["time_base"], index["rate"]) == ([5, 9], "1/25", "25/1")
    assert (index["width"], index["height"], index["sample_aspect"]) == (80, 120, "3/4")
    assert (index["sha256"], index["bytes"]) == (["ab", "cd"], [7, 8])
    assert sequence_index(film, (5, 9), wanted, None, FILES) == sequence_index(film, (5, 9), wanted, None, FILES)


@pytest.mark.parametrize("turn", ["ROTATE_90", "ROTATE_180", "ROTATE_270", "FLIP_LEFT_RIGHT", "FLIP_TOP_BOTTOM"])
def test_pictures_of_a_turned_film_are_upright(turn: str) -> None:
    one = 65536
    matrices = {
        "ROTATE_90": (0, -one, one, 0),  # Pillow turns counterclockwise: x' = y, y' = -x
        "ROTATE_180": (-one, 0, 0, -one),
        "ROTATE_270": (0, one, -one, 0),
        "FLIP_LEFT_RIGHT": (-one, 0, 0, one),
        "FLIP_TOP_BOTTOM": (one, 0, 0, -one),
    }
    a, b, c, d = matrices[turn]
    expected = Image.fromarray(photo(0, 20, 12)).transpose(Image.Transpose[turn])
    assert np.array_equal(turned(photo(0, 20, 12), (a, b, 0, c, d, 0, 0, 0, 1 << 30)), np.asarray(expected))


def test_transparent_frames_are_not_lost_in_jpeg(tmp_path: Path) -> None:
    url = write(tmp_path, "f%d.png", range(1), lambda number: picture(number, bands=4))
    wanted = params(container="sequence", picture="jpg", outscale=1.0)
    cut = read_pictures(None, url, wanted)
    frame = next(iter_pictures(None, url, cut.film, cut.spans[0], wanted))
    with pytest.raises(ItemError) as caught:
        encode_still(frame.planes, cut.film, wanted, url)
    assert caught.value.kind is ErrorKind.UNSUPPORTED


@pytest.mark.s3
def test_a_sequence_on_a_store_is_read_like_one_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = reach(require_s3(), monkeypatch).new_prefix()
    numbers = range(8, 13)
    for number in numbers:
        storage.publish(storage.join(root, f"50% é {number}.png"), picture(number), attempt="a")
    url = storage.join(root, "50% é %d.png")
    cut = read_pictures(None, url, params(segment_frames=2))
    shown = pixels(url, cut, params())
    assert all(np.array_equal(one, photo(number, 20, 12)) for one, number in zip(shown, numbers, strict=True))
    before = sequence.stat(url)
    storage.publish(storage.join(root, "50% é 9.png"), picture(1), attempt="b")
    assert sequence.stat(url).version != before.version
    storage.delete(storage.join(root, "50% é 10.png"))
    assert refused(url).kind is ErrorKind.MISSING
