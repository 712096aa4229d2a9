"""People look before they spend: real pairs of real pictures, and whatever is no picture said in its place."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import pyvips
from click.testing import CliRunner, Result
from PIL import Image

from farm.cli import main
from farm.errors import ErrorKind, ItemError, ManifestError, UsageError
from farm.kinds import MediaKind
from farm.manifest import Row
from farm.media.sheet import Cell, draw_sheet
from farm.preview import Preview, PreviewConfig, preview
from farm.preview.pairs import iter_pictures, spread
from farm.records import ManifestRow, RefusedRow
from farm.sample import DegradeOptions
from sr_kernel.degrade.crop import cut_crop
from sr_kernel.degrade.draw import draw_sample
from sr_kernel.degrade.picture import degrade_crop
from sr_kernel.degrade.recipe import RECIPES
from sr_kernel.degrade.recipe_toml import recipe_to_toml
from tests.outside import real_picture
from tests.pictures import bad_pictures, good_pictures, photo, png_of

RECIPE = replace(RECIPES["x4plus"], gt_size=96)
OPTIONS = DegradeOptions(recipe=recipe_to_toml(RECIPE), gt_px=96, lq_px=24, seed=5)
HOSTILE = "<img src=x onerror=alert(1)>&\"'\n\u202egnp.png"


class Reader(HTMLParser):
    """What a browser would make of the page: elements, attributes and text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def images(self) -> list[np.ndarray]:
        sources = [attributes["src"] or "" for tag, attributes in self.elements if tag == "img"]
        return [np.asarray(Image.open(io.BytesIO(b64decode(source.split("base64,")[1])))) for source in sources]


