"""A training that is killed, stopped or cut into parts has the losses and the weights of one that was not."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from farm import storage
from farm.data import PairDataset
from farm.errors import BusyError, InterruptedRun, ManifestError, ModelError, StalledError, UsageError
from farm.lock import RunLock
from farm.shards import read_index, write_index
from farm.training import load_config, validate
from farm.training.config import TrainConfig
from farm.training.loop import Progress, Scored, TrainingError, explained
from farm.training.order import Order
from farm.training.run import DEBUG_ITERATIONS, Request, debugged, run
from sr_kernel.train import export
from sr_kernel.train.state import Start, make_state
from sr_kernel.weights import describe_file
from tests.farm.training.sets import CONFIG, make_config, make_pairs
from tests.pictures import photo, png_of
from tests.stores import KINDS, Store, opened, output
from tests.waiting import wait_for

LONG = CONFIG.replace("iterations = 12", "iterations = 120").replace("every = 4", "every = 10")
LONG = LONG.replace("every = 6", "every = 60")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config_of(folder: Path, text: str = CONFIG) -> TrainConfig:
    return load_config(str(make_config(folder, text)), "net")


def until(config: TrainConfig, iterations: int) -> TrainConfig:
    schedule = replace(config.plan.schedule, iterations=iterations)
    return replace(config, plan=replace(config.plan, schedule=schedule))


def trained(config: TrainConfig, out: str) -> list[Progress | Scored | str]:
    said: list[Progress | Scored | str] = []
    reached = run(Request(config=config, out=out, threads=1), said.append)
    assert reached == config.plan.schedule.iterations
    return said


def curve(out: str) -> list[dict[str, float]]:
    """All lines of the log."""
    files = sorted(file.url for file in storage.list_files(storage.join(out, "log")))
    return [json.loads(line) for url in files for line in storage.read_bytes(url).splitlines()]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with opened(request.param, tmp_path, monkeypatch) as found:
        yield found


def test_a_training_in_two_parts_is_one(store: Store, tmp_path: Path) -> None:
    """Weights, log, pictures and checkpoints on a disk or a store; two checkpoints stay."""
    config = config_of(tmp_path / "set")
    whole, parts = str(tmp_path / "whole"), storage.join(store.root, "parts")
    said = trained(config, whole)
    assert [one.iteration for one in said if isinstance(one, Progress)] == [2, 4, 6, 8, 10, 12]
    scored = [one for one in said if isinstance(one, Scored)]
    assert [one.iteration for one in scored] == [6, 12]
    assert all(one.scores.pictures == 2 and 10 < one.scores.psnr < 40 for one in scored)
    trained(until(config, 8), parts)
    assert "goes on after iteration 8" in trained(config, parts)
    assert not [one for one in trained(config, parts) if not isinstance(one, str)]
    lines = curve(whole)
    assert [line for line in curve(parts) if "pixel" in line] == [line for line in lines if "pixel" in line]
    for end in ("pth", "safetensors"):
        name = f"weights/tiny-000000012.{end}"
        assert storage.read_bytes(storage.join(parts, name)) == storage.read_bytes(storage.join(whole, name))
    below = {file.url.removeprefix(parts) for file in storage.list_files(parts)}
    assert {name for name in below if "checkpoints" in name} == {
        "/checkpoints/000000008.ckpt",
        "/checkpoints/000000012.ckpt",
    }
    assert "/validation/000000012/pic_0.png" in below
    spec = describe_file(Path(whole, "weights/tiny-000000012.pth"))
    assert (spec.arch, spec.features, spec.blocks, spec.scale) == ("srvgg", 8, 2, 4)


def test_a_training_that_is_killed_has_the_curve_of_one_that_was_not(tmp_path: Path) -> None:
    path = make_config(tmp_path / "set", LONG)
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "farm", "train", str(path), "--stage", "net", "--gpus", "0", "--threads", "1"]
    command += ["--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_for(lambda: list(out.glob("checkpoints/*.ckpt")) or process.poll() is not None, "a checkpoint", pause_s=0.01)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not list(out.glob("checkpoints/000000120.ckpt"))
    again = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert again.returncode == 0, again.stderr
    assert "goes on after iteration" in again.stderr
    assert again.stdout.strip() == str(out / "weights")
    whole = str(tmp_path / "whole")
    trained(load_config(str(path), "net"), whole)
    assert curve(str(out)) == curve(whole)
    name = "weights/tiny-000000120.pth"
    assert (out / name).read_bytes() == Path(whole, name).read_bytes()


def test_a_signal_ends_with_a_checkpoint(tmp_path: Path) -> None:
    config = config_of(tmp_path / "set", LONG)
    out = str(tmp_path / "out")

    def interrupting(news: Progress | Scored | str) -> None:
        if isinstance(news, Progress) and news.iteration == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRun) as caught:
        run(Request(config=config, out=out, threads=1), interrupting)
    assert caught.value.exit_code == 143
    kept = [file.url for file in storage.list_files(storage.join(out, "checkpoints"))]
    assert len(kept) == 1
    assert kept[0].endswith(("/000000004.ckpt", "/000000005.ckpt"))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_for_the_whole_group_ends_with_a_checkpoint_too(signum: signal.Signals, tmp_path: Path) -> None:
    """As a terminal sends it: to the processes that load pairs as well. Nothing is scored on the way out."""
    text = LONG.replace("iterations = 120", "iterations = 100000").replace("loaders = 0", "loaders = 2")
    text = text.replace("every = 10", "every = 100000").replace("every = 60", "every = 100000")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "farm", "train", make_config(tmp_path / "set", text), "--stage", "net"]
    command += ["--gpus", "0", "--threads", "1", "--out", out]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(list(map(str, command)), start_new_session=True, **quiet) as process:
        assert process.stderr is not None
        said = next((line for line in process.stderr if " it/s" in line), "")
        assert said
        os.killpg(process.pid, signum)
        rest = process.stderr.read()
        assert process.wait(60) == 128 + signum, rest
    assert "Traceback" not in rest
    assert "validated" not in rest
    assert len(list(out.glob("checkpoints/*.ckpt"))) == 1


def test_lines_of_the_log_end_where_checkpoints_do(tmp_path: Path) -> None:
    """So that a training in two parts says what one in one part says, however often each is written."""
    config = config_of(tmp_path / "set", CONFIG.replace("log = 2", "log = 3"))
    trained(config, str(tmp_path / "whole"))
    trained(until(config, 4), str(tmp_path / "parts"))
    (tmp_path / "parts/log/000000006.jsonl").write_text('{"iteration": 6}\n')  # of a checkpoint that did not come to be
    trained(config, str(tmp_path / "parts"))
    lines = curve(str(tmp_path / "whole"))
    assert [line["iteration"] for line in lines if "pixel" in line] == [3, 4, 6, 8, 9, 12]
    assert [one for one in curve(str(tmp_path / "parts")) if "pixel" in one] == [one for one in lines if "pixel" in one]
    assert not (tmp_path / "parts/log/000000006.jsonl").exists()


def test_means_are_of_the_iterations_that_have_the_loss(tmp_path: Path) -> None:
    text = CONFIG.replace("seed = 3", "seed = 3\ndiscriminator_every = 2")
    gan = replace(load_config(str(make_config(tmp_path / "set", text)), "gan"), start="none")
    pixels: list[float] = []
    for log in (1, 2):
        said = trained(replace(gan, keep=replace(gan.keep, log=log)), str(tmp_path / str(log)))
        lines = [one for one in said if isinstance(one, Progress) and one.iteration % 2 == 0]
        pixels.append(lines[0].losses["pixel"])
    assert pixels[0] == pytest.approx(pixels[1])


def test_pairs_that_the_networks_cannot_take_are_named(tmp_path: Path) -> None:
    config = config_of(tmp_path / "set")
    double = replace(config, plan=replace(config.plan, network=replace(config.plan.network, scale=2)))
    double = replace(double, validation=replace(config.validation, pairs=""))
    with pytest.raises(UsageError, match=r"pic_\d has pictures of .* not the network's x2"):
        trained(double, str(tmp_path / "a"))
    make_pairs(str(tmp_path / "set/odd"), 4, side=44)
    text = CONFIG.replace('pairs = "pairs"\n[val', 'pairs = "odd"\n[val').replace("patch = 32", "patch = 0")
    (tmp_path / "set/odd.toml").write_text(text)
    with pytest.raises(UsageError, match=r"44x44, which is no multiple of 8"):
        trained(replace(load_config(str(tmp_path / "set/odd.toml"), "gan"), start="none"), str(tmp_path / "b"))


@pytest.mark.parametrize(
    ("side", "scale", "spoilt", "said"),
    [
        (16, 4, None, r"pic_0 has 16x16 pixels, too few to be scored"),
        (48, 2, None, r"pic_0 is not x4"),
        (48, 4, 1, r"not_an_image: pic_1, lq: "),
    ],
    ids=["small", "scale", "unreadable"],
)
def test_pairs_that_cannot_be_scored_are_found_before_the_first_iteration(
    side: int, scale: int, spoilt: int | None, said: str, tmp_path: Path
) -> None:
    config = config_of(tmp_path / "set")
    unseen = make_pairs(str(tmp_path / "unseen"), 2, side=side, scale=scale, spoilt=spoilt)
    heard: list[Progress | Scored | str] = []
    request = Request(
        config=replace(config, validation=replace(config.validation, pairs=unseen)),
        out=str(tmp_path / "out"),
        threads=1,
    )
    with pytest.raises(UsageError, match=rf"^validation\.pairs: {said}"):
        run(request, heard.append)
    assert not [one for one in heard if not isinstance(one, str)]


def test_a_signal_in_a_validation_loses_no_iteration_and_no_score(tmp_path: Path) -> None:
    """It is broken off, what is trained is kept, and the same pictures are scored when the training goes on."""
    config = config_of(tmp_path / "set", CONFIG.replace("every = 4", "every = 100"))
    heard: list[Progress | Scored | str] = []

    def interrupting(news: Progress | Scored | str) -> None:
        heard.append(news)
        if isinstance(news, Progress) and news.iteration == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRun):
        run(Request(config=config, out=str(tmp_path / "out"), threads=1), interrupting)
    assert not [one for one in heard if isinstance(one, Scored)]
    assert [path.name for path in (tmp_path / "out/checkpoints").iterdir()] == ["000000006.ckpt"]
    again = trained(config, str(tmp_path / "out"))
    assert [one.iteration for one in again if isinstance(one, Scored)] == [6, 12]
    trained(config, str(tmp_path / "whole"))
    assert curve(str(tmp_path / "out")) == curve(str(tmp_path / "whole"))


def test_what_is_trained_to_the_end_and_not_scored_is_scored_by_the_same_command(tmp_path: Path) -> None:
    """As after a kill in the last validation: its checkpoint is there before."""
    config, out = config_of(tmp_path / "set"), str(tmp_path / "out")
    at = list[list[str]]()

    def looking(news: Progress | Scored | str) -> None:
        if isinstance(news, Scored):
            at.append(sorted(path.name for path in (tmp_path / "out/checkpoints").iterdir()))

    run(Request(config=config, out=out, threads=1), looking)
    assert at[-1][-1] == "000000012.ckpt"
    whole = curve(out)
    log = tmp_path / "out/log/000000012.jsonl"
    log.write_text("".join(line for line in log.read_text().splitlines(keepends=True) if "psnr" not in line))
    assert [one.iteration for one in trained(config, out) if isinstance(one, Scored)] == [12]
    assert curve(out) == whole


def test_pictures_of_any_size_are_validated(tmp_path: Path) -> None:
    """RRDBNet x2 takes sides that are even only."""
    text = CONFIG.replace('kind = "srvgg"', 'kind = "rrdb"\ngrowth = 4\nscale = 2').replace("blocks = 2", "blocks = 1")
    text = text.replace('pairs = "pairs"\nevery', 'pairs = "odd"\nevery')
    path = make_config(tmp_path / "set", text)
    make_pairs(str(tmp_path / "set/pairs"), 4, side=64, scale=2)
    make_pairs(str(tmp_path / "set/odd"), 4, side=50, scale=2)
    said = trained(until(load_config(str(path), "net"), 2), str(tmp_path / "out"))
    assert [one.scores.pictures for one in said if isinstance(one, Scored)] == [2]


def test_a_recipe_that_has_changed_is_another_configuration(tmp_path: Path) -> None:
    """Only what it says counts."""
    recipe = "scale = 4\ngt_size = 64\n[final]\nsinc_prob = 0.8\n[final.jpeg]\nquality = [30, 95]\n"
    text = CONFIG.replace('pairs = "pairs"\n[val', 'manifest = "pics"\nrecipe = "mine.toml"\n[val')
    path = make_config(tmp_path / "set", text)
    prints: list[str] = []
    for said in (recipe, "# the same\n" + recipe, recipe.replace("0.8", "0.7")):
        (tmp_path / "set/mine.toml").write_text(said)
        prints.append(load_config(str(path), "net").fingerprint([""]))
    assert prints[0] == prints[1]
    assert prints[0] != prints[2]


def test_what_cannot_be_exported_is_said_before_the_first_iteration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a node of a cluster that lacks the package."""
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    heard: list[Progress | Scored | str] = []
    request = Request(config=config_of(tmp_path / "set"), out=str(tmp_path / "out"), threads=1, onnx=True)
    with pytest.raises(UsageError, match=r"^--onnx: export: ONNX needs the package onnx; pip install"):
        run(request, heard.append)
    assert heard == ["starts from random weights"]


