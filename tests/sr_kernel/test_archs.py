"""The networks give what the reference implementation gives, on any part of a window."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sr_kernel.archs import ARCHS
from sr_kernel.archs.layer import Conv, to_input
from sr_kernel.archs.output import PartwiseOutput, WholeOutput
from sr_kernel.archs.rrdb import RRDBNet
from sr_kernel.archs.srvgg import PReLU, SRVGGNetCompact
from sr_kernel.archs.streamed import StreamedConv
from sr_kernel.backend import DTYPES
from sr_kernel.models import MODELS, ModelSpec
from sr_kernel.tiles import Box
from tests.basicsr_reference import reference_network
from tests.networks import rrdb_spec, seeded_state, srvgg_spec
from tests.precision import HALF, PRECISIONS, Precision

NETWORKS = {
    "rrdb x4": rrdb_spec(4),
    "rrdb x2": rrdb_spec(2),
    "rrdb x1": rrdb_spec(1),
    "rrdb x4 of official width": rrdb_spec(4, features=64, blocks=1, growth=32),
    "srvgg x4": srvgg_spec(4),
    "srvgg x3": srvgg_spec(3),
    "srvgg x2": srvgg_spec(2),
    "srvgg x1": srvgg_spec(1),
    "srvgg as animevideov3": MODELS["animevideov3"],
}


def window(width: int, height: int, count: int = 1) -> Tensor:
    samples = torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(width * height))
    return samples.permute(0, 3, 1, 2)


def run(spec: ModelSpec, x: Tensor, keep: Box, *, trimmed: bool = True, dtype: torch.dtype = torch.float32) -> Tensor:
    like = torch.empty(0, dtype=dtype)
    with torch.inference_mode():
        return ARCHS[spec.arch].make(spec, seeded_state(spec), like, trimmed=trimmed)(x, keep)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Threads of torch while the test runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("into", "out"), [(3, 64), (64, 64), (64, 48), (96, 32), (192, 64), (24, 8)])
def test_a_convolution_gives_the_same_bits_in_any_window(
    into: int, out: int, precision: Precision, threads: int
) -> None:
    """From one pixel up: torch must not choose another kernel for small windows."""
    dtype, generator = DTYPES[precision], torch.Generator().manual_seed(into)
    weight = torch.randn(out, into, 3, 3, generator=generator).to(dtype, memory_format=torch.channels_last)
    conv = Conv(weight * 0.1, torch.randn(out, generator=generator).to(dtype))
    picture = torch.randn(1, into, 80, 90, generator=generator).to(dtype, memory_format=torch.channels_last)
    for height in (1, 2, 3, 7, 16, 33, 64):
        for width in (1, 2, 3, 5, 8, 17, 31, 64):
            alone = torch.zeros_like(picture)
            alone[..., 8 : 8 + height, 8 : 8 + width] = picture[..., 8 : 8 + height, 8 : 8 + width]
            window = alone[..., 8 : 8 + height, 8 : 8 + width].contiguous(memory_format=torch.channels_last)
            assert torch.equal(conv(window), conv(alone)[..., 8 : 8 + height, 8 : 8 + width]), (height, width)


@pytest.mark.parametrize("spec", NETWORKS.values(), ids=NETWORKS.keys())
def test_network_equals_basicsr(spec: ModelSpec) -> None:
    reference = reference_network(spec, seeded_state(spec))
    x = window(36, 24, count=2)
    with torch.inference_mode():
        expected = reference(x)
    made = run(spec, x, Box(x0=0, y0=0, x1=36, y1=24)).permute(0, 3, 1, 2)
    assert made.shape == expected.shape
    assert expected.std() > 0.02, "a network that says nothing proves nothing"
    torch.testing.assert_close(made, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("spec", [rrdb_spec(4), rrdb_spec(2), srvgg_spec(4)], ids=lambda spec: spec.name)
def test_trimming_the_halo_changes_no_bit(spec: ModelSpec, precision: Precision, threads: int) -> None:
    x = window(76, 64)
    for keep in (Box(x0=36, y0=30, x1=40, y1=34), Box(x0=0, y0=50, x1=12, y1=64), Box(x0=0, y0=0, x1=76, y1=64)):
        assert torch.equal(
            run(spec, x, keep, dtype=DTYPES[precision], trimmed=True),
            run(spec, x, keep, dtype=DTYPES[precision], trimmed=False),
        )


@pytest.mark.parametrize("spec", [rrdb_spec(4), rrdb_spec(2, blocks=1), srvgg_spec(4, convs=8)], ids=lambda s: s.name)
def test_nothing_beyond_the_context_radius_has_influence(spec: ModelSpec) -> None:
    radius, align = spec.halo_px, spec.align_px
    x = window(2 * radius + 3 * align, 4 * align)
    keep = Box(x0=radius + align, y0=align, x1=radius + 2 * align, y1=2 * align)
    base = run(spec, x, keep, trimmed=False)
    beyond, on_it = x.clone(), x.clone()
    beyond[..., :align] = 50.0
    on_it[..., align : 2 * align] = 50.0
    assert torch.equal(run(spec, beyond, keep, trimmed=False), base)
    if spec.arch == "srvgg":  # in RRDB the influence on the radius itself is below fp32: 0.2 for every nested residual
        assert not torch.equal(run(spec, on_it, keep, trimmed=False), base)


def test_half_precision_takes_in_every_level_exactly() -> None:
    levels = torch.arange(256) / 255
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(to_input(levels, dtype).double() * 256, torch.arange(256).double())


def test_tail_in_bands_equals_the_whole_tail() -> None:
    spec = rrdb_spec(2)
    network = RRDBNet(spec, seeded_state(spec), torch.empty(0, dtype=DTYPES[HALF]), trimmed=True)
    whole = Box(x0=0, y0=0, x1=40, y1=64)
    with torch.inference_mode():
        features = network.body(window(40, 64))
        full = network.tail(features, whole, whole)
        bands = [network.tail(features, whole, Box(x0=0, y0=y, x1=40, y1=y + 8)) for y in range(0, 64, 8)]
    assert torch.equal(torch.cat(bands, dim=1), full)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("width", "height"), [(37, 29), (1, 1), (1, 9), (6, 1)])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_parts_of_an_output_are_those_of_the_whole_however_often_they_are_asked_for(
    scale: int, width: int, height: int, precision: Precision
) -> None:
    spec, count = srvgg_spec(scale), 2
    network = SRVGGNetCompact(spec, seeded_state(spec), torch.empty(0, dtype=DTYPES[precision]), trimmed=True)
    x, keep = window(width, height, count), Box(x0=0, y0=0, x1=width, y1=height)
    with torch.inference_mode():
        whole = WholeOutput(network(x, keep), scale)
        output = network.output(x, keep)
        for _ in range(2):
            for index in range(count):
                for y0 in range(0, height, 4):
                    part = Box(x0=width // 3, y0=y0, x1=width, y1=min(y0 + 4, height))
                    made = output.part(index, part)
                    assert torch.equal(made, whole.part(index, part))
                    made.zero_()  # the caller's own
        assert torch.equal(output.whole(), whole.whole())


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_output_is_the_shuffled_residual_plus_the_nearest_source_rounded_once(
    scale: int, precision: Precision, threads: int
) -> None:
    """Of any size, also next to nothing, infinite and NaN."""
    spec, dtype = srvgg_spec(scale), DTYPES[precision]
    like = torch.empty(0, dtype=dtype)
    network = SRVGGNetCompact(spec, seeded_state(spec), like, trimmed=True)
    chance = torch.Generator().manual_seed(scale)
    spread = torch.pow(2.0, torch.randint(-24, 8, (2, 3 * scale**2, 9, 33), generator=chance))
    residual = (torch.randn(spread.shape, generator=chance) * spread).to(dtype)
    residual[0, 0, 0, :3] = torch.tensor([torch.inf, torch.nan, -0.0])
    x = torch.randint(0, 65536, (2, 3, 9, 33), generator=chance) / torch.tensor(65535.0)
    residual, x = (one.contiguous(memory_format=torch.channels_last) for one in (residual, x))
    made = PartwiseOutput(residual, x, network._enlarge).whole()  # pyright: ignore[reportPrivateUsage]
    for dy in range(scale):
        for dx in range(scale):
            first = (dy * scale + dx) * 3
            expected = residual[:, first : first + 3].float() + x
            found = made[:, dy::scale, dx::scale].permute(0, 3, 1, 2)
            torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def test_slopes_of_a_narrow_window_are_those_of_a_wide_one_before_it() -> None:
    prelu = PReLU(torch.linspace(-1, 1, 40).to(torch.bfloat16))
    for width in (5, 64, 7):
        x = torch.randn(1, 40, 3, width).to(torch.bfloat16, memory_format=torch.channels_last)
        assert torch.equal(prelu(x), torch.prelu(x, prelu.slope))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 33)], ids=str)
@pytest.mark.parametrize("channels", [5, 40, 48, 64])
def test_slopes_spelt_out_along_rows_give_the_same_bits(
    channels: int, size: tuple[int, int], precision: Precision, threads: int
) -> None:
    generator = torch.Generator().manual_seed(channels)
    x = torch.randn(2, channels, *size, generator=generator).to(DTYPES[precision], memory_format=torch.channels_last)
    slope = torch.randn(channels, generator=generator).to(DTYPES[precision])
    made = PReLU(slope)(x)
    assert torch.equal(made, torch.prelu(x, slope))
    assert made.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("rows", [2, 3, 5, 23, 24])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_convolution_fed_in_bands_equals_the_whole_one(precision: Precision, rows: int, threads: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    dtype = DTYPES[precision]
    weight = torch.randn(24, 16, 3, 3, generator=generator).to(dtype, memory_format=torch.channels_last)
    conv = Conv(weight * 0.1, torch.randn(24, generator=generator).to(dtype))
    x = torch.randn(2, 16, 24, 31, generator=generator).to(dtype, memory_format=torch.channels_last)
    streamed = StreamedConv(conv)

    def fed(top: int) -> Tensor:
        band = x[:, :, top : top + rows]
        return streamed(x, (band.shape[2], 31), lambda into: into.copy_(band), last=top + rows >= 24)

    bands = [fed(top) for top in range(0, 24, rows)]
    assert torch.equal(torch.cat(bands, dim=2), conv(x))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 2), (5, 3), (40, 7)], ids=str)
@pytest.mark.parametrize("count", [1, 3])
def test_tails_of_small_and_of_several_pictures_are_the_same_in_bands(
    count: int, size: tuple[int, int], precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = rrdb_spec(4)
    network = RRDBNet(spec, seeded_state(spec), torch.empty(0, dtype=DTYPES[precision]), trimmed=True)
    with torch.inference_mode():
        features = network.body(window(*size, count))
        whole = network._enlarged(features)  # pyright: ignore[reportPrivateUsage]
        for px in (1, 4 * size[0]):
            monkeypatch.setattr("sr_kernel.archs.rrdb._STREAMED_PX", px)
            assert torch.equal(network._streamed(features), whole)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_tail_fed_in_bands_equals_the_whole_one(
    precision: Precision, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = rrdb_spec(2)
    network = RRDBNet(spec, seeded_state(spec), torch.empty(0, dtype=DTYPES[precision]), trimmed=True)
    area, keep = Box(x0=0, y0=0, x1=40, y1=66), Box(x0=4, y0=7, x1=33, y1=60)
    with torch.inference_mode():
        features = network.body(window(40, 66))
        whole = network._enlarged(features)  # pyright: ignore[reportPrivateUsage]
        made = set[bytes]()
        for px in (1, 60, 20 * 7, 20 * 33):
            monkeypatch.setattr("sr_kernel.archs.rrdb._STREAMED_PX", px)
            assert torch.equal(network._streamed(features), whole)  # pyright: ignore[reportPrivateUsage]
            made.add(network.tail(features, area, keep).numpy().tobytes())
    assert len(made) == 1
