"""The fused networks' planes, packing and order of layers: all but the program, for whose arithmetic torch stands in.

The program itself is run by a CPU in test_conv.py, and by a GPU in tests/gpu.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sr_kernel import backend
from sr_kernel.archs import ARCHS
from sr_kernel.backend import Backend, KernelError, fused_fault
from sr_kernel.fused import layer
from sr_kernel.fused.layer import FusedConv, FusedDoubling, Residual, geometry_of
from sr_kernel.fused.plane import STEP, Extent, Plane
from sr_kernel.fused.program import CHUNK
from sr_kernel.fused.rrdb import FusedRRDBNet
from sr_kernel.fused.srvgg import FusedSRVGG
from sr_kernel.models import ModelSpec
from sr_kernel.tiles import Box
from tests.networks import rrdb_spec, seeded_state, srvgg_spec

# Of 64 features and growth 32, which is what the kernels are made for.
SPECS = [srvgg_spec(scale, features=64, convs=3) for scale in (2, 4)]
SPECS += [rrdb_spec(scale, features=64, blocks=2, growth=32) for scale in (1, 2, 4)]
FP32 = torch.empty(0, dtype=torch.float32)


def by_torch(conv: FusedConv, x: Plane, out: Plane, extra: Plane, at: int, residual: Residual | None) -> None:
    """What the program computes, from the very weights it is given and the flat pixels it reads."""
    place = geometry_of(conv, x.extent, out, at, residual, 8)
    made = torch.zeros(x.data.shape[0], conv.out)
    for chunk, weights in enumerate(unswizzled(conv.weight)):
        data, first = (x.data, 0) if chunk == 0 else (extra.data, (chunk - 1) * CHUNK)
        steps = conv.source_steps if chunk == 0 else conv.extra_steps - (chunk - 1) * 4
        channels = min(CHUNK, steps * STEP)
        for row in range(conv.taps):
            for column in range(conv.taps):
                offset = (row + place.first_row) * x.extent.pitch + column + place.first_column
                pixels = data[:, first : first + channels].roll(-offset, dims=0)
                made += pixels @ weights[row, column, :, :channels].T
    images = Plane(data=made + conv.bias, extent=x.extent).images
    if residual is None:
        images = torch.where(images >= 0, images, images * conv.slope)
    else:
        part = slice(at, at + conv.out)
        images = residual.plane.images[..., part] + residual.alpha * images
        if residual.base is not None:
            images = residual.base.images[..., part] + residual.alpha * images
    row, column = conv.phase or (0, 0)
    out.images[:, row :: place.out_step, column :: place.out_step, at : at + conv.out] = images


def unswizzled(weight: Tensor) -> Tensor:
    """Packed weights as (chunk, row, column, out, 64)."""
    out = weight.shape[3]
    rows, segments = torch.arange(out)[:, None], torch.arange(8)[None]
    return weight.unflatten(4, (8, 8))[:, :, :, rows, segments ^ (rows % 8)].flatten(4)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_fused_networks_are_the_networks(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "launch", by_torch)
    state = seeded_state(spec)
    make = FusedSRVGG if spec.arch == "srvgg" else FusedRRDBNet
    fused = make(spec, state, FP32)
    plain = ARCHS[spec.arch].make(spec, state, FP32, trimmed=False)
    generator = torch.Generator().manual_seed(1)
    for count, height, width in ((1, 12, 20), (3, 8, 16), (2, 8, 16)):
        x = torch.rand(count, 3, height, width, generator=generator).contiguous(memory_format=torch.channels_last)
        for keep in (Box(x0=0, y0=0, x1=width, y1=height), Box(x0=4, y0=4, x1=12, y1=8)):
            with torch.inference_mode():
                torch.testing.assert_close(fused(x, keep), plain(x, keep), atol=2e-5, rtol=1e-4)


def test_a_trial_tells_kernels_that_work_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here none can: why is told. With torch in their place they are right, and any that is wrong is found."""
    cpu = torch.device("cpu")
    fused_fault.cache_clear()
    assert fused_fault(cpu) != ""

    def check(launch: object) -> str:
        fused_fault.cache_clear()
        monkeypatch.setattr(layer, "launch", launch)
        return fused_fault(cpu)

    assert check(by_torch) == ""

    def of_no_residual(conv: FusedConv, x: Plane, out: Plane, extra: Plane, at: int, residual: Residual | None) -> None:
        by_torch(conv, x, out, extra, at, residual and Residual(plane=residual.plane, alpha=residual.alpha))

    def of_no_border(conv: FusedConv, x: Plane, out: Plane, extra: Plane, at: int, residual: Residual | None) -> None:
        by_torch(conv, Plane(data=x.data.roll(1, dims=0), extent=x.extent), out, extra, at, residual)

    def of_nothing(*_: object) -> None:
        """A kernel that does not run."""

    def of_no_number(conv: FusedConv, x: Plane, out: Plane, extra: Plane, at: int, residual: Residual | None) -> None:
        by_torch(conv, x, out, extra, at, residual)
        out.images[1, -1, -1, -1] = float("nan")

    for wrong in (of_no_residual, of_no_border, of_nothing, of_no_number):
        assert check(wrong).startswith("a convolution is off by "), wrong

    def refuse(*_: object) -> None:
        raise RuntimeError("Failed to find C compiler.\nSet CC.")

    assert check(refuse) == "RuntimeError: Failed to find C compiler."
    fused_fault.cache_clear()