def test_a_debug_run_trains_both_networks(tmp_path: Path) -> None:
    text = CONFIG.replace("seed = 3", "seed = 3\ndiscriminator_every = 100")
    gan = debugged(replace(load_config(str(make_config(tmp_path / "set", text)), "gan"), start="none"), 1)
    lines = [one for one in trained(gan, str(tmp_path / "out")) if isinstance(one, Progress)]
    assert [one.iteration for one in lines if "gan" in one.losses] == [4, 8]


def test_a_debug_run_begins_anew_and_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    config, out = config_of(tmp_path / "set"), tmp_path / "out"
    trained(config, str(out))
    (out / "notes.txt").write_text("mine")
    with RunLock(str(out)), pytest.raises(BusyError):
        run(Request(config=config, out=str(out), anew=True), lambda _: None)
    assert list(out.glob("checkpoints/*"))
    run(Request(config=until(config, 2), out=str(out), threads=1, anew=True), lambda _: None)
    assert [path.name for path in out.glob("checkpoints/*")] == ["000000002.ckpt"]
    assert (out / "notes.txt").read_text() == "mine"


def test_a_loader_that_is_gone_ends_the_training_so_that_it_can_go_on(tmp_path: Path) -> None:
    config = config_of(tmp_path / "set", LONG.replace("loaders = 0", "loaders = 1"))

    def killing(news: Progress | Scored | str) -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGKILL)

    with pytest.raises(StalledError, match="a process that loads pairs is gone"):
        run(Request(config=config, out=str(tmp_path / "out"), threads=1), killing)


