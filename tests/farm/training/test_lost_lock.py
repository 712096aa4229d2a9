"""A training whose output root on a store has become another's writes nothing more and removes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm import storage
from farm.errors import LostLockError
from farm.lock import RunLock
from farm.lock import lease as leases
from farm.training import load_config
from farm.training.keep import Kept
from farm.training.loop import Job, Progress, Scored
from farm.training.run import Request, run
from farm.training.workers import guard_of
from tests.farm.training.sets import CONFIG, make_config, make_pairs
from tests.stores import Store, opened

pytestmark = pytest.mark.s3


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with opened("s3-path", tmp_path, monkeypatch) as found:
        yield found


def take_over(root: str) -> None:
    """As another command does once a lease has run out."""
    said = {"run": "new", "pid": 1, "host": "elsewhere", "lease_s": 60.0, "released": False}
    number = max(leases.epochs(root, 10)) + 1
    assert storage.create(f"{root}/.farm/lock/{number:010d}.json", json.dumps(said).encode(), limit_s=10)


def kept(root: str) -> set[str]:
    """What a training has left."""
    names = {file.url.removeprefix(root) for file in storage.list_files(root)}
    return {name for name in names if not name.startswith("/.farm/")}


def test_a_training_whose_lock_is_anothers_keeps_and_removes_nothing_more(store: Store, tmp_path: Path) -> None:
    """As a machine that was asleep: it learns of it from the store, before the checkpoint and before older ones go."""
    config = load_config(
        str(make_config(tmp_path / "set", CONFIG.replace("log = 2", "log = 2\ncheckpoints = 1"))), "net"
    )
    before = set[str]()

    def overtaking(news: Progress | Scored | str) -> None:
        if isinstance(news, Progress) and news.iteration == 8:
            before.update(kept(store.root))
            take_over(store.root)

    with pytest.raises(LostLockError, match="run new on elsewhere has taken over; nothing more is written") as caught:
        run(Request(config=config, out=store.root, threads=1), overtaking)
    assert caught.value.exit_code == 75
    assert "/checkpoints/000000004.ckpt" in before
    added = kept(store.root) - before
    assert before <= kept(store.root)
    assert not [name for name in added if "checkpoints" in name], "others would go on from it"


def test_a_training_that_cannot_renew_its_lease_ends_in_the_next_iteration(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(leases.VARIABLE, "2")
    text = CONFIG.replace("iterations = 12", "iterations = 1000000").replace("every = 4", "every = 1000000")
    config = load_config(str(make_config(tmp_path / "set", text.replace("every = 6", "every = 1000000"))), "net")

    def overtaking(news: Progress | Scored | str) -> None:
        if isinstance(news, Progress) and news.iteration == 8:
            take_over(store.root)

    with pytest.raises(LostLockError):
        run(Request(config=config, out=store.root, threads=1), overtaking)
    assert kept(store.root) == set()


def test_workers_on_ray_ask_for_their_command(store: Store, tmp_path: Path) -> None:
    config = load_config(str(make_config(tmp_path / "set")), "net")
    with RunLock(store.root) as held:
        job = Job(config=config, out=store.root, attempt=held.run)
        root = Kept(storage.OutputRoot(url=job.out, attempt=job.attempt), config, guard=guard_of(job))
        root.publish("log/1.jsonl", b"")
        take_over(store.root)
        with pytest.raises(LostLockError, match="nothing more is written"):
            guard_of(job).confirm()


def test_a_training_that_is_ended_in_the_middle_of_things_frees_its_lease(store: Store, tmp_path: Path) -> None:
    """The second of two signals ends it at once."""
    assert store.server is not None
    text = CONFIG.replace("iterations = 12", "iterations = 1000000").replace("every = 4", "every = 1000000")
    config = make_config(tmp_path / "set", text.replace("every = 6", "every = 1000000").replace("most = 2", "most = 0"))
    make_pairs(str(tmp_path / "set/pairs"), 8)
    command = [sys.executable, "-m", "farm", "train", str(config), "--stage", "net", "--gpus", "0", "--threads", "1"]
    with subprocess.Popen(
        [*command, "--out", store.root],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FARM_FAILPOINTS": "storage.publish.before~*.pth=hang"},
    ) as process:
        assert process.stderr is not None
        assert next((line for line in process.stderr if " it/s" in line), "")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    with RunLock(store.root):
        pass
