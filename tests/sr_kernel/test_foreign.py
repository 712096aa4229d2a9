"""Networks written elsewhere give here what spandrel's own call gives; what does not restore pictures is refused."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from sr_kernel.archs import foreign
from sr_kernel.models import ModelSpec, flop_per_px
from sr_kernel.tiles import Box, Mode
from sr_kernel.upscale import Settings, Upscaler
from sr_kernel.weights import WeightsError, describe_file, load_state
from tests.foreign_networks import REFUSED, SAMPLES, Sample, reference, sample
from tests.networks import plan_of, random_picture
from tests.outside import real_picture

FULL = Settings(precision="fp32")
Picture = NDArray[np.uint8]
NAMED = ("ESRGAN-plus", "SPAN", "SwinIR-light", "DAT-light", "HAT", "OmniSR", "UpCunet2x", "SCUNet")
"""what stands for all in the tests that take long; FARM_TEST_LONG=1 takes all there"""
SOME = SAMPLES if os.environ.get("FARM_TEST_LONG") else tuple(one for one in SAMPLES if one.id in NAMED)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in a worker; several threads on shared cores only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def loaded(folder: Path, one: Sample) -> Upscaler:
    path = one.save(folder)
    return Upscaler.load(describe_file(path), path)


def restored(upscaler: Upscaler, picture: Picture, **changes: object) -> Picture:
    height, width = picture.shape[:2]
    made = upscaler.restore(picture, plan_of(upscaler.spec, width, height, **changes), FULL)  # type: ignore[arg-type]
    assert made.finite
    return made.pixels.astype(np.uint8)


def by_spandrel(one: Sample, picture: Picture) -> Picture:
    x = torch.from_numpy(picture.astype(np.float32)).div_(255).permute(2, 0, 1)[None]
    return reference(one.state(), x).mul(255).round().numpy().astype(np.uint8)


def soft_picture(width: int, height: int) -> Picture:
    """Neither noise nor flat, without a file."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (5 + 2 * c)) * np.cos(y / (7 + c)) + np.sin((x + y) / 19) for c in range(3)]
    return (127 + 60 * np.stack(waves, axis=2)).astype(np.uint8)


def saved(folder: Path, content: object, name: str = "other.pth") -> Path:
    path = folder / name
    torch.save(content, path)
    return path


# -- what spandrel's own call gives ------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", SAMPLES, ids=lambda one: one.id)
def test_every_architecture_gives_what_spandrels_own_call_gives(tmp_path: Path, one: Sample) -> None:
    upscaler = loaded(tmp_path, one)
    spec = upscaler.spec
    assert (spec.arch, spec.network, spec.scale, spec.name) == ("foreign", one.network, one.scale, "file:net")
    width, height = (
        (66, 57) if spec.align_px <= 32 else (200, 180)
    )  # no mirror of a mirror, which spandrel does not make
    picture = random_picture(width, height).astype(np.uint8)
    made, expected = restored(upscaler, picture), by_spandrel(one, picture)
    assert made.shape == (height * one.scale, width * one.scale, 3)
    assert expected.std() > 0.1
    # SPAN's convolutions are computed by one kernel whatever their size, spandrel's by that which torch chooses.
    off = np.abs(made.astype(int) - expected)
    assert off.max() <= (1 if one.network == "SPAN" else 0)
    assert np.count_nonzero(off) <= off.size // 10_000


@pytest.mark.parametrize("one", SOME, ids=lambda one: one.id)
def test_the_smallest_pictures_are_extended_to_what_the_network_needs(tmp_path: Path, one: Sample) -> None:
    upscaler = loaded(tmp_path, one)
    for width, height in ((1, 1), (5, 7), (17, 40)):
        made = restored(upscaler, random_picture(width, height).astype(np.uint8))
        assert made.shape == (height * one.scale, width * one.scale, 3)


@pytest.mark.parametrize("name", ["SwinIR-light", "HAT", "DAT-light", "UpCunet2x", "SPAN", "Swin2SR", "SeemoRe"])
def test_a_picture_below_the_minimum_is_extended_as_spandrel_does(tmp_path: Path, name: str) -> None:
    one = sample(name)
    picture = random_picture(9, 30).astype(np.uint8)
    off = np.abs(restored(loaded(tmp_path, one), picture).astype(int) - by_spandrel(one, picture))
    assert off.max() <= (1 if name == "SPAN" else 0)


def test_a_real_picture_comes_out_as_by_spandrel(tmp_path: Path) -> None:
    import pyvips

    whole = pyvips.Image.new_from_file(str(real_picture("0030.jpg"))).numpy()
    picture = np.ascontiguousarray(whole[40:120, 60:170, :3])
    for name in ("SwinIR-light", "OmniSR", "RealPLKSR"):
        one = sample(name)
        assert np.array_equal(restored(loaded(tmp_path, one), picture), by_spandrel(one, picture))


