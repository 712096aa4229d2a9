"""One real run, started by the example of docs/python.md, and every command of docs/report.md on what it left."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from farm import Result, Run
from farm.forecast import read_rates, write_rates
from farm.ledger import RESULT_COLUMNS, read_notes
from tests.clips import film as clip
from tests.farm.test_report import Page

from ..runs import REPOSITORY, Farm, results

Make = Callable[..., Path]
DOCS = REPOSITORY / "docs"


def code(page: str, language: str) -> list[str]:
    """The blocks of code of a page, without their fences."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def called(folder: Path, farm: Farm, env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    """A Python command in a folder, as somebody who has installed the farm."""
    paths = {"PYTHONPATH": str(REPOSITORY), "XDG_CACHE_HOME": str(farm.cache)}
    return subprocess.run(
        [sys.executable, *args],
        cwd=folder,
        env={**os.environ, **env, **paths},
        capture_output=True,
        text=True,
        timeout=farm.timeout_s,
        check=False,
    )


def test_the_examples_of_the_docs_work_on_a_run_of_their_own(
    farm: Farm, cluster: dict[str, str], make_picture: Make, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    for number in range(3):
        make_picture(photos / f"{number}.png", 40, 30, seed=number)
    (photos / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (photos / "film.mov").write_bytes(clip("runs.mov"))
    (example,) = code("python.md", "python")
    example = example.replace("animevideov3", str(farm.model)).replace("gpus=0", "workers=2")
    done = called(tmp_path, farm, cluster, "-c", example)
    assert done.returncode == 0, done.stderr
    assert "4 done, 1 failed" in done.stdout
    assert "finished 4 0 None {'" in done.stdout
    _the_run_says_what_it_did(tmp_path / "restored")
    commands = [line for block in code("report.md", "") for line in block.splitlines()]
    assert len(commands) == 11
    said = {line: _called(tmp_path, farm, line) for line in commands}
    for line, answer in said.items():
        assert answer.returncode == 0, (line, answer.stderr)
    _the_answers_are_right(tmp_path, said)
    _a_laptop_plans_for_gpus(tmp_path, farm)


def _called(folder: Path, farm: Farm, line: str) -> subprocess.CompletedProcess[str]:
    """A line of the docs, with the tests' own network; one that names no root, in the root's folder."""
    words = shlex.split(line, comments=True)
    arguments = [str(farm.model) if word == "animevideov3" else word for word in words]
    return called(folder if len(words) > 2 else folder / "restored", farm, {}, "-m", *arguments)


def _the_run_says_what_it_did(out: Path) -> None:
    (note,) = read_notes(str(out))
    assert (note.rows, note.done, note.failed, note.left, note.exit_code) == (5, 4, 1, 0, 3)
    assert note.frames == 4
    assert note.seconds is not None
    assert note.seconds > 0
    assert [(one.row, one.output, one.bytes) for one in Run(str(out)).results()] == [
        (row["row"], row["output"], row["bytes"]) for row in results(out)
    ]
    assert list(Result.__slots__) == [name for name, _ in RESULT_COLUMNS]


def _the_answers_are_right(folder: Path, said: dict[str, subprocess.CompletedProcess[str]]) -> None:
    page = Page((folder / "report.html").read_bytes())
    assert "4 frames, flicker" in page.text
    assert "Where the time went" in page.text
    assert "Known of" not in page.text, "every row that is done knows its stages"
    assert len(page.of("input")) == 4
    assert (folder / "sheet.png").stat().st_size > 1000
    answers = {line.split("#")[0].strip(): answer.stdout for line, answer in said.items()}
    assert json.loads(answers["farm status restored/ --json"])["state"] == "finished"
    assert json.loads(answers["farm list . --json"])["done"] == 4
    assert "4 done, 1 failed" in answers["farm list ."]
    planned = json.loads(answers["farm plan photos/ --model animevideov3 --gpus 0 --json"])
    assert (planned["rows"], planned["films"], planned["unreadable"]) == (5, 1, 1)


def _a_laptop_plans_for_gpus(folder: Path, farm: Farm) -> None:
    here = read_rates(str(folder / "rate.json"))
    write_rates(str(folder / "h100.json"), replace(here, device="cuda", host="far", machine="NVIDIA H100"))
    flags = ("--model", str(farm.model), "--gpus", "8", "--rate", "h100.json")
    planned = called(folder, farm, {}, "-m", "farm", "plan", "photos/", *flags)
    assert planned.returncode == 0, planned.stderr
    assert "on 8 GPUs" in planned.stdout
