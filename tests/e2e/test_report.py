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

import pytest
from click.testing import CliRunner

from farm import Result, Run
from farm.cli import main
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


def test_the_examples_of_the_docs_work_on_a_run_of_their_own(
    farm: Farm, cluster: dict[str, str], make_picture: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    for number in range(3):
        make_picture(photos / f"{number}.png", 40, 30, seed=number)
    (photos / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (photos / "film.mov").write_bytes(clip("runs.mov"))
    (example,) = code("python.md", "python")
    example = example.replace("animevideov3", str(farm.model)).replace("gpus=0", "workers=2")
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env={**os.environ, **cluster, "PYTHONPATH": str(REPOSITORY), "XDG_CACHE_HOME": str(farm.cache)},
        capture_output=True,
        text=True,
        timeout=farm.timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "4 done, 1 failed" in done.stdout
    assert "finished 4 0 None {'" in done.stdout
    _the_run_says_what_it_did(tmp_path / "restored")
    monkeypatch.setenv("XDG_CACHE_HOME", str(farm.cache))
    said: dict[str, str] = {}
    for line in (line for block in code("report.md", "") for line in block.splitlines()):
        words = shlex.split(line, comments=True)
        monkeypatch.chdir(tmp_path if len(words) > 2 else tmp_path / "restored")
        said[shlex.join(words)] = _said([str(farm.model) if word == "animevideov3" else word for word in words])
    assert len(said) == 10
    _the_answers_are_right(tmp_path, said)
    here = read_rates("rate.json")
    write_rates("h100.json", replace(here, device="cuda", host="far", machine="NVIDIA H100"))
    flags = ["--model", str(farm.model), "--gpus", "8", "--rate", "h100.json"]
    assert "on 8 GPUs" in _said(["farm", "plan", "photos/", *flags]), "a laptop plans for others' GPUs"


def _said(words: list[str]) -> str:
    """What a command of the farm answers."""
    assert words[0] == "farm"
    answer = CliRunner().invoke(main, words[1:])
    assert answer.exit_code == 0, (words, answer.output)
    return answer.stdout


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


def _the_answers_are_right(folder: Path, said: dict[str, str]) -> None:
    page = Page((folder / "report.html").read_bytes())
    assert "4 frames, flicker" in page.text
    assert "Where the time went" in page.text
    assert "Known of" not in page.text, "every row that is done knows its stages"
    assert len(page.of("input")) == 4
    assert (folder / "sheet.png").stat().st_size > 1000
    assert json.loads(said["farm status restored/ --json"])["state"] == "finished"
    assert json.loads(said["farm list . --json"])["done"] == 4
    assert "4 done, 1 failed" in said["farm list ."]
    assert "CPU workers" in said["farm plan photos/ --model animevideov3 --gpus 0"]
    planned = json.loads(said["farm plan photos/ --model animevideov3 --gpus 0 --rate rate.json --json"])
    assert (planned["rows"], planned["films"], planned["unreadable"]) == (5, 1, 1)