def shown(folder: Path, out: Path, options: DegradeOptions = OPTIONS, **more: object) -> tuple[Preview, Reader]:
    config = PreviewConfig(manifest=str(folder), options=options, recipe="x4plus", out=str(out), **more)  # pyright: ignore[reportArgumentType]
    made = preview(config)
    return made, Reader(Path(made.page).read_bytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures."""
    place = tmp_path / "in"
    place.mkdir()
    for number in range(5):
        (place / f"{number}.png").write_bytes(png_of(photo(number, 150, 120)))
    return place


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["preview", *map(str, args)])


# -- what is shown -------------------------------------------------------------------------------------------------


def test_the_page_shows_the_pairs_that_the_farm_would_make_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, per_image=2)
    made, page = shown(folder, tmp_path / "out", options, count=2)
    assert (made.pairs, made.failures) == (4, ())
    images = page.images()
    assert len(images) == 12
    for place, (name, seed, index) in enumerate([("0.png", 0, 0), ("0.png", 0, 1), ("2.png", 2, 0), ("2.png", 2, 1)]):
        drawn = draw_sample(RECIPE, 5, name, index)
        crop = cut_crop(photo(seed, 150, 120), drawn, 96)
        expected = (crop, *degrade_crop(crop, drawn, RECIPE))
        assert all(np.array_equal(a, b) for a, b in zip(images[3 * place : 3 * place + 3], expected, strict=True))


def test_the_sheet_shows_the_same_pixel_by_pixel(folder: Path, tmp_path: Path) -> None:
    made, page = shown(folder, tmp_path / "out", count=1)
    sheet = pyvips.Image.new_from_file(made.sheet).numpy()
    crop, sharp, low = page.images()
    row = np.full((96, 3 * 96 + 16, 3), 250, np.uint8)
    for place, picture in enumerate((crop, sharp, low.repeat(4, axis=0).repeat(4, axis=1))):
        row[:, place * 104 : place * 104 + 96] = picture
    tops = [y for y in range(sheet.shape[0] - 96) if np.array_equal(sheet[y : y + 96, 16:-16], row)]
    assert len(tops) == 1
    words = sheet[tops[0] + 96 :]
    assert (words < 100).any()


def test_what_was_drawn_is_said_in_words(folder: Path, tmp_path: Path) -> None:
    _, page = shown(folder, tmp_path / "out", count=5)
    assert "3.png, pair 0" in page.text
    assert (
        len(re.findall(r"1\. .*(?:blur|sinc filter) \d+ px, .*(?:resize|size kept).* noise .*JPEG \d+", page.text)) == 5
    )
    assert len(re.findall(r"2\. .*resize to \d\.\d\d x the target size", page.text)) == 5
    assert len(re.findall(r"End: .*resize to 1/4 \((?:area|bilinear|bicubic)\)", page.text)) == 5


def test_another_seed_shows_other_pairs_and_the_same_seed_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    pages = [shown(folder, tmp_path / f"out{n}", replace(OPTIONS, seed=seed))[0] for n, seed in enumerate((5, 5, 6))]
    data = [(Path(made.page).read_bytes(), Path(made.sheet).read_bytes()) for made in pages]
    assert data[0] == data[1]
    assert data[0] != data[2]


def test_without_the_sharpened_crop_two_pictures_are_shown(folder: Path, tmp_path: Path) -> None:
    _, page = shown(folder, tmp_path / "out", replace(OPTIONS, usm=False), count=1)
    assert len(page.images()) == 2
    assert "sharpened" not in page.text


def test_real_pictures_are_shown(tmp_path: Path) -> None:
    folder = real_picture("0030.jpg").parent
    made, page = shown(folder, tmp_path / "out", count=17)
    assert (made.pairs, made.failures) == (17, ())
    for rule in ("gray_expanded", "alpha_dropped", "depth_reduced", "cmyk_converted"):
        assert rule in page.text


# -- which are shown -----------------------------------------------------------------------------------------------


def rows_of(count: int) -> list[Row]:
    return [ManifestRow(index=n, source_url=f"/{n}.png", relative_path=f"{n}.png") for n in range(count)]


@pytest.mark.parametrize("rows", [0, 1, 5, 12, 13, 24, 25, 100, 4097])
def test_rows_are_spread_evenly_over_a_manifest_of_any_length(rows: int) -> None:
    chosen = [row.index for row in spread(iter(rows_of(rows)), 12)]
    assert len(chosen) == min(rows, 12)
    assert chosen == sorted(set(chosen))
    if rows > 12:
        gaps = np.diff([*chosen, rows])
        assert gaps.max() <= 3 * max(gaps.min(), 1)
        assert chosen[0] == 0


def test_films_are_no_pictures_and_refused_rows_are_shown() -> None:
    film = ManifestRow(index=0, source_url="/a.mp4", relative_path="a.mp4", kind=MediaKind.VIDEO)
    refused = RefusedRow(index=1, source="../x", error=ItemError(ErrorKind.UNSAFE_PATH, "../x", "leaves", "mend"))
    assert list(iter_pictures([film, refused])) == [refused]


def test_sheets_of_earlier_looks_are_no_pictures_of_the_folder(folder: Path) -> None:
    first, _ = shown(folder, folder / "sheet", count=100)
    second, _ = shown(folder, folder / "sheet", count=100)
    assert first == second
    assert first.pairs == 5


# -- what cannot be shown ------------------------------------------------------------------------------------------


def test_every_kind_of_picture_is_shown_or_says_why_not(tmp_path: Path) -> None:
    place = tmp_path / "in"
    place.mkdir()
    good, bad = list(good_pictures()), list(bad_pictures())
    for picture in (*good, *bad):
        (place / picture.name).write_bytes(picture.data)
    options = DegradeOptions(recipe=recipe_to_toml(replace(RECIPES["bicubic"], gt_size=64)), gt_px=64, lq_px=16)
    made, page = shown(place, tmp_path / "out", options, count=1000)
    assert made.pairs == len(good)
    assert len(made.failures) == len(bad)
    for picture in bad:
        assert any(picture.kind.value in message and picture.name in message for message in made.failures)
    assert all(message.partition(": ")[2] in page.text for message in made.failures)
    assert pyvips.Image.new_from_file(made.sheet).avg() > 0


def test_pictures_that_a_rule_leaves_out_say_the_rule(folder: Path, tmp_path: Path) -> None:
    (folder / "small.png").write_bytes(png_of(photo(1, 90, 120)))
    made, page = shown(folder, tmp_path / "out", replace(OPTIONS, small="skip"))
    assert made.pairs == 5
    assert "skipped by rule too_small: 90 x 120 is smaller than the crop of 96" in page.text


def test_hostile_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "in"
    place.mkdir()
    name = HOSTILE.replace("/", "")
    (place / name).write_bytes(png_of(photo(1, 120, 120)))
    (place / f"bad{name}").write_bytes(b"nothing")
    made, page = shown(place, tmp_path / "out")
    assert made.pairs + len(made.failures) >= 1
    tags = {tag for tag, _ in page.elements}
    assert tags <= {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "section", "div", "figure"} | {
        *("img", "figcaption", "ul", "li")
    }
    for tag, attributes in page.elements:
        assert not any(key.startswith("on") for key in attributes)
        assert tag != "img" or (attributes["src"] or "").startswith("data:image/webp;base64,")
        assert tag != "img" or attributes["alt"]
    assert "\u202e" not in Path(made.page).read_text(encoding="utf-8")


def test_the_page_is_whole_by_itself(folder: Path, tmp_path: Path) -> None:
    made, page = shown(folder, tmp_path / "out", count=1)
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", Path(made.page).read_text(encoding="utf-8"))
    assert text.startswith("<!DOCTYPE html>")
    assert ("meta", {"charset": "utf-8"}) in page.elements
    assert not re.search(r"https?:|//|<script|<link|url\(", text)


def test_names_that_are_markup_or_no_text_can_be_drawn() -> None:
    cells = [Cell(title="<b", lines=("&", "", "x" * 400)), Cell(title="", notice="<i>no</i> & \x01"), Cell(title="ü界")]
    sheet = pyvips.Image.new_from_buffer(draw_sheet("<&>", cells, picture_px=64, pictures=3, columns=2), "")
    assert sheet.width == 2 * (3 * 64 + 2 * 8) + 16 + 2 * 16
    assert sheet.bands == 3


# -- the command ---------------------------------------------------------------------------------------------------


def test_the_command_writes_both_and_names_them(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet"
    done = run(folder, "--recipe", "x2plus", "--gt-size", "96", "--count", "2", "--jpeg", "codec", "--out", out)
    assert done.exit_code == 0, done.output
    assert "4 pairs, 0 pictures without" in done.output
    assert done.stdout.splitlines() == [str(out / "preview.png"), str(out / "preview.html")]
    assert sorted(path.name for path in out.iterdir()) == ["preview.html", "preview.png"]


def test_by_default_the_sheet_lies_beside_what_a_run_would_make(folder: Path) -> None:
    assert run(folder, "--gt-size", "64", "--recipe", "bicubic", "--count", "1").exit_code == 0
    assert (folder / "farm-preview" / "preview.png").exists()


@pytest.mark.parametrize(("good", "code"), [(1, 0), (0, 3)])
def test_the_exit_code_says_whether_anything_could_be_shown(good: int, code: int, tmp_path: Path) -> None:
    place = tmp_path / "in"
    place.mkdir()
    (place / "a.png").write_bytes(b"nothing")
    for number in range(good):
        (place / f"b{number}.png").write_bytes(png_of(photo(1)))
    done = run(place, "--gt-size", "64", "--recipe", "bicubic")
    assert done.exit_code == code
    assert "not_an_image" in done.stderr
    assert (place / "farm-preview" / "preview.html").exists()


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--recipe", "x5"), 2, "x4plus, x2plus, bicubic, bsrgan, light"),
        (("--gt-size", "401"), 2, "no multiple of the scale 4"),
        (("--count", "0"), 2, "--count: 0 is below 1"),
        (("--count", "1000000"), 2, "too much for one sheet"),
        (("--per-image", "0"), 2, "--per-image: 0 is below 1"),
    ],
)
def test_wrong_flags_are_named(folder: Path, flags: tuple[str, ...], code: int, said: str) -> None:
    done = run(folder, *flags)
    assert done.exit_code == code
    assert said in done.stderr


def test_a_manifest_without_pictures_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    done = run(tmp_path)
    assert done.exit_code == ManifestError.exit_code
    assert "lists no picture" in done.stderr


def test_sheets_beyond_memory_are_refused() -> None:
    with pytest.raises(UsageError, match="too much for one sheet"):
        PreviewConfig(manifest="x", options=replace(OPTIONS, per_image=100_000), recipe="x4plus")
