"""Trainings that are killed at every step of a checkpoint, one process after the other, have the curve of one that was
not."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from farm import storage
from tests.farm.training.sets import CONFIG, make_config

from ..stores import Store, opened
from .zygote import Ran, Zygote

POINTS = (
    "storage.publish.before~*.pth",
    "storage.publish.after~*.safetensors",
    "storage.publish.before~*/log/*",
    "storage.publish.after~*/log/*",
    "storage.fsync.after~*.ckpt*",
    "storage.publish.before~*.ckpt",
    "storage.publish.after~*.ckpt",
    "storage.publish.after~*.ckpt",
    "storage.delete~*/checkpoints/*",
    "storage.delete~*/weights/*",
    "storage.publish.before~*/validation/*",
    "storage.publish.after~*/validation/*",
)
"""in the order in which one process after the other is killed there"""
FEW = (POINTS[0], *POINTS[5:7], POINTS[8])
KEEP = "every = 2\ntensorboard = false\nweights = 2\ncheckpoints = 1"
TEXT = CONFIG.replace("every = 4", KEEP).replace("log = 2", "log = 1")
FLAGS = {"net": (), "gan": ("--from", "none", "--perceptual", "none")}


@pytest.mark.parametrize(
    ("stage", "kind"), [("net", "file"), ("gan", "file"), pytest.param("net", "s3-path", marks=pytest.mark.s3)]
)
def test_a_training_that_is_killed_inside_checkpoints_has_the_same_curve(
    stage: str, kind: str, zygote: Zygote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(kind, tmp_path, monkeypatch) as store:
        kill_at_each_point(stage, store, zygote, tmp_path)


def kill_at_each_point(stage: str, store: Store, zygote: Zygote, tmp_path: Path) -> None:
    config = make_config(tmp_path / "set", TEXT)
    out, whole = storage.join(store.root, "out"), str(tmp_path / "whole")
    environment = {} if store.server is None else store.server.environment

    def train(root: str, rule: str = "") -> Ran:
        flags = ("--stage", stage, *FLAGS[stage], "--workers", "1", "--gpus", "0", "--threads", "1", "--out", root)
        return zygote.run("train", config, *flags, rules=rule, env={"RAY_ADDRESS": "", **environment})

    made = train(whole)
    assert made.code == 0, made.said
    for point in POINTS if (stage, store.kind) == ("net", "file") else FEW:
        ended = train(out, f"{point}=kill")
        assert ended.code == -signal.SIGKILL, (point, ended)
        if store.server is not None:
            storage.delete_tree(storage.join(out, ".farm", "lock"))  # as if its lease had run out
    made = train(out)
    assert made.code == 0, made.said
    assert "goes on after iteration" in made.said
    assert contents(out) == contents(whole)


def contents(out: str) -> dict[str, bytes]:
    """What is kept, but for the checkpoints, which hold the same in archives with times."""
    files = {file.url.removeprefix(out): file.url for file in storage.list_files(out)}
    return {
        name: storage.read_bytes(url)
        for name, url in files.items()
        if not name.startswith(("/.farm/", "/checkpoints/"))
    }