def test_safetensors_and_the_wrappers_of_trainers_are_read(tmp_path: Path) -> None:
    one = sample("SwinIR-light")
    state = one.state()
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, tmp_path / "net.safetensors")
    expected = describe_file(tmp_path / "net.safetensors")
    wrapped: tuple[object, ...] = (
        {"params": state},
        {"params_ema": state, "params": {}},
        {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 3},
        {"model_state_dict": state, "optimizer": {"lr": 1e-4}},
    )
    same = ("network", "scale", "params", "flop_px", "origin_px")
    for content in wrapped:
        found = describe_file(saved(tmp_path, content))
        assert [getattr(found, name) for name in same] == [getattr(expected, name) for name in same]


def test_a_mark_that_is_no_tensor_says_what_no_shape_does(tmp_path: Path) -> None:
    state: dict[str, object] = {**sample("UpCunet2x").state(), "pro": "a word"}
    assert describe_file(saved(tmp_path, state)).network == "RealCUGAN"


# -- windows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SPAN", "SPAN-no-norm"])
def test_tiles_of_convolutions_alone_are_exact(tmp_path: Path, name: str) -> None:
    upscaler = loaded(tmp_path, sample(name))
    picture = random_picture(150, 131).astype(np.uint8)
    whole = restored(upscaler, picture)
    for tile_px, threads, batch in ((16, 1, 1), (16, 2, 3), (40, 1, 2), (64, 2, 1)):
        torch.set_num_threads(threads)
        plan = plan_of(upscaler.spec, 150, 131, tile_px=tile_px)
        assert plan.mode is Mode.EXACT
        assert len(plan.tiles) > 1
        made = upscaler.restore(picture, plan, Settings(precision="fp32", batch=batch))
        assert np.array_equal(made.pixels, whole)


BOUNDS = {
    "SwinIR-light": (0, 0.0),
    "SwinIR-denoise": (0, 0.0),
    "HAT": (2, 0.05),
    "DAT-light": (2, 0.1),
    "OmniSR": (16, 1.0),
    "UpCunet3x": (4, 0.2),
    "UpCunet2x_fast": (6, 0.4),
}
"""largest and mean difference in levels between tiled and whole, of seeded networks with a context of 32 pixels"""


@pytest.mark.parametrize("name", BOUNDS)
def test_tiles_of_networks_that_see_further_differ_little_and_are_never_called_exact(tmp_path: Path, name: str) -> None:
    upscaler = loaded(tmp_path, sample(name))
    picture = soft_picture(170, 131)
    plan = plan_of(upscaler.spec, 170, 131, tile_px=32)
    assert plan.mode is Mode.BOUNDED
    assert len(plan.tiles) > 1
    off = np.abs(restored(upscaler, picture, tile_px=32).astype(int) - restored(upscaler, picture))
    largest, mean = BOUNDS[name]
    assert off.max() <= largest
    assert off.mean() <= mean


@pytest.mark.parametrize("name", ["UpCunet3x", "SwinIR-light", "HAT"])
def test_windows_start_where_attention_windows_do(tmp_path: Path, name: str) -> None:
    upscaler = loaded(tmp_path, sample(name))
    spec, picture = upscaler.spec, soft_picture(170, 131)
    assert spec.origin_px >= 16
    tiles = plan_of(spec, 170, 131, tile_px=32).tiles
    assert all(tile.read.x0 % spec.origin_px == tile.read.y0 % spec.origin_px == 0 for tile in tiles)
    whole = restored(upscaler, picture).astype(int)
    aligned, unaligned = (
        np.abs(restored(upscaler, picture, tile_px=32, origin_px=px) - whole).mean() for px in (spec.origin_px, 1)
    )
    assert aligned < unaligned


def test_the_batch_decides_no_byte(tmp_path: Path) -> None:
    for name in ("SwinIR-light", "OmniSR", "UpCunet2x"):
        upscaler = loaded(tmp_path, sample(name))
        plan, picture = plan_of(upscaler.spec, 170, 131, tile_px=32), soft_picture(170, 131)
        one, four = (upscaler.restore(picture, plan, Settings(precision="fp32", batch=batch)) for batch in (1, 4))
        assert np.array_equal(one.pixels, four.pixels)


# -- what is said of a network -----------------------------------------------------------------------------------------