def test_too_little_memory_is_explained() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(1).expand(1 << 50).contiguous()
    said = explained(caught.value)
    assert isinstance(said, TrainingError)
    assert "data.batch" in str(said)
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(2) @ torch.zeros(3)
    assert explained(caught.value) is None


def test_a_picture_that_is_too_large_to_be_validated_is_named(tmp_path: Path) -> None:
    """Not the batch, which has nothing to do with it."""
    state = make_state(config_of(tmp_path / "set").plan, Start())
    huge = torch.zeros(1).expand(3, 1 << 20, 1 << 20)
    with pytest.raises(UsageError, match=r"^validation\.pairs: a of 1048576x1048576 pixels .* name smaller pictures"):
        validate.restored_of(state, validate.Pair("a", huge, huge))


def test_where_the_newest_checkpoint_is_damaged_the_one_before_it_is_taken(tmp_path: Path) -> None:
    """And what is done again leaves the same curve; where none is whole the newest is named."""
    config, out = config_of(tmp_path / "set"), tmp_path / "out"
    trained(until(config, 8), str(out))
    newest, earlier = (out / f"checkpoints/{at:09d}.ckpt" for at in (8, 4))
    content = newest.read_bytes()
    newest.write_bytes(content[:-1000])
    said = [one for one in trained(until(config, 8), str(out)) if isinstance(one, str)]
    assert said[0] == "goes on after iteration 8"
    assert f"{newest}: cannot be read" in said[1]
    assert said[1].endswith("; goes on after iteration 4 instead")
    assert newest.stat().st_size == len(content), "made again, and not taken for the damaged one"
    for path in (newest, earlier):
        path.write_bytes(b"none")
    with pytest.raises(UsageError, match=f"{newest}: cannot be read"):
        trained(config, str(out))
    trained(until(config, 8), str(tmp_path / "whole"))
    assert curve(str(out)) == curve(str(tmp_path / "whole"))


