"""What a person looks at in the morning: true figures, real pictures, one page that can do no harm."""

from __future__ import annotations

import re
import time
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from click.testing import CliRunner, Result

from farm import storage
from farm.cli import main
from farm.errors import UsageError
from farm.ledger import Ledger, iter_results
from farm.records import LedgerEntry
from farm.report import MOST_SHOWN, Report, ReportConfig, report
from farm.report.account import COLUMNS, FIGURES, Account
from farm.report.embed import PAGE_BYTES, embedded
from farm.report.sample import Sample
from farm.report.shown import SIDE_PX, Pair, busiest
from farm.report.spread import Spread, Timeline
from farm.report.words import count, hours, pixels, share, size
from tests.chromium import Browser, opened_browser
from tests.farm.roots import decoded, entry, failed, film, note, published, put, write
from tests.pictures import photo, png_of
from tests.s3_server import require_s3
from tests.stores import reach
from tests.waiting import wait_for

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&\n\u202egnp"
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "section", "div", "h1", "h2", "p", "span"),
    *("dl", "dt", "dd", "small", "svg", "rect", "figure", "figcaption", "table", "tr", "th", "td", "br", "b", "ul"),
    *("li", "details", "summary", "img", "input", "footer", "script"),
}


class Page(HTMLParser):
    """What a browser makes of a page: elements, attributes and text."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(data.decode("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def pictures(self) -> list[np.ndarray]:
        return [decoded(b64decode((one["src"] or "").split("base64,")[1])) for one in self.of("img")]


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.s3)])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "file":
        return str(tmp_path / "out")
    return reach(require_s3(), monkeypatch).new_prefix()


@pytest.fixture
def here(tmp_path: Path) -> str:
    return str(tmp_path / "out")


def page_of(root: str, place: Path, **more: Any) -> tuple[Report, Page]:
    made = report(ReportConfig(run=root, page=str(place), **more))
    return made, Page(place.read_bytes())


def mixed(root: str) -> list[LedgerEntry]:
    """Three pictures, one of them suspect, a film, and two failures."""
    return [
        published(root, 0, "a/0.png"),
        published(root, 1, "a/1.png", suspect="stripes seam", stripes=0.5, seam=4.25),
        published(root, 2, "b/2.png"),
        film(root, 3),
        failed(root, 4),
        failed(root, 5, "missing"),
    ]


# -- figures -------------------------------------------------------------------------------------------------------


def test_the_page_says_what_the_ledger_says_on_a_disk_and_on_a_store(root: str, tmp_path: Path) -> None:
    write(root, mixed(root))
    note(root, 6, ended_unix=1_767_323_100.0, exit_code=3, done=4, failed=2)
    place = storage.join(root, "report.html")
    made = report(ReportConfig(run=root, page=place))
    page = Page(storage.read_bytes(place))
    assert (made.done, made.failed, made.suspect, made.shown, made.notices) == (4, 2, 1, 4, ())
    text = re.sub(r"\s+", " ", page.text)
    for said in ("done4", "failed2", "suspect1", "1 films, 4 frames", "inference2.0 s", "truncated1", "missing1"):
        assert said in text, said
    assert "2 done" not in text
    for stage, seconds in (("read the source", "0.5"), ("decode", "1.0"), ("infer", "2.0"), ("encode", "0.2")):
        assert f"{stage}{seconds} s" in text
    assert "finished" in text
    assert "4 rows, 4 frames in 1 min 00 s" in text


def test_a_run_at_work_and_an_older_ledger_have_a_report_too(here: str, tmp_path: Path) -> None:
    old = dict.fromkeys(("read_s", "decode_s", "wait_s", "encode_s", "write_s"))
    write(here, [entry(here, 0, **old), entry(here, 1)], compacted=False)
    made, page = page_of(here, tmp_path / "r.html", sample=0)
    assert (made.done, made.shown) == (2, 0)
    assert "Known of 1 of 2 rows" in page.text
    write(here, [entry(here, 0, **old), entry(here, 1, **old, run="20260103T000000Z-00000000")])
    assert "Where the time went" not in page_of(here, tmp_path / "r.html", sample=0)[1].text


def test_what_nobody_restored_is_an_empty_page(here: str, tmp_path: Path) -> None:
    write(here, [failed(here, 0)])
    made, page = page_of(here, tmp_path / "r.html", sheet=str(tmp_path / "s.png"))
    assert (made.done, made.failed, made.shown) == (0, 1, 0)
    assert not page.of("img")


def test_a_folder_without_a_ledger_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no output root"):
        report(ReportConfig(run=str(tmp_path)))


def test_a_hundred_thousand_rows_make_a_small_page_in_seconds(here: str, tmp_path: Path) -> None:
    rows = [published(here, row, f"{row}.png") for row in range(4)]
    rows += [entry(here, row, f"{row % 90}/{row}.png") for row in range(4, 1000)]
    tables = list(_tables(here, rows))
    account, sample = Account(), Sample(12, 0, FIGURES)
    began = time.monotonic()
    for number in range(100):
        for table in tables:
            account.add(table)
            sample.add(_renamed(table, number))
    assert time.monotonic() - began < 60
    assert account.done == 100_000
    assert len(sample.rows()) == 12
    made, page = page_of(here, tmp_path / "r.html")
    assert made.shown + len(made.notices) == 12
    assert len(page.data) < 2_000_000


def _tables(root: str, rows: list[LedgerEntry]) -> Iterator[Any]:
    write(root, rows)
    return iter_results(root, COLUMNS)


def _renamed(table: Any, number: int) -> Any:
    at = table.schema.names.index("output")
    outputs = [f"{number}/{name}" for name in table["output"].to_pylist()]
    return table.set_column(at, table.schema.field("output"), [outputs])


# -- which rows are shown ------------------------------------------------------------------------------------------


def drawn(root: str, most: int, seed: int = 0) -> list[str]:
    sample = Sample(most, seed, FIGURES)
    for table in iter_results(root, COLUMNS):
        sample.add(table)
    return [row.output.removeprefix(f"{root}/") for row in sample.rows()]


def test_suspect_ones_come_first_and_every_kind_has_its_turn(here: str) -> None:
    rows = [entry(here, row, f"many/{row}.png") for row in range(100)]
    rows += [
        entry(here, 100, "few/a.png"),
        entry(here, 101, "few/a.jpg"),
        entry(here, 102, "few/b.png", model="x4plus"),
    ]
    rows += [entry(here, 103, "many/large.png", source_px=10**8)]
    rows += [entry(here, row, f"many/{row}.png", suspect="off") for row in range(104, 107)]
    rows += [entry(here, 107, "few/frames.json"), failed(here, 108)]
    write(here, rows)
    names = drawn(here, 8)
    assert set(names[:3]) == {"many/104.png", "many/105.png", "many/106.png"}
    assert {"few/a.png", "few/a.jpg", "few/b.png", "many/large.png"} < set(names[3:])
    assert len([name for name in names[3:] if name.startswith("many/") and name != "many/large.png"]) == 1


def test_equal_seeds_show_equal_rows_whatever_the_order_and_other_seeds_others(here: str, tmp_path: Path) -> None:
    names = [f"{row}.png" for row in range(200)]
    other = str(tmp_path / "elsewhere")
    write(here, [entry(here, row, name) for row, name in enumerate(names)])
    write(other, [entry(here, row, name) for row, name in enumerate(reversed(names))])
    assert drawn(here, 10) == [name.removeprefix(f"{here}/") for name in drawn(other, 10)]
    assert drawn(here, 10) != drawn(here, 10, seed=1)


def test_many_suspects_leave_a_third_to_the_others(here: str) -> None:
    write(here, [entry(here, row, f"{row}.png", suspect="off" if row % 2 else "") for row in range(100)])
    odd = [int(name.partition(".")[0]) % 2 for name in drawn(here, 9)]
    assert odd == [1] * 6 + [0] * 3


def test_names_that_are_no_utf8_are_shown_by_their_own_file(here: str, tmp_path: Path) -> None:
    write(here, [published(here, 0, "\udcff.png")])
    made, page = page_of(here, tmp_path / "r.html")
    assert (made.shown, made.notices) == (1, ())
    assert "\\xdcff.png" in page.text


# -- pictures ------------------------------------------------------------------------------------------------------


def test_both_pictures_show_the_same_place(here: str, tmp_path: Path) -> None:
    write(here, [published(here, 0, "0.png")])
    _, page = page_of(here, tmp_path / "r.html", sheet=str(tmp_path / "s.png"))
    after, before = page.pictures()
    assert (before.shape, after.shape) == ((64, 64, 3), (256, 256, 3))
    shrunk = after.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(shrunk - before).mean() < 6, "the same pixels, but for what WebP changes"
    assert np.abs(np.roll(shrunk, 3, axis=1) - before).mean() > 15
    sheet = pyvips.Image.new_from_file(str(tmp_path / "s.png"))
    assert (sheet.bands, sheet.width) == (3, 2 * 288 + 8 + 32)


def test_a_film_shows_the_same_moment(here: str, tmp_path: Path) -> None:
    write(here, [film(here, 0)])
    made, page = page_of(here, tmp_path / "r.html")
    assert made.notices == ()
    after, before = page.pictures()
    assert before.shape == after.shape == (64, 64, 3)
    assert np.abs(after.astype(int) - before).mean() < 1
    assert "4 frames, flicker 1.00" in page.text
    assert "at 0.08 s" in page.text


def test_a_film_whose_changes_were_not_measured_has_no_score(here: str, tmp_path: Path) -> None:
    write(here, [film(here, 0, flicker=None)])
    text = page_of(here, tmp_path / "r.html")[1].text
    assert "4 frames" in text
    assert "flicker" not in text


def test_the_busiest_place_of_a_picture_is_found() -> None:
    calm = np.full((400, 600, 3), 90, np.uint8)
    calm[230:330, 420:520] = photo(1, 100, 100)
    x, y = busiest(calm, 120)
    assert 360 <= x <= 420
    assert 180 <= y <= 240
    assert busiest(calm[:50, :50], 50) == (0, 0)


@pytest.mark.parametrize("changed", ["source", "output", "no source", "no output"])
def test_what_is_not_as_it_was_says_so_instead_of_a_wrong_comparison(changed: str, here: str, tmp_path: Path) -> None:
    one = published(here, 0, "0.png")
    write(here, [one])
    place = one.source if "source" in changed else one.output
    if changed.startswith("no"):
        storage.delete(place)
    else:
        put(place, png_of(photo(9, 50, 50)))
    made, page = page_of(here, tmp_path / "r.html", sheet=str(tmp_path / "s.png"))
    assert made.shown == 0
    assert len(made.notices) == 1
    assert not page.of("img")
    assert {"source": "is another one", "output": "bytes, published were"}.get(changed, "missing") in page.text


def test_sizes_depths_and_alpha_of_all_kinds_are_shown(here: str, tmp_path: Path) -> None:
    kinds = {"gray.png": (1, 8), "alpha.png": (4, 8), "deep.png": (3, 16), "both.png": (2, 16)}
    rows = []
    for row, (name, (bands, depth)) in enumerate(kinds.items()):
        one = entry(here, row, name)
        picture = png_of(photo(row, 700, 30, bands, depth))
        put(one.source, picture)
        put(one.output, picture)
        rows.append(replace(one, width=700, height=30, bytes=len(picture), scale="0.25"))
    write(here, rows)
    made, page = page_of(here, tmp_path / "r.html")
    assert (made.shown, made.notices) == (4, ())
    assert {picture.shape for picture in page.pictures()} == {(30, 30, 3)}


def test_crops_keep_to_their_share_of_the_page() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    pair = Pair(before=noise[:120, :120], after=noise, place="")
    for pairs in (1, MOST_SHOWN):
        assert sum(map(len, embedded(pair, pairs))) * pairs <= PAGE_BYTES * 1.01


# -- harm ----------------------------------------------------------------------------------------------------------


def test_hostile_names_and_messages_are_text_and_nothing_else(here: str, tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "") + ".png"
    rows = [published(here, 0, name, suspect=HOSTILE, model=HOSTILE, worker=HOSTILE, node=HOSTILE, scale=HOSTILE)]
    rows += [failed(here, 1, HOSTILE, message=HOSTILE, source=HOSTILE), entry(here, 2, f"gone{name}")]
    write(here, [*rows, entry(here, 3, run=HOSTILE)])
    note(here, 4, manifest=HOSTILE, models=(HOSTILE,), run="20260109T000000Z-00000009", host=HOSTILE)
    made, page = page_of(here, tmp_path / "r.html", sheet=str(tmp_path / "s.png"))
    assert (made.shown, len(made.notices)) == (1, 2)
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    assert len(page.of("script")) == len(page.of("style")) == 1
    for tag, attributes in page.elements:
        assert not any(key.startswith("on") or key in ("href", "style") for key in attributes)
        assert tag != "img" or (attributes["src"] or "").startswith("data:image/webp;base64,")
    assert "\u202e" not in page.data.decode()
    assert page.text.count("<script>alert(1)") >= 6


def test_the_page_is_whole_by_itself_and_its_policy_names_what_it_holds(here: str, tmp_path: Path) -> None:
    write(here, [published(here, 0, "0.png")])
    _, page = page_of(here, tmp_path / "r.html")
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page.data.decode())
    assert text.startswith("<!DOCTYPE html>")
    assert not re.search(r"https?:|//|<link|url\(|@import", text)
    policies = [one["content"] or "" for one in page.of("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policies[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser() as opened:
        yield opened


def test_a_browser_shows_it_moves_its_sliders_and_asks_nobody(browser: Browser, here: str, tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "") + ".png"
    write(here, [*mixed(here), published(here, 6, name), failed(here, 7, message=HOSTILE), entry(here, 8, "x" * 200)])
    note(here, 9, ended_unix=1_767_323_100.0, exit_code=3)
    place = tmp_path / "r.html"
    page_of(here, place)
    papers = []
    for width, dark in ((1280, False), (390, True)):
        browser.open(place, width=width, dark=dark)
        assert browser.requests == [place.as_uri()]
        assert browser.complaints == []
        assert browser.value("document.documentElement.scrollWidth") <= width
        assert browser.value("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
        papers.append(browser.value("getComputedStyle(document.body).backgroundColor"))
    assert papers[0] != papers[1]
    cut = "getComputedStyle(document.querySelector('.view')).getPropertyValue('--cut')"
    assert browser.value(cut) == "50%"
    browser.value("document.querySelector('.view input').focus()")
    browser.press("ArrowRight", 39)
    assert browser.value(cut) == "51%"
    assert browser.value("getComputedStyle(document.querySelector('.before')).clipPath").startswith("inset(0px ")
    pixels = decoded(browser.picture())
    assert pixels.std() > 10


def test_a_slider_follows_a_finger_and_a_mouse_from_anywhere_on_the_picture(
    browser: Browser, here: str, tmp_path: Path
) -> None:
    write(here, [published(here, row, f"{row}.png") for row in range(12)])
    place = tmp_path / "r.html"
    page_of(here, place)
    browser.open(place, width=390)
    browser.value("document.querySelector('.view').scrollIntoView({block: 'center'})")
    box = browser.value("document.querySelector('.view').getBoundingClientRect().toJSON()")

    def at(share: float, down_px: float = 0) -> tuple[float, float]:
        return box["left"] + share * box["width"], box["top"] + box["height"] / 4 + down_px

    def cut() -> int:
        assert browser.complaints == []
        return int(browser.value("document.querySelector('.view').style.getPropertyValue('--cut')").rstrip("%"))

    browser.touch(at(0.2), at(0.3), at(0.5), at(0.8))
    assert cut() == pytest.approx(80, abs=1), "far from where the slider was"
    browser.touch(at(0.25))
    assert cut() == pytest.approx(25, abs=1), "a tap moves it too"
    scrolled = browser.value("scrollY")
    browser.touch(*[at(0.6, -down) for down in range(0, 90, 15)])
    wait_for(lambda: browser.value("scrollY") > scrolled, "the page scrolls under a finger that goes up", 10)
    assert cut() == pytest.approx(25, abs=1), "and the slider stays"
    browser.value("document.querySelector('.view').scrollIntoView({block: 'center'})")
    browser.drag(at(0.1), at(0.4), at(0.9))
    assert cut() == pytest.approx(90, abs=1)
    browser.press("ArrowLeft", 37)
    assert cut() == pytest.approx(89, abs=1), "whoever has touched it goes on by keys"


# -- the command ---------------------------------------------------------------------------------------------------


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["report", *map(str, args)])


def test_the_command_writes_page_and_sheet_and_names_them(here: str, tmp_path: Path) -> None:
    write(here, mixed(here))
    place, sheet = tmp_path / "p.html", tmp_path / "s.png"
    done = run(f"{here}/results.parquet", "-o", place, "--contact-sheet", sheet, "--sample", "3", "--seed", "1")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [str(place), str(sheet)]
    assert "4 done, 2 failed, 1 suspect; 3 shown" in done.stderr
    assert len(Page(place.read_bytes()).pictures()) == 6


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--sample", "101"), "--sample: 101 is not in 0..100"),
        (("--contact-sheet", "s.jpg"), "s.jpg is no .png file"),
        (("--sample", "0", "--contact-sheet", "s.png"), "contradicts --sample 0"),
    ],
)
def test_wrong_flags_are_named(here: str, flags: tuple[str, ...], said: str) -> None:
    done = run(here, *flags)
    assert done.exit_code == 2
    assert said in done.stderr


def test_nothing_of_the_run_is_changed(here: str, tmp_path: Path) -> None:
    write(here, mixed(here))
    before = {one.url: one for one in storage.list_files(here)}
    page_of(here, tmp_path / "r.html")
    assert {one.url: one for one in storage.list_files(here)} == before


def test_a_report_of_a_run_whose_shard_closes_meanwhile_is_read_anew(here: str, tmp_path: Path) -> None:
    write(here, [entry(here, 0)], compacted=False)
    with Ledger(here, "20260103T000000Z-00000001") as book:
        book.append(entry(here, 1))
        made, _ = page_of(here, tmp_path / "r.html", sample=0)
    assert made.done == 2


# -- arithmetic ----------------------------------------------------------------------------------------------------


def test_spreads_know_their_median_their_ends_and_their_bars() -> None:
    spread = Spread(0, 100)
    values = np.random.default_rng(1).normal(30, 3, 10_001)
    spread.add(np.append(values[:5000], np.nan))
    spread.add(values[5000:])
    assert spread.count == 10_001
    assert abs(spread.quantile(0.5) - np.median(values)) < 0.11
    assert spread.ends == (values.min(), values.max())
    bars = spread.bars(10, 55, 45)
    assert sum(bars) == 10_001
    assert abs(bars[20] - ((values >= 30) & (values < 31)).sum()) < 40
    assert np.isnan(Spread(0, 1).quantile(0.5))


def test_timelines_of_any_length_stay_short_and_lose_nothing() -> None:
    line = Timeline()
    times = np.linspace(1_700_000_000, 1_700_900_000, 50_000)
    for piece in np.array_split(times, 7):
        line.add(piece, np.ones(len(piece)))
    assert len(line.slots) <= 4096
    parts = line.parts(times[0], times[-1], 10)
    assert sum(parts) == 50_000
    assert min(parts) > 4900


def test_numbers_are_said_for_people() -> None:
    assert (count(1234567), pixels(3_950_000), pixels(2.5e10)) == ("1\u202f234\u202f567", "3.95 MP", "25.0 GP")
    assert (size(999), size(18_200_000), size(1.24e12)) == ("999 bytes", "18.2 MB", "1.24 TB")
    assert (hours(0.4), hours(7200), hours(723)) == ("0.4 s", "2.00 h", "12 min 03 s")
    assert (share(1, 1000), share(999, 1000), share(1, 8), share(0, 0)) == ("<1 %", ">99 %", "12 %", "0 %")
