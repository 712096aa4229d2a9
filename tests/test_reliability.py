"""docs/reliability.md names tests that there are, docs/exit-codes.md every code that there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from farm import errors, signals

ROOT = Path(__file__).parents[1]


def test_every_promise_names_tests_that_there_are() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text()
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^ *def (test_\w+)\(", path.read_text("utf-8"), re.MULTILINE)
    }
    rows = [line.split("|") for line in text.splitlines() if re.match(r"\| [RS]\d+ \|", line)]
    assert [row[1].strip() for row in rows] == [*(f"R{at}" for at in range(1, 22)), *(f"S{at}" for at in range(1, 9))]
    assert set(re.findall(r"`(test_\w+)`", text)) <= there
    for row in rows:
        named = set(re.findall(r"`(test_\w+)`", row[3]))
        assert named or all((ROOT / path).exists() for path in re.findall(r"`(tests/\S+)`", row[3])), row[1]
        assert named <= there, named - there


def codes(kind: type[errors.FarmError]) -> Iterator[int]:
    if kind is not errors.InterruptedRun:  # which has that of its signal
        yield kind.exit_code
    for narrower in kind.__subclasses__():
        yield from codes(narrower)


def test_every_exit_code_is_in_the_one_table_of_them_and_others_point_there() -> None:
    text = (ROOT / "docs" / "exit-codes.md").read_text()
    told = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", text, re.MULTILINE) for code in row.split(", ")}
    assert told >= {0, *codes(errors.FarmError), *(128 + signum for signum in signals._SIGNALS)}
    for page in ("README.md", "docs/nightly.md", "docs/detached-runs.md"):
        assert "exit-codes.md)" in (ROOT / page).read_text(), page
