"""What `farm logs` tells of a run that was attached."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from farm import jobs
from farm.cli import main
from farm.jobs import diary, kept
from farm.ledger import RunNote
from farm.lock import RunLock
from tests.farm.roots import RUN, entry, failed, note, write
from tests.farm.test_jobs import JOB

BEGINS = f"2026-01-02T03:04:00Z run {RUN} begins: 3 rows of OUT-in by animevideov3, process 1 on host\n"
DONE = "2026-01-02T03:04:05Z done OUT/0.png in 1.0 s of work, by cpu-0\n"
FAILED = "2026-01-02T03:04:06Z failed truncated: OUT-in/1.png: is so; mend it\n"
ENDS = f"2026-01-02T03:05:00Z run {RUN} has ended with exit code 3: 1 done, 1 failed, 1 left\n"
ENDED = {"ended_unix": 1_767_323_100.0, "exit_code": 3, "done": 1, "failed": 1, "left": 1}


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("RAY_ADDRESS", "")
    return str(tmp_path / "out")


def logs(out: str, *flags: str) -> Result:
    return CliRunner().invoke(main, ["logs", out, *flags])


def said(text: str, out: str) -> str:
    return text.replace(out, "OUT")


def test_a_run_that_has_ended_is_told_from_its_beginning_to_its_end(out: str) -> None:
    """And no row of an earlier one."""
    before = entry(out, 2, run="20260101T000000Z-00000000")
    write(out, [failed(out, 1), entry(out, 0), before])
    note(out, 3, run="20260101T000000Z-00000000", started_unix=1_767_000_000.0, ended_unix=1_767_000_001.0)
    note(out, 3, **ENDED)
    made = logs(out)
    assert (made.exit_code, said(made.stdout, out)) == (0, BEGINS + DONE + FAILED + ENDS)
    found = json.loads(logs(out, "--json").stdout)
    assert (found["job"], said(found["log"], out)) == (None, BEGINS + DONE + FAILED + ENDS)
    assert said(logs(out, "--follow").stdout, out) == BEGINS + DONE + FAILED + ENDS
    lines = [json.loads(line) for line in logs(out, "--follow", "--json").stdout.splitlines()]
    assert lines[-1] == {"job": None}


def test_one_that_was_killed_is_told_to_be_gone(out: str) -> None:
    write(out, [entry(out, 0)])
    note(out, 3)
    assert said(logs(out).stdout, out).endswith(
        f"{DONE}2026-01-02T03:04:05Z run {RUN} is gone and has left no word of its end\n"
    )


def test_one_at_work_is_followed_line_by_line_until_it_ends(out: str) -> None:
    shown: list[str] = []
    with RunLock(out) as held:
        write(out, [entry(out, 0, run=held.run)], run=held.run, compacted=False)
        made = note(out, 3, run=held.run)
        begins = BEGINS.replace(RUN, held.run)
        assert said(diary.read(out), out) == begins + DONE

        def goes_on(_: float) -> None:
            if len(shown) == 1:
                write(out, [failed(out, 1, run=held.run)], run=held.run, compacted=False)
            elif len(shown) == 3:
                note(out, 3, run=held.run, **ENDED)

        diary.follow(out, shown.append, goes_on)
    assert [said(text, out) for text in shown] == [begins + DONE, FAILED, "", ENDS.replace(RUN, made.run)]


def test_of_many_rows_the_latest_are_told(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diary, "MOST_ROWS", 2)
    write(out, [entry(out, row) for row in range(5)])
    note(out, 5, **ENDED)
    lines = said(logs(out).stdout, out).splitlines()
    assert lines[1] == "2026-01-02T03:04:08Z 3 rows before these: results.parquet has them"
    assert [line.split()[2] for line in lines[2:4]] == ["OUT/3.png", "OUT/4.png"]


def test_who_follows_hears_once_how_many_rows_came_before(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diary, "MOST_ROWS", 1)
    shown: list[str] = []
    with RunLock(out) as held:
        write(out, [entry(out, row, run=held.run) for row in range(2)], run=held.run, compacted=False)
        note(out, 4, run=held.run)

        def goes_on(_: float) -> None:
            if len(shown) == 1:
                write(out, [entry(out, 2, run=held.run)], run=held.run, compacted=False)
            else:
                note(out, 4, run=held.run, **ENDED)

        diary.follow(out, shown.append, goes_on)
    assert ["rows before these" in text for text in shown] == [True] + [False] * (len(shown) - 1)
    assert any("OUT/2.png" in said(text, out) for text in shown[1:])


def test_names_make_no_lines_of_their_own(out: str) -> None:
    write(out, [entry(out, 0, "a\n\x1b[2Jb.png")])
    note(out, 1, **ENDED)
    assert len(logs(out).stdout.splitlines()) == 3
    assert "\x1b" not in logs(out).stdout


def test_of_a_job_and_an_attached_run_the_later_one_is_told(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(out, [entry(out, 0)])
    made: RunNote = note(out, 3, **ENDED)
    monkeypatch.setattr(kept, "read_log", lambda job: f"said by {job}\n")
    for ended_unix, is_job in ((made.started_unix - 1, False), (made.started_unix + 1, True)):
        job = replace(JOB, root=out, state="succeeded", ended_unix=ended_unix)
        monkeypatch.setattr(kept, "read_jobs", lambda job=job: [job])
        assert (logs(out).stdout == f"said by {JOB.id}\n") is is_job
        assert logs(JOB.id).stdout == f"said by {JOB.id}\n"


def test_what_is_no_output_root_is_said(out: str) -> None:
    made = logs(out)
    assert (made.exit_code, "it is no output root of a run" in made.output) == (2, True), made.output
    assert jobs.is_job_id(JOB.id)
