"""The table of models says what the release says."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sr_kernel.archs import ARCHS
from sr_kernel.hardware import cpu_flags, cpu_has_bf16, cpu_runs_bf16
from sr_kernel.models import ALIASES, BOX, MODELS, find_model

PARAMETERS = {
    "x4plus": 16_697_987,
    "net-x4plus": 16_697_987,
    "x2plus": 16_703_171,
    "x4plus-anime": 4_467_779,
    "animevideov3": 621_424,
    "general-x4v3": 1_213_296,
    "general-wdn-x4v3": 1_213_296,
}
RADII_PX = {"animevideov3": 18, "general-x4v3": 34, "x4plus-anime": 94, "x4plus": 349, "x2plus": 698}


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_each_network_has_the_published_number_of_parameters(name: str, count: int) -> None:
    spec = MODELS[name]
    assert sum(math.prod(shape) for shape in ARCHS[spec.arch].shapes(spec).values()) == count


@pytest.mark.parametrize(("name", "radius"), RADII_PX.items())
def test_context_radius_is_the_measured_one(name: str, radius: int) -> None:
    assert MODELS[name].halo_px == radius


@pytest.mark.parametrize("spec", MODELS.values(), ids=lambda spec: spec.name)
def test_rows_are_complete(spec: object) -> None:
    from sr_kernel.models import ModelSpec

    assert isinstance(spec, ModelSpec)
    assert spec.url.endswith("/" + spec.file) or spec.name in ("esrgan-x4", BOX)
    assert spec.official == Path(spec.file).stem
    if spec.confirmed:
        assert re.fullmatch(r"[0-9a-f]{64}", spec.sha256)
        assert spec.bytes > 1_000_000 or spec.name == BOX
    else:
        assert spec.sha256 == ""
    if spec.partner is not None:
        assert MODELS[spec.partner].blocks == spec.blocks


@pytest.mark.parametrize("name", ["x4plus", "RealESRGAN_x4plus", "RealESRGAN_x4plus.pth"])
def test_a_model_is_found_by_farm_name_official_name_and_file(name: str) -> None:
    assert find_model(name) is MODELS["x4plus"]


def test_what_restores_is_confirmed_but_for_the_file_that_no_release_has() -> None:
    open_rows = {spec.name for spec in MODELS.values() if spec.role == "restore" and not spec.confirmed}
    assert open_rows == {"esrgan-x4"}


def test_other_programs_names_mean_a_model_and_a_scale() -> None:
    assert find_model("realesr-animevideov3-x3") is MODELS["animevideov3"]
    assert {name: alias.outscale for name, alias in ALIASES.items() if alias.model == "animevideov3"} == {
        "realesr-animevideov3-x2": 2,
        "realesr-animevideov3-x3": 3,
        "realesr-animevideov3-x4": 4,
    }
    assert find_model("realesrgan-x4plus-anime") is MODELS["x4plus-anime"]


def test_no_name_means_two_things() -> None:
    names = [name for spec in MODELS.values() for name in {spec.name, spec.official, spec.file}]
    assert len({*names, *ALIASES}) == len(names) + len(ALIASES)


def test_unknown_names_are_no_model() -> None:
    assert find_model("x5plus") is None


def test_table_and_hardware_load_no_torch() -> None:
    code = "import sys, sr_kernel.models, sr_kernel.hardware; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "native"),
    [
        ("flags\t\t: fpu sse2 avx512f avx512_bf16 amx_tile\n", True),
        ("flags\t\t: fpu sse2 amx_bf16\n", True),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("flags\t\t: fpu sse2 avx2 avx512f\n", False),
        ("", False),
    ],
)
def test_native_bf16_is_read_from_the_processors_flags(tmp_path: Path, text: str, native: bool) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert bool({"avx512_bf16", "amx_bf16", "bf16"} & cpu_flags(file)) is native
    assert cpu_has_bf16(file) is (native and sys.platform == "linux")


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("flags\t\t: fpu sse2 avx2 fma\n", False),
        ("flags\t\t: fpu sse2 avx512bw avx512vl avx512dq\n", True),
        ("flags\t\t: fpu sse2 avx2 avx_ne_convert\n", True),
        ("Features\t: fp asimd\n", True),
    ],
)
def test_whether_torch_has_bf16_at_all_is_read_from_the_flags(tmp_path: Path, text: str, runs: bool) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert cpu_runs_bf16(file) is runs


def test_no_flags_means_no_bf16(tmp_path: Path) -> None:
    assert cpu_flags(tmp_path / "absent") == frozenset()
    assert not cpu_has_bf16(tmp_path / "absent")
