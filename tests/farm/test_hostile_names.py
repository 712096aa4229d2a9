"""Names of files are text and nothing else (S7): no terminal acts on them, no spreadsheet runs them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from farm import catalog
from farm.cli import main
from farm.console import printable, printable_lines
from farm.errors import ManifestError
from farm.manifest import read_manifest
from farm.records import ManifestRow
from tests.pictures import photo, png_of
from tests.stores import raised

NAMES = (
    "\x1b[2J\x1b[31mred.png",
    "\x1b]0;title\x07.png",
    "\x9b31m.png",
    "a\rb\nfarm: all done\n.png",
    "tab\tbell\a\b\b.png",
    "a\u202egnp.exe.png",
    "\u2066a\u2069\u200b\ufeff.png",
    "\u2028line\u2029.png",
    "del\x7f.png",
)
FORMULAS = ("=cmd|'/c calc'!A1.png", "+1+1.png", "-1+1.png", "@SUM(A1).png", '=HYPERLINK("#a","x").png')


@pytest.mark.parametrize("name", NAMES)
def test_what_a_terminal_acts_on_is_shown_as_what_it_is(name: str) -> None:
    shown = printable(name)
    assert shown.isprintable()
    assert shown.endswith(".png")
    assert printable_lines(f"-> {name}\n-> b").count("\n") == name.count("\n") + 1


def lines_of(output: str) -> list[str]:
    assert all(char.isprintable() or char == "\n" for char in output), repr(output)
    return output.splitlines()


def test_commands_print_a_name_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for at, name in enumerate(NAMES):
        (folder / name).write_bytes(png_of(photo(at, 16, 16)))
    rows = [{"source": name} for name in NAMES] + [{"source": f"{name}/.."} for name in NAMES]
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = CliRunner().invoke
    checked = run(main, ["manifest", "check", str(folder / "m.jsonl"), "--stat"])
    assert checked.exit_code == 3
    assert sum("unsafe_path: " in line for line in lines_of(checked.output)) >= 5
    scanned = run(main, ["scan", str(folder), "-o", str(folder / "\x1b[31m\nscan.parquet")])
    assert scanned.exit_code == 0, scanned.output
    assert len(lines_of(scanned.output)) == 1
    planned = run(main, ["submit", str(folder / "gone\x1b\n.png"), "--dry-run", "--gpus", "0"])
    assert "1 refused" in lines_of(planned.output)[0]
    assert len(lines_of(planned.output)) == 4
    (folder / "bad\x1b[2J.pth").write_bytes(b"x")
    described = run(main, ["models", "info", str(folder / "bad\x1b[2J.pth")])
    assert described.exit_code == 78
    lines_of(described.output)


def test_csv_holds_no_formula_and_says_the_same(tmp_path: Path) -> None:
    rows = [{"source": name, "output": name, "x_note": "-7"} for name in FORMULAS]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    written = tmp_path / "m.csv"
    catalog.convert(catalog.ConvertConfig(source=str(tmp_path / "m.jsonl"), target=str(written)))
    with written.open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@")) and cell != "-7"]
    before, after = (list(read_manifest(str(tmp_path / name))) for name in ("m.jsonl", "m.csv"))
    assert all(isinstance(row, ManifestRow) for row in before)
    found = [
        [(row.source_url, row.relative_path) for row in rows if isinstance(row, ManifestRow)]
        for rows in (before, after)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("value", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1"])
def test_a_formula_that_is_no_path_is_refused_or_left_out(tmp_path: Path, value: str) -> None:
    source, target = tmp_path / "m.jsonl", tmp_path / "m.csv"
    source.write_text(json.dumps({"source": "a.png", "x_note": value}))
    config = catalog.ConvertConfig(source=str(source), target=str(target))
    assert "as formulas do" in str(raised(ManifestError, lambda: catalog.convert(config)))
    catalog.convert(catalog.ConvertConfig(source=str(source), target=str(target), drop=True))
    assert value.strip() not in target.read_text()