def test_a_damaged_checkpoint_goes_when_a_later_one_is_whole(tmp_path: Path) -> None:
    """Or it would be what several workers are said to have reached."""
    config, out = config_of(tmp_path / "set"), tmp_path / "out"
    trained(until(config, 12), str(out))
    damaged = out / "checkpoints/000000012.ckpt"
    damaged.write_bytes(b"none")
    trained(until(config, 10), str(out))
    assert sorted(path.name for path in (out / "checkpoints").iterdir())[-1] == "000000010.ckpt"


def test_another_configuration_does_not_go_on(tmp_path: Path) -> None:
    config, out = config_of(tmp_path / "set"), str(tmp_path / "out")
    trained(until(config, 4), out)
    with pytest.raises(UsageError, match="another configuration"):
        trained(replace(config, seed=9), out)
    with RunLock(out), pytest.raises(BusyError):
        trained(config, out)


def test_a_training_goes_on_in_another_home_and_not_on_other_pairs(tmp_path: Path) -> None:
    """Where pairs and a start lie decides nothing, and what the pairs are does."""
    config_of(tmp_path / "set")
    trained(until(load_config(str(tmp_path / "set/train.toml"), "net"), 4), str(tmp_path / "first"))
    (tmp_path / "set/begun.pth").write_bytes((tmp_path / "first/weights/tiny-000000004.pth").read_bytes())
    text = 'start = "begun.pth"\n' + (tmp_path / "set/train.toml").read_text()
    (tmp_path / "set/train.toml").write_text(text)
    trained(until(load_config(str(tmp_path / "set/train.toml"), "net"), 4), str(tmp_path / "set/out"))
    shutil.move(tmp_path / "set", tmp_path / "home")
    config, out = load_config(str(tmp_path / "home/train.toml"), "net"), str(tmp_path / "home/out")
    assert "goes on after iteration 4" in trained(until(config, 8), out)
    pairs = str(tmp_path / "home/pairs")
    made = read_index(pairs)
    (part,) = made.parts
    for other in (replace(made, options={"seed": 1}), replace(made, parts=(replace(part, samples=7),))):
        write_index(other, output(pairs))
        with pytest.raises(UsageError, match="another configuration, or of other pairs"):
            trained(config, out)
    write_index(made, output(pairs))
    trained(config, out)


