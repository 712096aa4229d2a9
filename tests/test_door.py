"""The public door is small, and nothing heavy stands behind it until it is asked for."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import farm

HEAVY = ("ray", "torch", "av", "pyvips", "pyarrow", "fsspec", "numpy")


def test_the_public_door_is_these_six_names() -> None:
    assert sorted(farm.__all__) == ["FarmError", "Result", "Run", "RunConfig", "__version__", "submit"]
    assert all(hasattr(farm, name) for name in farm.__all__)


def loaded_after(program: str) -> set[str]:
    check = f"{program}\nimport sys\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    answer = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=60)
    return set(answer.stdout.split())


def test_import_farm_loads_nothing_heavy() -> None:
    assert loaded_after("import farm") == set()


def test_the_command_line_and_doctor_load_nothing_heavy() -> None:
    assert loaded_after("import farm.cli, farm.doctor") == set()


def test_sr_kernel_loads_no_torch_until_a_network_is_wanted() -> None:
    program = "import sr_kernel, sr_kernel.tiles, sr_kernel.models, sr_kernel.hardware, sr_kernel.fidelity"
    assert "torch" not in loaded_after(program)


def test_drawing_and_reading_recipes_loads_no_torch() -> None:
    program = "from sr_kernel.degrade import crop, draw, drawn, recipe, recipe_basicsr, recipe_toml"
    assert "torch" not in loaded_after(program)


def test_help_answers_at_once() -> None:
    """Under 0.3 s, or on a slow machine four times what Python and click take alone; the least of several, in turns,
    because other work on this machine is not the farm's doing."""

    def once(*command: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], capture_output=True, check=True, timeout=60)
        return time.perf_counter() - started

    helps, alone = zip(*[(once("-m", "farm", "--help"), once("-c", "import click")) for _ in range(8)], strict=True)
    assert min(helps) < max(0.3, 4 * min(alone)), f"farm --help takes {min(helps):.2f} s, click {min(alone):.2f} s"


def test_the_lock_holds_what_every_extra_asks_for() -> None:
    root = Path(__file__).parents[1]
    locked = {line.split("==")[0].strip().lower() for line in (root / "requirements.lock").read_text().splitlines()}
    text = (root / "pyproject.toml").read_text()
    section = text[text.index("[project.optional-dependencies]") : text.index("[project.scripts]")]
    wanted = {name.lower() for name in re.findall(r'"([A-Za-z0-9_-]+)(?:\[[a-z]+\])?[=><]', section)}
    assert {"basicsr", "gfpgan", "facexlib"} <= wanted
    assert wanted <= locked
