"""`farm models`: what there is, what is here, what a file holds."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from farm.cli import main
from sr_kernel.models import ALIASES, MODELS
from tests.networks import seeded_state, srvgg_spec
from tests.outside import data_folder
from tests.seeded import save_rrdb

Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FARM_WEIGHTS_DIR", raising=False)
    monkeypatch.delenv("FARM_WEIGHTS_MIRROR", raising=False)
    return lambda *args: CliRunner().invoke(main, ["models", *map(str, args)])


def test_every_row_is_listed_with_its_figures(call: Call) -> None:
    listed = call("--json")
    assert listed.exit_code == 0, listed.stderr
    said: dict[str, Any] = json.loads(listed.stdout)
    lines = {line["name"]: line for line in said["models"]}
    assert lines.keys() == MODELS.keys()
    assert said["aliases"]["realesr-animevideov3-x2"] == {"model": "animevideov3", "outscale": 2}
    assert said["aliases"].keys() == ALIASES.keys()
    x4plus = lines["x4plus"]
    assert (x4plus["scale"], x4plus["parameters"], x4plus["bytes"]) == (4, 16_697_987, 67_040_989)
    assert x4plus["gflop_per_megapixel"] == pytest.approx(35_853.7, abs=0.1)
    assert lines["vgg19"]["scale"] is lines["vgg19"]["parameters"] is None
    assert {name for name, line in lines.items() if line["path"]} == {"box"}


def test_the_table_marks_what_is_unconfirmed_and_what_restores_nothing(call: Call) -> None:
    lines = {line.split()[0]: line for line in call().stdout.splitlines()}
    assert "training only, sha256 unconfirmed" in lines["x4plus-netd"]
    assert "faces" in lines["gfpgan-1.4"]
    assert "unconfirmed" not in lines["x4plus"]
    assert lines["x4plus"].endswith("no")


def test_listing_loads_no_torch(call: Call) -> None:
    code = (
        "import sys; from click.testing import CliRunner; from farm.cli import main\n"
        "assert CliRunner().invoke(main, ['models']).exit_code == 0; sys.exit('torch' in sys.modules)"
    )
    import subprocess

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_here_is_verified_by_its_digest(call: Call) -> None:
    folder = data_folder() / "weights"
    right = call("verify", "animevideov3", "--weights-dir", folder)
    assert right.exit_code == 0
    assert "right" in right.stdout
    assert MODELS["animevideov3"].sha256 in right.stdout
    unconfirmed = call("verify", "face-detector-mobile0.25", "--weights-dir", folder)
    assert "unconfirmed" in unconfirmed.stdout


def test_the_model_that_ships_is_right_where_it_lies(call: Call) -> None:
    right = call("verify", "box")
    assert (right.exit_code, right.stdout.split()[:2]) == (0, ["box", "right"])


def test_all_wrong_files_are_named_before_it_fails(call: Call, tmp_path: Path) -> None:
    for name in ("animevideov3", "general-x4v3"):
        (tmp_path / MODELS[name].file).write_bytes(b"other")
    found = call("verify", "--weights-dir", tmp_path)
    assert found.exit_code == 78
    assert found.stdout.count("  wrong ") == 2
    assert "realesr-animevideov3.pth" in found.stderr
    assert "realesr-general-x4v3.pth" in found.stderr


def test_a_weight_file_is_described(call: Call, tmp_path: Path) -> None:
    path = save_rrdb(tmp_path / "own.pth", features=8, blocks=2, growth=4, scale=2)
    found = call("info", path, "--json")
    assert found.exit_code == 0, found.stderr
    said = json.loads(found.stdout)
    assert (said["name"], said["network"], said["scale"], said["halo_px"]) == ("file:own", "rrdb 8x2", 2, 68)
    assert said["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    state = torch.load(path, weights_only=True)["params"]
    assert said["parameters"] == sum(tensor.numel() for tensor in state.values())
    assert said["known_as"] is None


def test_a_renamed_release_file_is_recognised(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.pth").symlink_to(data_folder() / "weights" / MODELS["animevideov3"].file)
    found = json.loads(call("info", tmp_path / "mine.pth", "--json").stdout)
    assert found["known_as"] == "animevideov3"


@pytest.mark.parametrize("content", ["junk", "nan", "other"])
def test_a_file_that_restores_nothing_is_refused_with_what_was_found(call: Call, tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.pth"
    if content == "junk":
        path.write_bytes(b"junk")
    elif content == "nan":
        state = seeded_state(srvgg_spec())
        state["body.0.bias"][0] = float("nan")
        torch.save(state, path)
    else:
        torch.save({"encoder.weight": torch.zeros(3, 3)}, path)
    found = call("info", path)
    assert found.exit_code == 78
    said = {"junk": "not a weight file", "nan": "not finite", "other": "encoder.weight"}[content]
    assert said in found.stderr
    assert found.stdout == ""
