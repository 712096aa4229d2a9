"""The command line of `farm train`: where it trains, and what paths it is given mean."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from farm.cli import main
from farm.training import load_config
from farm.training.config import DataConfig, KeepConfig, ValidationConfig
from sr_kernel.train.plan import LossPlan, NetworkPlan, SchedulePlan, StagePlan, net_plan
from tests.farm.training.sets import CONFIG, make_config
from tests.pictures import photo, png_of
from tests.runs import REPOSITORY

PAGE = REPOSITORY / "docs" / "training.md"


def trained(config: Path | str, *flags: str) -> Result:
    return CliRunner().invoke(main, ["train", str(config), "--stage", "net", "--threads", "1", *flags])


def test_the_page_says_what_every_flag_is_for() -> None:
    assert isinstance(main, click.Group)
    flags = {name for param in main.commands["train"].params for name in param.opts if name.startswith("--")}
    table = PAGE.read_text("utf-8").split("## Options\n")[1].split("\n## ")[0]
    named = {name for row in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for name in re.findall(r"--[a-z-]+", row)}
    assert named == flags - {"--quiet"}  # it is there by its letter


def test_the_configuration_on_the_page_is_what_is_published(tmp_path: Path) -> None:
    """Every key that there is, with its default; but for data and validation, which are named."""
    (found,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "page.toml").write_text(found)
    config = load_config(str(tmp_path / "page.toml"), "net")
    assert (config.plan, config.keep) == (net_plan(NetworkPlan()), KeepConfig())
    assert config.validation == replace(ValidationConfig(), pairs=str(tmp_path / "unseen/"))
    tables = (StagePlan, NetworkPlan, SchedulePlan, LossPlan, DataConfig, ValidationConfig, KeepConfig)
    keys = {field.name for table in tables for field in fields(table)} - {"stage"}
    assert keys <= set(re.findall(r"^\[*(?:data\.)?(\w+)", found, re.MULTILINE))


@pytest.mark.parametrize("by", ["flag", "environment"])
def test_one_worker_too_goes_to_the_cluster_that_is_named(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = "127.0.0.1:1"
    monkeypatch.setenv("RAY_ADDRESS", nobody if by == "environment" else "")
    config = make_config(tmp_path / "set")
    made = trained(config, "--workers", "1", *(["--address", nobody] if by == "flag" else []))
    assert made.exit_code == 69, made.output
    assert f"cluster {nobody} does not answer" in made.output
    assert not (tmp_path / "set/farm-train/weights").exists()


def test_a_cluster_that_may_let_everybody_in_is_refused_unless_that_is_wanted(tmp_path: Path) -> None:
    config, address = make_config(tmp_path / "set"), "ray://0.0.0.0:1"
    made = trained(config, "--workers", "1", "--address", address)
    assert made.exit_code == 78, made.output
    assert "--insecure" in made.output
    made = trained(config, "--workers", "1", "--address", address, "--insecure")
    assert made.exit_code == 69, made.output
    assert f"cluster {address} does not answer" in made.output


def test_a_port_that_cannot_serve_metrics_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "")
    config = make_config(tmp_path / "set")
    made = trained(config, "--metrics-port", "80")
    assert (made.exit_code, "--metrics-port: 80 is none of 1024 to 65535" in made.output) == (2, True), made.output
    made = trained(config, "--workers", "1", "--metrics-port", "8090", "--address", "127.0.0.1:1")
    assert made.exit_code == 2, made.output
    assert "the nodes of 127.0.0.1:1 have their own" in made.output
    assert not (tmp_path / "set/farm-train/weights").exists()


def test_what_torch_would_stumble_over_is_refused(tmp_path: Path) -> None:
    made = trained(make_config(tmp_path / "set"), "--threads", "-1")
    assert made.exit_code == 2, made.output
    assert "Traceback" not in made.output


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--net-d", "x4plus-netd"), "--net-d: stage net trains no discriminator"),
        (("--perceptual", "vgg19"), "--perceptual: vgg19 has nothing to do"),
    ],
)
def test_weights_that_the_stage_has_no_use_for_are_refused(flags: tuple[str, ...], said: str, tmp_path: Path) -> None:
    made = trained(make_config(tmp_path / "set"), "--workers", "1", *flags)
    assert (made.exit_code, said in made.output) == (2, True), made.output
    assert not (tmp_path / "set/farm-train").exists()


def test_debug_goes_end_to_end_on_pictures_that_are_degraded_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a manifest, by a recipe; how many processes degrade decides no loss."""
    monkeypatch.setenv("RAY_ADDRESS", "")
    source = 'manifest = "pictures"\nrecipe = "mine.toml"\nper_image = 2'
    text = CONFIG.replace('pairs = "pairs"\n[val', f"{source}\n[val")
    (tmp_path / "set/pictures").mkdir(parents=True)
    recipe = "scale = 4\ngt_size = 64\n[final]\nsinc_prob = 0.8\n[final.jpeg]\nquality = [30, 95]\n"
    (tmp_path / "set/mine.toml").write_text(recipe)
    for seed in range(3):
        (tmp_path / f"set/pictures/{seed}.png").write_bytes(png_of(photo(seed, 96, 80)))
    logs: list[list[str]] = []
    for loaders in (0, 2):
        config = make_config(tmp_path / "set", text.replace("loaders = 0", f"loaders = {loaders}"))
        flags = ("--stage", "gan", "--perceptual", "none", "--debug", "--workers", "1", "--out", str(tmp_path / "out"))
        refused = trained(config, *flags)
        assert (refused.exit_code, "--from FILE, or start from random ones by --from none" in refused.output) == (
            78,
            True,
        ), refused.output
        made = trained(config, *flags, "--from", "none")
        assert made.exit_code == 0, made.output
        assert made.output.startswith("starts from random weights, its discriminator from random weights\n"), (
            made.output
        )
        assert re.search(r"^8/8 [\d.]+ it/s, .* left, rate .*, pixel .*, gan .*, d_real .*, d_fake ", made.output, re.M)
        assert len(re.findall(r"^[48] validated on 2: PSNR .* dB \(Lanczos .*\), SSIM ", made.output, re.M)) == 2
        out = tmp_path / "out/debug"
        assert {path.name for path in (out / "weights").iterdir()} == {
            f"tiny{kind}-00000000{at}.{form}"
            for at in (4, 8)
            for kind, form in (("", "pth"), ("", "safetensors"), ("-netd", "pth"))
        }
        assert len(list((out / "validation").glob("*/pic_0.png"))) == 2
        logs.append([line for path in sorted((out / "log").iterdir()) for line in path.read_text().splitlines()])
    assert len(logs[0]) == 8 + 2
    assert logs[0] == logs[1]


def test_relative_paths_mean_what_they_mean_to_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration in the working folder, a start of its own, and the same file by another name of it."""
    monkeypatch.setenv("RAY_ADDRESS", "")
    make_config(tmp_path / "set")
    monkeypatch.chdir(tmp_path / "set")
    flags = ("--workers", "1")
    made = trained("train.toml", *flags, "--iterations", "4")
    assert made.exit_code == 0, made.output
    start = Path("farm-train/weights/tiny-000000004.pth")
    assert start.exists()
    monkeypatch.chdir(tmp_path)
    made = trained("set/../set/train.toml", *flags, "--iterations", "8")
    assert made.exit_code == 0, made.output
    assert "goes on after iteration 4" in made.output
    made = trained("set/train.toml", *flags, "--iterations", "4", "--from", f"set/{start}", "--out", "second")
    assert made.exit_code == 0, made.output
    assert Path("second", "weights", start.name).exists()