def test_sizes_and_precisions_are_those_that_spandrel_says(tmp_path: Path) -> None:
    said = {
        name: describe_file(sample(name).save(tmp_path)) for name in ("SPAN", "SwinIR", "DRCT", "Uformer", "SCUNet")
    }
    assert {name: (spec.fp16, spec.bf16) for name, spec in said.items()} == {
        "SPAN": (True, True),
        "SwinIR": (False, False),
        "DRCT": (False, False),
        "Uformer": (False, True),
        "SCUNet": (True, True),
    }
    assert {name: (spec.align_px, spec.origin_px) for name, spec in said.items()} == {
        "SPAN": (1, 1),
        "SwinIR": (1, 16),
        "DRCT": (16, 16),
        "Uformer": (128, 128),
        "SCUNet": (1, 64),
    }


def test_operations_and_parameters_are_counted(tmp_path: Path) -> None:
    path = sample("DnCNN").save(tmp_path)
    spec = describe_file(path)
    convs = ((3, 16), (16, 16), (16, 16), (16, 3))
    normalised = 2 * 2 * 16
    assert spec.params == sum(9 * into * out + out for into, out in convs) + normalised
    assert flop_per_px(spec) == sum(18 * into * out for into, out in convs)


ATTENTIVE = tuple(replace(sample(name), id=f"{name}-large") for name in ("DAT-light", "HAT", "OmniSR", "DITN", "FDAT"))
"""Networks with attention windows, in pictures larger than those that they were trained with."""


