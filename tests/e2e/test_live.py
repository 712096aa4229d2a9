"""A whole run on a terminal, and one that programs read: what stands there while it works, and what stays."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ..runs import REPOSITORY, Farm, results
from ..small_terminal import open_pty

Make = Callable[..., Path]
FLAGS = ("--workers", "1", "--band-px", "12000", "--tile-px", "64")
HOSTILE = "a\x1b[2J\x1b]0;mine\x07\n{}.png"
MANY = 32
"""pictures: on a fast machine, too, there is time to show what both workers have brought back before all is done"""


def hostile_pictures(folder: Path, make: Make, count: int) -> Path:
    """The same picture so many times, and one that is none."""
    picture = make(folder / HOSTILE.format(0), 200, 160)
    for index in range(1, count):
        (folder / HOSTILE.format(index)).hardlink_to(picture)
    (folder / "0bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return folder


def test_a_terminal_shows_each_worker_and_failures_and_keeps_only_the_summary(
    slow_farm: Farm, make_picture: Make, tmp_path: Path, cluster: dict[str, str]
) -> None:
    source = hostile_pictures(tmp_path / "in", make_picture, MANY)
    words = slow_farm.submit_args(source, tmp_path / "out", "--workers", "2")
    with open_pty(100, 12) as pty:
        driver = subprocess.Popen(
            [sys.executable, "-m", "farm", *map(str, words)],
            cwd=REPOSITORY,
            env={**slow_farm.variables, **cluster},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=pty.theirs,
        )
        while driver.poll() is None:
            pty.read(0.1)
        pty.read()
    assert driver.returncode == 3
    live = [screen for screen in pty.terminal.screens if any("upscale-slow-1  [" in line for line in screen)]
    overall, *failed, one, other = live[-1]
    assert overall.startswith("["), live[-1]
    assert [line.startswith("  failed: 1 ") for line in failed] == [True], live[-1]
    assert (one[:20], other[:20]) == ("  upscale-slow-0  [#", "  upscale-slow-1  [#"), live[-1]
    assert "?[2J?]0;mine??" in "".join(pty.terminal.everything)
    kept = pty.terminal.seen
    assert kept[-1].startswith(f"{MANY} done, 1 failed of {MANY + 1} in "), kept
    assert not [line for line in kept if line.startswith(("[#", "[.", "  upscale-"))], kept


def test_a_program_reads_every_row_and_the_end(
    farm: Farm, make_picture: Make, tmp_path: Path, cluster: dict[str, str]
) -> None:
    source = hostile_pictures(tmp_path / "in", make_picture, 3)
    made = farm.submit(source, tmp_path / "out", *FLAGS, "--json", env=cluster)
    assert (made.returncode, made.stderr) == (3, "")
    lines = [json.loads(line) for line in made.stdout.splitlines()]
    events = [line["event"] for line in lines]
    assert [event for event in events if event != "waiting"][:4] == ["begin", "plan", "note", "work"]
    assert (events.count("row"), events.count("cut"), events[-1]) == (4, 3, "end")
    wanted = {row["source"]: (row["status"], row["error"]) for row in results(tmp_path / "out")}
    rows = [line for line in lines if line["event"] == "row"]
    assert {row["source"]: (row["status"], row.get("error", "")) for row in rows} == wanted
    assert sum(line["px"] for line in lines if line["event"] == "piece") == 3 * 200 * 160
    assert {line["worker"] for line in lines if line["event"] == "piece"} == {"upscale-tiny-0"}
    stands = next(line for line in lines if line["event"] == "standing")
    assert [one["name"] for one in stands["workers"]] == ["upscale-tiny-0"]
    end = lines[-1]
    assert (end["done"], end["failed"], end["left"], end["exit_code"]) == (3, 1, 0, 3)
    assert end["results"] == str(tmp_path / "out" / "results.parquet")


def test_lines_for_programs_and_silence_contradict_each_other(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "a.png")
    for flag in ("--quiet", "--dry-run"):
        made = farm.submit(picture, tmp_path / "out", "--json", flag)
        assert (made.returncode, made.stderr.startswith("farm: --json: ")) == (2, True), made.stderr