def test_pairs_in_a_list_are_refused_where_pictures_are_degraded(tmp_path: Path) -> None:
    """Their poor picture would be left."""
    (tmp_path / "all.txt").write_text("gt/a.png, lq/a.png\n")
    with pytest.raises(ManifestError, match="lq"):
        PairDataset.on_the_fly(str(tmp_path / "all.txt"), "bicubic")


def test_pictures_that_are_degraded_on_the_way_are_told_by_their_names(tmp_path: Path) -> None:
    def content(folder: str, *names: str) -> str:
        (tmp_path / folder).mkdir()
        for seed, name in enumerate(names):
            (tmp_path / folder / name).write_bytes(png_of(photo(seed, 80, 80)))
        return PairDataset.on_the_fly(str(tmp_path / folder), "bicubic").content

    assert content("a", "1.png", "2.png") == content("b", "1.png", "2.png") != content("c", "1.png", "3.png")


def test_weights_that_are_not_here_are_never_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FARM_WEIGHTS_DIR", raising=False)
    config = config_of(tmp_path / "set")
    with pytest.raises(ModelError, match=r"esrgan-df2kost.*--from none"):
        trained(replace(config, start="esrgan-df2kost"), str(tmp_path / "a"))
    with pytest.raises(ModelError, match="neither a file nor known"):
        trained(replace(config, start="esrgan-df2k"), str(tmp_path / "a"))
    losses = replace(config.plan.losses, perceptual=1.0)
    with pytest.raises(ModelError, match=r"vgg19.*--perceptual none"):
        trained(replace(config, plan=replace(config.plan, losses=losses)), str(tmp_path / "a"))


