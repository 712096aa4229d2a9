"""A weight file is what it says it is, or it is refused; nothing in it is ever run."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sr_kernel.backend import Backend
from sr_kernel.models import MODELS, ModelSpec
from sr_kernel.tiles import Box
from sr_kernel.upscale import Upscaler
from sr_kernel.weights import WeightsError, describe_file, load_state, main, mix
from tests.networks import rrdb_spec, seeded_state, srvgg_spec
from tests.outside import data_folder

SPECS = [rrdb_spec(4), rrdb_spec(2, blocks=3), rrdb_spec(1), srvgg_spec(4), srvgg_spec(2, convs=7), srvgg_spec(1)]


def saved(folder: Path, spec: ModelSpec, key: str | None = "params") -> Path:
    path = folder / "net.pth"
    state = seeded_state(spec)
    torch.save({key: state} if key else state, path)
    return path


def known(path: Path, spec: ModelSpec) -> ModelSpec:
    """`spec` with the size and digest of a file, as a row of the table has."""
    described = describe_file(path)
    return dataclasses.replace(spec, bytes=described.bytes, sha256=described.sha256)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_architecture_and_scale_are_read_from_the_keys(tmp_path: Path, spec: ModelSpec) -> None:
    found = describe_file(saved(tmp_path, spec))
    assert found.name == "file:net"
    same = ("arch", "scale", "features", "blocks", "growth", "halo_px", "align_px", "whole_body")
    assert {name: getattr(found, name) for name in same} == {name: getattr(spec, name) for name in same}
    assert not found.confirmed


@pytest.mark.parametrize("key", ["params_ema", "params", None])
def test_each_way_of_saving_is_read(tmp_path: Path, key: str | None) -> None:
    spec = srvgg_spec()
    state = load_state(saved(tmp_path, spec, key), spec)
    assert all(torch.equal(state[name], tensor) for name, tensor in seeded_state(spec).items())


def test_the_averaged_weights_are_preferred(tmp_path: Path) -> None:
    spec, path = srvgg_spec(), tmp_path / "both.pth"
    torch.save({"params": seeded_state(spec, 1), "params_ema": seeded_state(spec, 2)}, path)
    assert torch.equal(load_state(path, spec)["body.0.weight"], seeded_state(spec, 2)["body.0.weight"])


def test_safetensors_are_read(tmp_path: Path) -> None:
    spec, path = srvgg_spec(), tmp_path / "net.safetensors"
    save_file(seeded_state(spec), path)
    assert describe_file(path).arch == "srvgg"
    assert torch.equal(load_state(path, spec)["body.0.weight"], seeded_state(spec)["body.0.weight"])


def test_half_precision_files_are_loaded_in_full(tmp_path: Path) -> None:
    spec, path = srvgg_spec(), tmp_path / "half.pth"
    torch.save({name: tensor.half() for name, tensor in seeded_state(spec).items()}, path)
    assert {tensor.dtype for tensor in load_state(path, spec).values()} == {torch.float32}


@pytest.mark.parametrize("damage", ["cut", "flipped", "longer", "empty"])
def test_damage_is_found_before_the_file_is_parsed(tmp_path: Path, damage: str) -> None:
    spec = srvgg_spec()
    path = saved(tmp_path, spec)
    spec = known(path, spec)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= damage == "flipped"
    changed = {"cut": data[:-100], "flipped": data, "longer": data + b"x", "empty": b""}[damage]
    path.write_bytes(changed)
    with pytest.raises(WeightsError, match="bytes where" if damage != "flipped" else "sha256"):
        load_state(path, spec)


class Hostile:
    """Unpickled without care, it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch '{self.target}'",))


@pytest.mark.parametrize("how", ["bare", "torch", "inside"])
def test_a_hostile_pickle_has_no_effect(tmp_path: Path, how: str) -> None:
    path, target = tmp_path / "evil.pth", tmp_path / "owned"
    if how == "bare":
        path.write_bytes(pickle.dumps(Hostile(target)))
    elif how == "torch":
        torch.save(Hostile(target), path)
    else:
        torch.save({"params": {**seeded_state(srvgg_spec()), "body.0.bias": Hostile(target)}}, path)
    for attempt in (lambda: describe_file(path), lambda: load_state(path, None)):
        with pytest.raises(WeightsError):
            attempt()
    assert not target.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80", b"not weights", b"<html>404</html>", b"PK\x03\x04" + bytes(100), bytes(1000)],
    ids=["empty", "one byte", "text", "html", "zip", "zeros"],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_no_weight_file_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError):
        describe_file(path)


