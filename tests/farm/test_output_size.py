"""Pictures of any size: several passes equal several runs, sizes are exact, and no pass is paid for in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from torch import Tensor

from farm.errors import ErrorKind, ItemError
from farm.records import Part, PartKind, Split
from farm.tasks.chain import plan_chain, plan_cuts
from farm.tasks.upscale_image import UpscaleImage
from sr_kernel.archs.output import Output
from sr_kernel.archs.rrdb import RRDBNet
from sr_kernel.backend import Backend
from sr_kernel.tiles import Box

from ..seeded import save_rrdb, save_srvgg
from .items import PARAMS
from .picture_bench import PictureBench, Pixels, picture_bench, read_pixels, write_png

Make = Callable[..., PictureBench]
WEIGHTS: dict[str, Callable[[Path], Path]] = {
    "srvgg": lambda path: save_srvgg(path, features=8, convs=2),
    "srvgg-x2": lambda path: save_srvgg(path, features=8, convs=2, scale=2),
    "srvgg-x1": lambda path: save_srvgg(path, features=8, convs=2, scale=1),
    "rrdb": lambda path: save_rrdb(path, features=8, blocks=2, growth=4),
    "rrdb-x2": lambda path: save_rrdb(path, features=8, blocks=2, growth=4, scale=2),
    "rrdb-deep": lambda path: save_rrdb(path, features=4, blocks=7, growth=4),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    folder, benches = tmp_path_factory.mktemp("sizes"), dict[str, PictureBench]()
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("XDG_CACHE_HOME", str(folder / "cache"))

        def make(network: str = "srvgg", **changes: Any) -> PictureBench:
            if network not in benches:
                model = WEIGHTS[network](folder / f"{network}.pth")
                benches[network] = stack.enter_context(picture_bench(model, folder / f"out-{network}"))
            return benches[network].changed(**changes)

        yield make


def picture(width: int, height: int, bands: int, dtype: Any = np.uint8) -> Pixels:
    """Noise; with alpha, of which some is clear and some opaque."""
    top = np.iinfo(dtype).max
    pixels = np.random.default_rng([width, bands]).integers(0, top, (height, width, bands), dtype, endpoint=True)
    if bands in (2, 4):
        pixels[: height // 2, :, -1] = 0
        pixels[height * 3 // 4 :, : width // 2, -1] = top
    return pixels


@dataclass
class Work:
    """What goes through networks, pixels of windows and bodies."""

    passes: list[int] = field(default_factory=list[int])

    @property
    def px(self) -> int:
        return sum(self.passes)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    counted, output, body = Work(), Backend.output, RRDBNet.body

    def counting_output(self: Backend, x: Tensor, keep: Box, precision: str) -> Output:
        counted.passes.append(x.shape[0] * x.shape[2] * x.shape[3])
        return output(self, x, keep, precision)

    def counting_body(self: RRDBNet, x: Tensor) -> Tensor:
        counted.passes.append(x.shape[0] * x.shape[2] * x.shape[3])
        return body(self, x)

    monkeypatch.setattr(Backend, "output", counting_output)
    monkeypatch.setattr(RRDBNet, "body", counting_body)
    return counted


LAYOUTS = [(1, np.uint8), (2, np.uint8), (3, np.uint8), (4, np.uint8), (1, np.uint16), (3, np.uint16), (4, np.uint16)]
HOW: dict[str, tuple[str, int, dict[str, Any]]] = {
    "windows": ("srvgg", 2, {"tile_px": 16}),
    "windows in bands": ("srvgg", 2, {"tile_px": 16, "band_px": 900}),
    "four passes of x2 in bands": ("srvgg-x2", 4, {"tile_px": 16, "band_px": 900}),
    "bodies run whole": ("rrdb", 2, {"tile_px": 16}),
    "a body, then windows in bands": ("rrdb", 2, {"tile_px": 16, "exact_px": 600, "band_px": 400}),
    "a body, then bounded bands": ("rrdb-deep", 2, {"tile_px": 16, "exact_px": 600, "band_px": 400}),
    "x2 with odd sides": ("rrdb-x2", 4, {"tile_px": 16, "exact_px": 600, "band_px": 900}),
    "alpha by Lanczos": ("srvgg", 2, {"tile_px": 16, "band_px": 900, "alpha": "lanczos"}),
}


@pytest.mark.parametrize(("bands", "dtype"), LAYOUTS)
@pytest.mark.parametrize("how", HOW)
def test_sixteen_times_is_what_repeated_runs_make(
    bench: Make, tmp_path: Path, how: str, bands: int, dtype: Any
) -> None:
    network, runs, changes = HOW[how]
    made = bench(network, **changes)
    source = write_png(tmp_path / "a.png", picture(9, 61, bands, dtype))
    step = source
    for _ in range(runs):
        step = made.run(step)
    repeated, at_once = read_pixels(step), read_pixels(made.run(source, outscale=16.0))
    assert at_once.shape == (61 * 16, 9 * 16, bands)
    assert at_once.dtype == dtype
    assert np.array_equal(repeated, at_once)


def test_the_cases_above_are_cut_where_they_say_so(bench: Make, tmp_path: Path) -> None:
    source = write_png(tmp_path / "a.png", picture(9, 61, 3))
    for network, _, changes in HOW.values():
        made = bench(network, **changes)
        item = made.item(source, outscale=16.0)
        answer = UpscaleImage(made.station).run(Part(item=item, kind=PartKind.PICTURE), None)
        assert isinstance(answer, Split) == ("band_px" in changes), changes


@pytest.mark.parametrize("layout", [(3, np.uint8), (4, np.uint16)])
@pytest.mark.parametrize("outscale", [4.5, 6.0, 11.3])
@pytest.mark.parametrize("network", ["srvgg", "srvgg-x2", "rrdb"])
def test_neither_tiles_nor_bands_change_a_pixel(
    bench: Make, tmp_path: Path, network: str, outscale: float, layout: tuple[int, Any]
) -> None:
    source = write_png(tmp_path / "a.png", picture(61, 83, *layout))
    found = [
        read_pixels(bench(network, tile_px=tile_px, band_px=band_px, light="linear").run(source, outscale=outscale))
        for tile_px, band_px in ((64, 1 << 22), (256, 1 << 22), (24, 3000))
    ]
    assert found[0].shape[:2] == (int(83 * outscale), int(61 * outscale))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


@pytest.mark.parametrize("network", ["srvgg", "srvgg-x2", "srvgg-x1", "rrdb"])
def test_every_scale_gives_its_exact_size(bench: Make, tmp_path: Path, network: str) -> None:
    made = bench(network)
    for width, height in ((7, 5), (1, 3), (13, 1)):
        source = write_png(tmp_path / f"{width}.png", picture(width, height, 3))
        for outscale in (0.25, 0.3, 0.99, 1.0, 1.7, 2.0, 3.0, 3.99, 4.0, 4.01, 5.5, 8.0, 11.11, 15.99, 16.0):
            done = made.finish(made.item(source, outscale=outscale))
            expected = (max(1, int(width * outscale)), max(1, int(height * outscale)))
            assert (done.width, done.height) == expected
            assert read_pixels(done.url).shape[1::-1] == expected


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ({"size": (100, 80)}, (93, 80)),
        ({"size": (100, 80), "fit": "cover"}, (100, 86)),
        ({"size": (100, 80), "fit": "stretch"}, (100, 80)),
        ({"size": (5, 200)}, (5, 4)),
        ({"size": (300, 5), "fit": "stretch"}, (300, 5)),
        ({"size": (7, 6)}, (7, 6)),
        ({"outscale": 16.0, "max_side": 50}, (50, 43)),
        ({"max_side": 20}, (20, 17)),
        ({"max_side": 28}, (28, 24)),
        ({"size": (1000, 1000), "max_side": 99}, (99, 85)),
    ],
)
def test_sizes_are_met_as_asked(bench: Make, tmp_path: Path, asked: dict[str, Any], made: tuple[int, int]) -> None:
    source = write_png(tmp_path / "a.png", picture(7, 6, 4))
    done = bench().finish(bench().item(source, **asked))
    assert (done.width, done.height) == made
    assert read_pixels(done.url).shape == (made[1], made[0], 4)


@pytest.mark.parametrize("network", ["srvgg", "rrdb"])
def test_a_target_pays_for_the_passes_it_needs_and_no_more(
    bench: Make, tmp_path: Path, work: Work, network: str
) -> None:
    made, source_px = bench(network), 40 * 30
    source = write_png(tmp_path / "a.png", picture(40, 30, 3))
    paid: dict[float, float] = {}
    for outscale in (0.5, 2.0, 3.0, 4.0, 6.0, 16.0):
        work.passes.clear()
        made.run(source, outscale=outscale)
        paid[outscale] = work.px / source_px
    assert paid == {0.5: 1, 2: 1, 3: 1, 4: 1, 6: 1 + 2.25, 16: 1 + 16}


def test_upstreams_resampling_enlarges_one_pass_as_upstream_does(bench: Make, tmp_path: Path, work: Work) -> None:
    made = bench()
    source = write_png(tmp_path / "a.png", picture(20, 10, 3))
    output = made.run(source, outscale=8.0, resize="official")
    assert work.passes == [200]
    assert read_pixels(output).shape == (80, 160, 3)


@pytest.mark.parametrize("bands", [2, 4])
def test_light_is_for_colours_and_alpha_is_none(bench: Make, tmp_path: Path, bands: int) -> None:
    pixels = picture(40, 30, bands)
    source = write_png(tmp_path / "a.png", pixels)
    gamma, linear = (read_pixels(bench().run(source, outscale=2.0, light=light)) for light in ("gamma", "linear"))
    assert np.array_equal(gamma[:, :, -1], linear[:, :, -1])
    assert not np.array_equal(gamma[:, :, :-1], linear[:, :, :-1])


def test_a_target_that_is_too_large_is_refused_before_decoding(bench: Make, tmp_path: Path) -> None:
    source = write_png(tmp_path / "a.png", picture(40, 30, 3))
    made = bench()
    with pytest.raises(ItemError, match=r"40 x 30 for --size 200000x200000 makes 200000 x 150000") as refused:
        made.run(source, size=(200_000, 200_000))
    assert refused.value.kind is ErrorKind.TOO_LARGE
    assert "--max-side" in refused.value.advice


def test_what_is_made_says_what_size_was_asked_for(bench: Make, tmp_path: Path) -> None:
    source = write_png(tmp_path / "a.png", picture(10, 5, 3))
    output = bench().run(source, size=(50, 50), fit="cover", light="linear")
    assert output.name == "a_50x50.png"
    for said in ('farm:Scale="50x50"', 'farm:Fit="cover"', 'farm:Light="linear"'):
        assert said in xmp_of(output)
    plain = xmp_of(bench().run(source))
    assert 'farm:Scale="4"' in plain
    assert "farm:Fit" not in plain


def xmp_of(path: Path) -> str:
    return pyvips.Image.new_from_file(str(path)).get("xmp-data").decode()


def test_bands_repeat_whole_bodies_for_a_quarter_of_the_work_at_most() -> None:
    params, side = replace(PARAMS, whole_body=True, passes=2, outscale=16.0), 2000
    plans = plan_chain(params, side, side)
    cuts = plan_cuts(plans, params.band_px)
    assert 1 < len(cuts) <= 4
    windows = plan_cuts(plan_chain(replace(params, whole_body=False), side, side), params.band_px)
    assert len(windows) > 20
    assert not plan_cuts(plan_chain(params, 500, 500), params.band_px)
