from __future__ import annotations

import pytest

from farm.summary import SHOWN, RowState, Tally


def tally(**states: int) -> Tally:
    made = Tally()
    for name, count in states.items():
        made.states[RowState(name)] = count
    return made


def test_counts_add_up_whatever_happened_to_the_manifest() -> None:
    """Rows = done + reused + skipped + failed + left."""
    counted = tally(pending=5, reused=2, settled=1, refused=1)
    counted.done, counted.failed = 3, 1
    for rows in (9, 12, 7):  # as surveyed; stopped early; grown since
        summary = counted.summary("/out", "/out/results.parquet", rows=rows, seconds=1.0, signum=None)
        assert summary.rows == max(rows, 9)
        assert summary.rows == summary.done + summary.reused + summary.skipped + summary.failed + summary.left
        assert summary.left == summary.rows - 8


@pytest.mark.parametrize(
    ("done", "failed", "signum", "code"), [(2, 0, None, 0), (1, 1, None, 3), (1, 0, None, 75), (1, 0, 15, 143)]
)
def test_the_exit_code_says_how_it_ended(done: int, failed: int, signum: int | None, code: int) -> None:
    counted = tally(pending=2)
    counted.done, counted.failed = done, failed
    assert counted.summary("/o", "/r", rows=2, seconds=1.0, signum=signum).exit_code == code


def test_only_a_few_are_named() -> None:
    counted = Tally()
    for index in range(100):
        counted.note_output(str(index))
        counted.note_failure(str(index))
    assert len(counted.outputs) == len(counted.failures) == 5


def test_warnings_are_counted_and_the_first_few_are_shown() -> None:
    tally = Tally()
    for number in range(SHOWN + 2):
        tally.note_warning(f"/in/{number}.mp4", "stream 1 is copied, not restored")
    summary = tally.summary("/out", "/out/results.parquet", rows=0, seconds=1.0, signum=None)
    assert (summary.warned, len(summary.warnings)) == (SHOWN + 2, SHOWN)
    assert summary.warnings[0] == "/in/0.mp4: stream 1 is copied, not restored"