@pytest.mark.parametrize("one", [*SOME, *ATTENTIVE[: None if len(SOME) == len(SAMPLES) else 1]], ids=lambda one: one.id)
def test_every_precision_that_is_said_to_be_supported_runs_and_comes_close(
    tmp_path: Path, one: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a processor without bf16, where torch computes slowly what oneDNN would refuse."""
    monkeypatch.setattr(foreign, "_steady", lambda model: None)
    path = one.save(tmp_path)
    spec, state = describe_file(path), load_state(path, None)
    width, height = (24, 20) if one in SAMPLES else (76, 70)
    x = torch.from_numpy(soft_picture(width, height)).div(255).permute(2, 0, 1)[None]
    keep = Box(x0=3, y0=2, x1=22, y1=19)

    def made(dtype: torch.dtype) -> Tensor:
        with torch.inference_mode():
            network = foreign.ForeignNetwork(spec, state, torch.empty(0, dtype=dtype), trimmed=False)
            return network(x, keep).clamp_(0, 1)

    full = made(torch.float32)
    assert full.shape == (1, 17 * one.scale, 19 * one.scale, 3)
    for dtype, supported, rms in ((torch.float16, spec.fp16, 0.002), (torch.bfloat16, spec.bf16, 0.01)):
        if supported:
            assert (made(dtype) - full).square().mean().sqrt() < rms


def test_a_precision_that_the_network_has_not_is_refused(tmp_path: Path) -> None:
    upscaler = loaded(tmp_path, sample("SwinIR-light"))
    with pytest.raises(foreign.ForeignError, match=r"does not support torch\.float16"):
        foreign.ForeignNetwork(
            upscaler.spec, sample("SwinIR-light").state(), torch.empty(0, dtype=torch.float16), trimmed=False
        )


def test_the_file_must_hold_the_network_that_was_planned_with(tmp_path: Path) -> None:
    spec = describe_file(sample("SPAN").save(tmp_path))
    other = sample("SwinIR-light").save(tmp_path, name="other.pth")
    with pytest.raises(WeightsError, match="is SwinIR x3, not SPAN x4"):
        Upscaler.load(replace(spec, bytes=0, sha256=""), other)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", REFUSED, ids=lambda one: one.id)
def test_networks_that_need_or_give_something_else_are_refused(tmp_path: Path, one: Sample) -> None:
    with pytest.raises(
        WeightsError, match=rf"is {one.network}( of 1 channels to 1;|: it fills holes and needs a mask)"
    ):
        describe_file(one.save(tmp_path))


def test_unknown_keys_are_named_with_what_would_be_known(tmp_path: Path) -> None:
    path = saved(tmp_path, {f"layer{index}.strange": torch.zeros(2, 3) for index in range(9)})
    with pytest.raises(WeightsError) as caught:
        describe_file(path)
    message = str(caught.value)
    assert "holds 9 tensors of 54 values (layer0.strange, " in message
    assert "layer6" not in message
    assert "known are RRDBNet, SRVGGNetCompact, ATD, " in message
    assert "SwinIR" in message
    assert "LaMa" not in message


def test_a_discriminator_is_called_one(tmp_path: Path) -> None:
    network = nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(3, 8, 3)), nn.utils.spectral_norm(nn.Conv2d(8, 1, 3)))
    with pytest.raises(WeightsError, match="spectral norm is what discriminators have"):
        describe_file(saved(tmp_path, network.state_dict()))


def test_a_damaged_network_says_what_does_not_fit(tmp_path: Path) -> None:
    missing, cut = sample("SwinIR").state(), sample("HAT").state()
    del missing["layers.0.residual_group.blocks.1.mlp.fc1.bias"]
    cut["conv_last.weight"] = cut["conv_last.weight"][:, :3]
    for state in (missing, cut):
        with pytest.raises(WeightsError, match="spandrel knows but does not load"):
            describe_file(saved(tmp_path, state))


def test_what_is_ours_by_its_keys_is_told_what_is_wrong_with_it(tmp_path: Path) -> None:
    relu = {
        "body.0.weight": torch.zeros(8, 3, 3, 3),
        "body.0.bias": torch.zeros(8),
        "body.2.weight": torch.zeros(8, 8, 3, 3),
        "body.2.bias": torch.zeros(8),
        "body.4.weight": torch.zeros(48, 8, 3, 3),
        "body.4.bias": torch.zeros(48),
    }
    with pytest.raises(WeightsError, match="without PReLU's slopes"):
        describe_file(saved(tmp_path, relu))
    slopes = {f"body.{index}.weight": torch.full((8,), 0.1) for index in (1, 3)}
    assert describe_file(saved(tmp_path, {**relu, **slopes})).arch == "srvgg"


class Hostile:
    """Unpickled without care, it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch '{self.target}'",))


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    target = tmp_path / "owned"
    path = saved(tmp_path, {**sample("SwinIR-light").state(), "conv_first.weight": Hostile(target)})
    bare = tmp_path / "bare.pth"
    bare.write_bytes(pickle.dumps(Hostile(target)))
    for one in (path, bare):
        with pytest.raises(WeightsError, match="more than tensors"):
            describe_file(one)
    assert not target.exists()


def test_a_file_that_would_unpack_without_end_is_not_unpacked(tmp_path: Path) -> None:
    many, wide, deep = tmp_path / "many.pth", tmp_path / "wide.pth", tmp_path / "deep.pth"
    with zipfile.ZipFile(many, "w") as archive:
        for index in range(100_001):
            archive.writestr(f"a/data/{index}", b"")
    with pytest.raises(WeightsError, match="100001 entries"):
        describe_file(many)
    torch.save({"conv_first.weight": torch.zeros(1).expand(1 << 20, 1 << 20)}, wide)
    with pytest.raises(WeightsError, match="1 tensors of 4398046511104 bytes"):
        describe_file(wide)
    with zipfile.ZipFile(deep, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a/data.pkl", "w") as pickled:
        for _ in range(65):
            pickled.write(bytes(1 << 20))
    with pytest.raises(WeightsError, match="unpacks to"):
        describe_file(deep)


def test_more_tensors_than_any_network_has_are_refused(tmp_path: Path) -> None:
    one = torch.zeros(1)
    with pytest.raises(WeightsError, match="100001 tensors"):
        describe_file(saved(tmp_path, {str(index): one for index in range(100_001)}))


def test_noise_in_every_pass_is_found_out() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.randn_like(x)

    import spandrel

    found = spandrel.ImageModelDescriptor(
        Noisy(),
        {},
        architecture=next(iter(spandrel.MAIN_REGISTRY)).architecture,  # pyright: ignore[reportArgumentType]
        purpose="Restoration",
        tags=[],
        supports_half=True,
        supports_bfloat16=True,
        scale=1,
        input_channels=3,
        output_channels=3,
    )
    with pytest.raises(foreign.ForeignError, match="another picture each time"):
        foreign._try_out(found)  # pyright: ignore[reportPrivateUsage]


# -- the extra ---------------------------------------------------------------------------------------------------------


def test_without_spandrel_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sample("SwinIR-light").save(tmp_path)
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(WeightsError, match=r"needs spandrel .* install it: pip install 'sr-farm\[foreign\]'"):
        describe_file(path)


def test_our_own_networks_need_no_spandrel() -> None:
    probe = (
        "import sys; sys.modules['spandrel'] = sys.modules['einops'] = None\n"
        "import sr_kernel.upscale, sr_kernel.weights\n"
        "from tests.networks import seeded_upscaler, srvgg_spec\n"
        "seeded_upscaler(srvgg_spec())\n"
        "assert 'torchvision' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", probe], check=True)


def test_the_driver_is_told_everything_in_one_json_line(tmp_path: Path) -> None:
    path = sample("SwinIR-light").save(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "sr_kernel.weights", str(path)], capture_output=True, text=True, check=True
    )
    (line,) = done.stdout.splitlines()
    assert ModelSpec(**json.loads(line)) == describe_file(path)
    assert done.stderr == ""