def test_a_missing_file_is_a_weights_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        load_state(tmp_path / "absent.pth", None)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_keys_and_shapes_are_strict(tmp_path: Path, change: str) -> None:
    spec, path = srvgg_spec(), tmp_path / "net.pth"
    state = seeded_state(spec)
    if change == "missing":
        del state["body.2.bias"]
    elif change == "unknown":
        state["body.99.bias"] = torch.zeros(3)
    else:
        state["body.2.weight"] = state["body.2.weight"][..., :1]
    torch.save(state, path)
    with pytest.raises(WeightsError, match="does not fit"):
        load_state(path, spec)


@pytest.mark.parametrize(
    "state",
    [
        {"model.0.weight": torch.zeros(64, 3, 3, 3)},
        {"conv_first.weight": torch.zeros(64, 5, 3, 3), "body.0.rdb1.conv1.weight": torch.zeros(32, 64, 3, 3)},
        {"body.0.weight": torch.zeros(64, 3, 3, 3), "body.1.weight": torch.zeros(47, 64, 3, 3)},
        {"conv_first.weight": torch.zeros(3)},
    ],
    ids=["old names", "five colours", "no PReLU", "no convolution"],
)
def test_networks_of_other_kinds_are_refused(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "other.pth"
    torch.save(state, path)
    with pytest.raises(WeightsError):
        describe_file(path)


OLD_NAMES = {
    "numbered": (
        "model.1.sub.{0}.RDB{1}.conv{2}.0",
        {
            "conv_first": "model.0",
            "conv_body": "model.1.sub.2",
            "conv_up1": "model.3",
            "conv_up2": "model.6",
            "conv_hr": "model.8",
            "conv_last": "model.10",
        },
    ),
    "named": (
        "RRDB_trunk.{0}.RDB{1}.conv{2}",
        {"conv_body": "trunk_conv", "conv_up1": "upconv1", "conv_up2": "upconv2", "conv_hr": "HRconv"},
    ),
}


def with_old_names(state: dict[str, torch.Tensor], naming: str) -> dict[str, torch.Tensor]:
    dense, others = OLD_NAMES[naming]
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        stem, _, what = name.rpartition(".")
        inside = re.fullmatch(r"body\.(\d+)\.rdb(\d)\.conv(\d)", stem)
        renamed[f"{dense.format(*inside.groups()) if inside else others.get(stem, stem)}.{what}"] = tensor
    return renamed


@pytest.mark.parametrize("naming", OLD_NAMES)
def test_esrgans_older_keys_are_the_same_network(tmp_path: Path, naming: str) -> None:
    spec, path = rrdb_spec(4), tmp_path / "old.pth"
    state = seeded_state(spec)
    torch.save(with_old_names(state, naming), path)
    found = describe_file(path)
    assert (found.arch, found.scale, found.blocks, found.growth) == ("rrdb", 4, spec.blocks, spec.growth)
    loaded = load_state(path, spec)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_old_keys_give_what_spandrel_gives(tmp_path: Path) -> None:
    spandrel = pytest.importorskip("spandrel", reason="spandrel reads ESRGAN's older keys too: pip install spandrel")
    spec, path = rrdb_spec(4, growth=32), tmp_path / "old.pth"
    torch.save(with_old_names(seeded_state(spec), "numbered"), path)
    theirs = spandrel.ModelLoader().load_from_file(path).model
    x = torch.rand(1, 3, 12, 10, generator=torch.Generator().manual_seed(5))
    box = Box(x0=0, y0=0, x1=10, y1=12)
    network = Backend(spec, load_state(path, spec), "cpu").network("fp32")
    with torch.inference_mode():
        ours = network(x.contiguous(memory_format=torch.channels_last), box)
        torch.testing.assert_close(ours, theirs(x).permute(0, 2, 3, 1), rtol=1e-5, atol=1e-5)


def test_a_file_of_two_namings_is_refused(tmp_path: Path) -> None:
    spec, path = rrdb_spec(4), tmp_path / "both.pth"
    state = with_old_names(seeded_state(spec), "numbered")
    torch.save({**state, "conv_hr.weight": state["model.8.weight"]}, path)
    with pytest.raises(WeightsError):
        describe_file(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_file_that_is_not_finite_is_not_even_described(tmp_path: Path, value: float) -> None:
    state = seeded_state(srvgg_spec())
    state["body.4.bias"][1] = value
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(WeightsError, match=r"body\.4\.bias holds values that are not finite"):
        describe_file(tmp_path / "nan.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    spec, path = srvgg_spec(), tmp_path / "nan.pth"
    state = seeded_state(spec)
    state["body.2.weight"][0, 0, 0, 0] = value
    torch.save(state, path)
    with pytest.raises(WeightsError, match="not finite"):
        load_state(path, spec)


def test_a_network_that_overflows_fails_its_self_test(tmp_path: Path) -> None:
    spec, path = srvgg_spec(), tmp_path / "huge.pth"
    torch.save({name: tensor * 1e30 for name, tensor in seeded_state(spec).items()}, path)
    with pytest.raises(WeightsError, match="NaN or infinity"):
        Upscaler.load(spec, path)


def test_denoise_strength_mixes_every_key() -> None:
    spec = srvgg_spec()
    a, b = seeded_state(spec, 1), seeded_state(spec, 2)
    mixed = mix(a, b, 0.25)
    assert mixed.keys() == a.keys()
    for name, tensor in mixed.items():
        torch.testing.assert_close(tensor, 0.25 * a[name] + 0.75 * b[name])
    assert all(torch.equal(tensor, a[name]) for name, tensor in mix(a, b, 1).items())
    assert all(torch.equal(tensor, b[name]) for name, tensor in mix(a, b, 0).items())


def test_only_weights_of_one_network_are_mixed() -> None:
    with pytest.raises(WeightsError, match="different networks"):
        mix(seeded_state(srvgg_spec()), seeded_state(srvgg_spec(convs=5)), 0.5)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        mix(seeded_state(srvgg_spec()), seeded_state(srvgg_spec()), 1.5)


def test_denoise_needs_the_partners_file(tmp_path: Path) -> None:
    spec = srvgg_spec()
    path = saved(tmp_path, spec)
    with pytest.raises(WeightsError, match="partner"):
        Upscaler.load(spec, path, denoise=0.5)
    Upscaler.load(spec, path, denoise=0.5, partner_path=path).close()


def test_a_discriminator_does_not_restore(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not restore"):
        load_state(saved(tmp_path, srvgg_spec()), MODELS["x4plus-netd"])


def test_the_command_prints_the_spec_as_one_json_line(tmp_path: Path) -> None:
    spec = srvgg_spec()
    done = subprocess.run(
        [sys.executable, "-m", "sr_kernel.weights", str(saved(tmp_path, spec))],
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = done.stdout.splitlines()
    assert ModelSpec(**json.loads(line)) == describe_file(tmp_path / "net.pth")


def test_the_command_refuses_with_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "absent.pth")]) == 78
    assert main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "absent.pth" in shown.err


def test_the_official_file_is_the_one_in_the_table() -> None:
    spec = MODELS["animevideov3"]
    path = data_folder() / "weights" / spec.file
    load_state(path, spec)
    found = describe_file(path)
    assert (found.sha256, found.bytes, found.blocks) == (spec.sha256, spec.bytes, spec.blocks)


@pytest.mark.parametrize(
    "state",
    [
        {"conv_first.weight": torch.ones(8, 3, 3, 3), "body.99999999.rdb1.conv1.weight": torch.ones(4, 8, 3, 3)},
        {
            "body.0.weight": torch.ones(8, 3, 3, 3),
            "body.1.weight": torch.ones(8),
            "body.200000000.weight": torch.ones(48, 8, 3, 3),
        },
    ],
    ids=["rrdb", "srvgg"],
)
def test_a_number_in_a_name_costs_nothing(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    """A file of 4 KB that counts 10^8 layers was made into a table of all of them, and ate the machine."""
    path = tmp_path / "bomb.pth"
    torch.save(state, path)
    with pytest.raises(WeightsError, match=r"its names count|no network that is known"):
        describe_file(path)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(8, 3, 3, 3, device="meta"),
        torch.eye(8).to_sparse(),
        torch.tensor(1.0),
    ],
    ids=["meta", "sparse", "scalar"],
)
def test_tensors_that_are_no_weights_are_named(tmp_path: Path, tensor: torch.Tensor) -> None:
    path = tmp_path / "odd.pth"
    torch.save({"conv_first.weight": torch.ones(8, 3, 3, 3), "body.0.rdb1.conv1.weight": tensor}, path)
    with pytest.raises(WeightsError, match=r"no plain tensor|no convolutions|not a weight file"):
        describe_file(path)
