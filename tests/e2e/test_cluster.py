"""The same command on a Ray cluster that somebody else started, and what it says when there is too little of it."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import REPOSITORY, Farm, results

Make = Callable[..., Path]

HEAD = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 0, "include_dashboard": False})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """Environment of a user of a cluster of our own: its address and its token."""
    import os

    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD],
        cwd=REPOSITORY,
        env={**os.environ, **token, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert head.stdout is not None
    address = ""
    for line in head.stdout:
        if ":" in line and line.strip().rpartition(":")[2].isdigit():
            address = line.strip()
            break
    assert address, "the cluster did not start"
    yield {**token, "RAY_ADDRESS": address, "PYTHONPATH": str(REPOSITORY)}
    head.communicate("", timeout=60)


def test_the_same_command_runs_on_a_cluster(
    farm: Farm, make_picture: Make, tmp_path: Path, cluster: dict[str, str]
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for index in range(3):
        make_picture(source / f"{index}.png", seed=index)
    made = farm.submit(source, out, "--workers", "2", env=cluster)
    assert made.returncode == 0, made.stderr
    assert [row["status"] for row in results(out)] == ["done"] * 3


def test_gpus_that_do_not_come_end_the_wait(
    farm: Farm, make_picture: Make, tmp_path: Path, cluster: dict[str, str]
) -> None:
    picture = make_picture(tmp_path / "a.png")
    made = farm.run("submit", picture, "--model", farm.model, "--gpus", "2", "--wait-gpus", "3", env=cluster)
    assert made.returncode == 69, made.stderr
    assert "2 of 2 workers found no place" in made.stderr


def test_more_gpus_than_this_machine_has_is_said_at_once(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "a.png")
    made = farm.run("submit", picture, "--model", farm.model, "--gpus", "1000")
    assert made.returncode == 2
    assert "1000 asked for" in made.stderr


def test_a_cluster_that_does_not_answer_is_named(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "a.png")
    made = farm.run("submit", picture, "--model", farm.model, "--workers", "1", "--address", "127.0.0.1:1")
    assert made.returncode == 69, made.stderr
    assert "127.0.0.1:1" in made.stderr
