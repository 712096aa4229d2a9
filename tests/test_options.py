"""docs/options.md walks every option of upstream and every flag of ours, and agrees with the real command line."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from farm.cli import main

PAGE = Path(__file__).parents[1] / "docs" / "options.md"
UPSTREAM = {
    "The image program": [
        "--input", "--model_name", "--output", "--denoise_strength", "--outscale", "--model_path", "--suffix", "--tile",
        "--tile_pad", "--pre_pad", "--face_enhance", "--fp32", "--alpha_upsampler", "--ext", "--gpu-id",
    ],
    "The video program adds": ["--fps", "--ffmpeg_bin", "--extract_frame_first", "--num_process_per_gpu"],
    "The portable program adds": ["-s", "-t 0", "-g 0,1,2", "-j load:proc:save", "-x", "-f", "-v"],
    "The tutorials add": ["x16 as x4 twice", "any outscale", "side-by-side", "remote call"],
}  # fmt: skip


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its two header lines."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def flags_of_submit() -> set[str]:
    assert isinstance(main, click.Group)
    submit = main.commands["submit"]
    names = {name for param in submit.params for name in (*param.opts, *param.secondary_opts)}
    return {name.upper() if not name.startswith("-") else name for name in names} - {"--help"}


@pytest.mark.parametrize(
    ("heading", "option"), [(heading, name) for heading, names in UPSTREAM.items() for name in names]
)
def test_every_upstream_option_has_a_flag_of_ours_or_a_reason(heading: str, option: str) -> None:
    mine = [row for row in rows(heading) if re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", row[0])]
    assert len(mine) == 1, f"{option} has {len(mine)} rows under {heading}"
    _, ours, note = mine[0]
    if ours in ("later", "reason"):
        assert len(note) > 20, f"{option}: say why"
        return
    named = set(re.findall(r"`([^`]+)`", ours))
    assert named, f"{option}: neither a flag nor a reason"
    assert named <= flags_of_submit(), f"{option}: no such flag: {named - flags_of_submit()}"


def test_every_row_of_the_page_is_walked() -> None:
    assert {heading: len(rows(heading)) for heading in UPSTREAM} == {
        heading: len(names) for heading, names in UPSTREAM.items()
    }


def test_every_flag_of_ours_is_on_the_page() -> None:
    named = {
        name
        for heading in (*UPSTREAM, "What only the farm has")
        for row in rows(heading)
        for name in re.findall(r"`([^`\s]+)`", " ".join(row[1:2] if heading in UPSTREAM else row[:1]))
    }
    missing = {flag for flag in flags_of_submit() if flag.startswith("--") and flag not in named}
    assert not missing, f"docs/options.md does not say what these are for: {sorted(missing)}"
