"""The same command on a Ray cluster that somebody else started, and what it says when there is too little of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..runs import Farm, results

Make = Callable[..., Path]


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
