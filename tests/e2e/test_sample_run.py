"""A sample before the whole, as a user starts it: at a terminal, without one, with each answer; every command of
docs/sample.md."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from farm.lock import RunLock
from tests.clips import film as clip
from tests.farm.test_report import Page

from ..runs import REPOSITORY, Farm, files, identity, results

Make = Callable[..., Path]
QUESTION = "rows? [y/N] "


@pytest.fixture(scope="module")
def farm(farm: Farm, cluster: dict[str, str]) -> Farm:
    """What is said and made is what counts here; one test starts a Ray of its own."""
    return replace(farm, environment=cluster)


@pytest.fixture
def source(tmp_path: Path, make_picture: Make) -> Path:
    """Ten pictures in two folders, large and small, one of them cut, and a film."""
    folder = tmp_path / "in"
    for at in range(9):
        make_picture(folder / f"{'ab'[at % 2]}/{at}.png", *((160, 120) if at % 3 else (24, 16)), seed=at)
    (folder / "a" / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (folder / "a" / "film.mov").write_bytes(clip("runs.mov"))
    return folder


class Terminal:
    """A command that has a terminal for its input and its errors; its answers go elsewhere, as in a pipe."""

    def __init__(self, farm: Farm, *args: str | Path) -> None:
        self._ours, theirs = pty.openpty()
        self.said = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "farm", *map(str, args)],
            cwd=REPOSITORY,
            env=farm.variables,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
        )
        os.close(theirs)

    def wait_for(self, words: str, limit_s: float = 120) -> None:
        """Read what it says until it has said `words`."""
        until = time.monotonic() + limit_s
        while words not in self.said:
            assert time.monotonic() < until, self.said
            assert self._read(), self.said

    def _read(self) -> bool:
        """Whether it may say more."""
        if not select.select([self._ours], [], [], 1)[0]:
            return True
        try:
            data = os.read(self._ours, 4096)
        except OSError:  # the other end is closed
            return False
        self.said += data.decode()
        return bool(data)

    def answer(self, line: str) -> None:
        os.write(self._ours, line.encode())

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str]:
        """(exit code, what it wrote to its output)."""
        while self._read():
            pass
        out, _ = self._process.communicate(timeout=60)
        return self._process.returncode, out

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)
        os.close(self._ours)


@contextmanager
def at_terminal(farm: Farm, *args: str | Path) -> Iterator[Terminal]:
    terminal = Terminal(farm, *args)
    try:
        yield terminal
    finally:
        terminal.close()


def test_a_sample_and_then_all_is_what_all_is(farm: Farm, source: Path, tmp_path: Path) -> None:
    """With a Ray of its own, which is started twice."""
    alone = replace(farm, environment={})
    both = alone.submit(source, tmp_path / "both", "--sample", "4", "--yes", "--workers", "1")
    assert both.returncode == 3, both.stderr
    assert re.search(r"sample: 4 of 11 rows to do, of 4 of \d+ kinds, sizes and folders: [34] done", both.stderr)
    assert "10 done, 1 failed of 11" in both.stderr
    assert both.stdout == f"{tmp_path}/both/results.parquet\n"
    plain = farm.submit(source, tmp_path / "plain")
    assert plain.returncode == 3, plain.stderr
    assert identity(tmp_path / "both") == identity(tmp_path / "plain")
    assert files(tmp_path / "both") == files(tmp_path / "plain") | {"sample.html"}
    same = files(tmp_path / "plain") - {"results.parquet"}
    assert all((tmp_path / "both" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes() for name in same)


def test_without_a_terminal_the_rest_is_left_and_the_same_command_with_yes_does_it(
    farm: Farm, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = farm.submit(source, out, "--sample", "6", "--json")
    assert first.returncode == 75, first.stderr
    said, end = event(first.stdout, "sample"), event(first.stdout, "end")
    assert (end["stopped"], end["left"], end["exit_code"]) == ("--sample", 5, 75)
    assert "sample: 6 of 11 rows to do" in first.stderr, "as nobody said whether the rest follows"
    assert (said["rows"], said["population"], said["left"], said["goes_on"]) == (6, 11, 5, False)
    assert said["done"] + said["failed"] == 6
    assert said["worker_seconds"] > 0
    assert said["whole"]["source_px"] > said["source_px"] > 0
    assert said["whole"]["output_bytes"] > said["output_bytes"] > 0
    assert said["page"] == f"{out}/sample.html"
    page = Page((out / "sample.html").read_bytes())
    assert "A sample of 6 of 11 rows" in page.text
    assert len(page.of("input")) == said["done"]
    assert len(results(out)) == 6
    made = {path: path.stat().st_mtime_ns for path in out.rglob("*_4x.*")}
    began = time.monotonic()
    again = farm.submit(source, out, "--sample", "6")
    assert again.returncode == 75, again.stderr
    assert time.monotonic() - began < 10, "nothing to do starts no worker"
    assert "sample: done before: 6 of 11 rows to do" in again.stderr
    assert "stopped by --sample; 5 left; the same command with --yes, or without --sample, goes on" in again.stderr
    last = farm.submit(source, out, "--sample", "6", "--yes")
    assert last.returncode == 3, last.stderr
    assert "sample: done before: 6 of 11 rows to do" in last.stderr
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert len(results(out)) == 11
    idle = farm.submit(source, out, "--sample", "6", "--yes")
    assert "no sample: no row is to do" in idle.stderr


def test_more_than_the_limit_ends_with_four_and_less_goes_on(farm: Farm, source: Path, tmp_path: Path) -> None:
    """A sample of ten of eleven has the cut picture, the only one of its kind; and a network of random weights makes
    pictures that are suspect."""
    out = tmp_path / "out"
    bad = farm.submit(source, out, "--sample", "10", "--yes-if-suspect-below", "2%", "--json")
    assert bad.returncode == 4, bad.stderr
    said = event(bad.stdout, "sample")
    suspect = sum(bool(row["suspect"]) for row in results(out))
    assert 0 < suspect < 9
    assert (said["done"], said["failed"], said["suspect"], said["goes_on"]) == (9, 1, suspect, False)
    assert said["bad_percent"] == 10 * (1 + suspect)
    same = farm.submit(source, out, "--sample", "10", "--yes-if-suspect-below", f"{said['bad_percent']:g}%")
    assert same.returncode == 4, same.stderr
    assert "stopped by --yes-if-suspect-below; 1 left; the same command with --yes instead of" in same.stderr
    good = farm.submit(source, out, "--sample", "10", "--yes-if-suspect-below", f"{said['bad_percent'] + 1:g}%")
    assert good.returncode == 3, good.stderr
    assert len(results(out)) == 11


def test_at_a_terminal_a_person_is_asked(farm: Farm, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    args = farm.submit_args(source, out, "--sample", "6")
    with at_terminal(farm, *args) as terminal:
        terminal.wait_for(f"go on with the other 5 {QUESTION}")
        with RunLock(str(out)):
            assert (out / "sample.html").exists(), "while it waits, nobody is kept out"
        terminal.answer("what\n")
        terminal.wait_for("what")
        terminal.answer("n\n")
        code, said = terminal.end()
        assert (code, said) == (75, f"{out}/results.parquet\n"), terminal.said
        assert terminal.said.count(QUESTION) == 2, "an answer that is none is asked for again"
        assert "5 left" in terminal.said
    with at_terminal(farm, *args) as terminal:
        terminal.wait_for(QUESTION)
        terminal.interrupt()
        assert terminal.end()[0] == 130, terminal.said
    with at_terminal(farm, *args) as terminal:
        terminal.wait_for(QUESTION)
        terminal.answer("\x04")  # the end of a terminal's input
        assert terminal.end()[0] == 75, terminal.said
    with at_terminal(farm, *args, "--quiet") as terminal:
        terminal.wait_for(QUESTION)
        terminal.answer("y\n")
        assert terminal.end()[0] == 3, terminal.said
    assert len(results(out)) == 11


def test_every_command_of_the_page_works(farm: Farm, source: Path, tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "sample.md").read_text("utf-8")
    blocks = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    commands = [
        shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line[:5] == "farm "
    ]
    assert len(commands) == 3
    shutil.copytree(source, tmp_path / "photos")
    (tmp_path / "photos" / "a" / "cut.jpg").unlink()
    model = calm(farm.model, tmp_path / "calm.pth")
    codes: list[int] = []
    for words in commands:
        words = [str(model) if word == "animevideov3" else word for word in words[1:]]
        words = ["7" if word == "20" else str(tmp_path / word) if word == "photos/" else word for word in words]
        ran = farm.run(*words, "--workers", "1")
        codes.append(ran.returncode)
    assert codes == [0, 75, 0], ran.stderr
    assert event(ran.stdout, "sample")["goes_on"] is True


def event(stdout: str, name: str) -> dict[str, Any]:
    """The one line of --json of that name."""
    (found,) = (line for line in map(json.loads, stdout.splitlines()) if line["event"] == name)
    return found


def calm(model: Path, to: Path) -> Path:
    """The same network without a residual: it enlarges as it is, and nothing of that is suspect."""
    state = torch.load(model, weights_only=True)["params"]
    last = max((name for name in state if name.endswith("bias")), key=lambda name: int(name.split(".")[1]))
    for name in (last, last.replace("bias", "weight")):
        state[name].zero_()
    torch.save({"params": state}, to)
    return to