def test_a_training_starts_from_another_ones_weights(tmp_path: Path) -> None:
    config = config_of(tmp_path / "set")
    trained(until(config, 4), str(tmp_path / "first"))
    start = str(tmp_path / "first/weights/tiny-000000004.pth")
    gan = debugged(load_config(str(tmp_path / "set/train.toml"), "gan"), 1)
    firsts: list[float] = []
    for name, begun in (("second", start), ("fresh", "none")):
        said = trained(replace(gan, start=begun), str(tmp_path / name))
        losses = [one.losses for one in said if isinstance(one, Progress)]
        assert len(losses) == DEBUG_ITERATIONS
        assert set(losses[0]) == {"pixel", "gan", "d_real", "d_fake", "out_real", "out_fake"}
        firsts.append(losses[0]["pixel"])
    assert firsts[0] < firsts[1]
    weights = {path.name for path in (tmp_path / "second/weights").iterdir()}
    assert "tiny-netd-000000008.pth" in weights


@pytest.mark.parametrize("loaders", [0, 1])
def test_a_pair_that_cannot_be_read_costs_no_iteration(loaders: int, tmp_path: Path) -> None:
    """What is trained until then is kept and in the log; with another picture in its place the training goes on."""
    text = CONFIG.replace("every = 4", "every = 100").replace("loaders = 0", f"loaders = {loaders}")
    text = text.replace('pairs = "pairs"\nevery', 'pairs = "unseen"\nevery').replace("batch = 4", "batch = 1")
    config, out = config_of(tmp_path / "set", text), str(tmp_path / "out")
    make_pairs(str(tmp_path / "set/unseen"), 2)
    order = Order([8], [1.0], config.seed)
    spoilt = order[7].number
    shutil.rmtree(tmp_path / "set/pairs")
    make_pairs(str(tmp_path / "set/pairs"), spoilt=spoilt)
    with pytest.raises(storage.ItemError, match=f"pic_{spoilt}"):
        trained(config, out)
    assert [path.name for path in (tmp_path / "out/checkpoints").iterdir()] == ["000000007.ckpt"]
    assert [line["iteration"] for line in curve(out) if "pixel" in line] == [2, 4, 6, 7]
    shutil.rmtree(tmp_path / "set/pairs")
    make_pairs(str(tmp_path / "set/pairs"))
    assert "goes on after iteration 7" in trained(config, out)
    trained(config, str(tmp_path / "whole"))
    name = "weights/tiny-000000012.pth"
    assert Path(out, name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_source_that_cannot_be_read_ends_the_training_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics/bad.png").write_bytes(b"no picture")
    text = CONFIG.replace('pairs = "pairs"\n[val', 'manifest = "../pics"\nrecipe = "bicubic"\n[val')
    for loaders in (0, 1):
        config = config_of(tmp_path / "set", text.replace("loaders = 0", f"loaders = {loaders}"))
        with pytest.raises(storage.ItemError, match=r"bad\.png"):
            trained(config, str(tmp_path / "out"))
