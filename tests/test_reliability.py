"""docs/reliability.md names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

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