def test_a_network_is_not_made_in_kernels_that_do_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(backend, "fused_fault", lambda _: "RuntimeError: no C compiler")
    with pytest.raises(KernelError, match=r"do not work on cuda:0 \(RuntimeError: no C compiler\); use plain"):
        Backend(SPECS[0], seeded_state(SPECS[0]), "cuda:0", "fused")


def test_borders_of_planes_stay_zero() -> None:
    extent = Extent(count=2, height=3, width=5)
    plane = Plane.zeros(extent, 4, FP32)
    plane.images[:] = 1
    assert plane.data.sum() == 2 * 3 * 5 * 4
    rows = plane.data[:-1].view(9, 6, 4)  # a row of zeros above each image, one below the last
    assert not rows[:, 0].any()
    assert not rows[::4].any()


def test_a_plane_pads_as_a_convolution_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "launch", by_torch)
    weight, bias = torch.randn(64, 64, 3, 3), torch.randn(64)
    extent = Extent(count=3, height=4, width=6)
    x, out = (Plane.zeros(extent, 64, FP32) for _ in range(2))
    x.images[:] = torch.randn(x.images.shape)
    FusedConv(weight, bias, None)(x, out)
    expected: Tensor = F.conv2d(x.images.permute(0, 3, 1, 2), weight, bias, padding=1)
    torch.testing.assert_close(out.images.permute(0, 3, 1, 2), expected, atol=1e-4, rtol=1e-4)


def test_a_doubled_plane_is_convolved_without_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "launch", by_torch)
    weight, bias, slope = torch.randn(64, 64, 3, 3), torch.randn(64), torch.rand(64)
    x = Plane.zeros(Extent(count=3, height=4, width=6), 64, FP32)
    out = Plane.zeros(Extent(count=3, height=8, width=12), 64, FP32)
    x.images[:] = torch.randn(x.images.shape)
    FusedDoubling(weight, bias, slope)(x, out)
    doubled = F.interpolate(x.images.permute(0, 3, 1, 2), scale_factor=2, mode="nearest")
    expected = F.prelu(F.conv2d(doubled, weight, bias, padding=1), slope)
    torch.testing.assert_close(out.images.permute(0, 3, 1, 2), expected, atol=1e-3, rtol=1e-4)


def test_what_is_filled_has_no_remains_in_the_channels_that_are_read() -> None:
    plane = Plane.zeros(Extent(count=1, height=2, width=3), 64, FP32)
    plane.images[:] = float("nan")
    plane.fill(torch.ones(1, 2, 3, 3))
    assert plane.images[..., :3].eq(1).all()
    assert not plane.images[..., 3:16].any()


@pytest.mark.parametrize(("count", "height", "width"), [(1, 1080, 1920), (8, 292, 292), (1, 7, 5), (32, 64, 64)])
def test_shares_cover_all_rows_and_differ_by_none(count: int, height: int, width: int) -> None:
    extent = Extent(count=count, height=height, width=width)
    out = Plane(data=torch.empty(0, 64), extent=extent)
    place = geometry_of(FusedConv(torch.zeros(64, 64, 3, 3), torch.zeros(64), None), extent, out, 0, None, 264)
    assert place.blocks == -(-width // 64)
    assert place.lines == count * place.blocks * height
    assert (place.share - 1) * 264 < place.lines <= place.share * 264
