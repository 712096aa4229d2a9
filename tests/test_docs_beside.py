"""What the documents tell people to type beside commands of ours: programs, files and links are there, and each line
has a test that runs it, or a reason why none can."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.documents import PAGES, REPOSITORY, blocks

OTHERS: Mapping[str, str] = {
    "scripts/demo": "tests/e2e/test_demo.py",
    "git clone REPOSITORY /opt/farm && cd /opt/farm && scripts/demo": "tests/e2e/test_demo.py",
    ". .venv/bin/activate": "the environment's own",
    "scripts/test": "it runs this",
    "install -d -m 700 ~/.aws": "test_an_empty_machine_gets_its_key_and_its_settings",
    "mkdir -p ~/.config/farm": "the same",
    "prometheus --config.file": "tests/cluster/test_files.py, by promtool",
    "python bench/": "test_programs_beside_the_farm_have_the_options_that_are_named",
    "pip install --no-deps -r bench/": "asks for the package index; that the file is there the same test looks",
    "python scripts/box_pictures.py": "test_the_model_in_the_box_is_trained_by_the_commands_of_its_page",
    "make": "the same",
    "cp sr_kernel/data/": "the same",
    "cp box-trained/": "the same",
    **dict.fromkeys(("curl ", "while curl ", "RUN=$(curl ", "FARM=", "(umask "), "tests/e2e/test_serve.py"),
    "useradd ": "asks for root; what it makes is named in units that systemd-analyze verifies in tests/cluster",
    "install ": "asks for root; test_what_a_document_installs_is_there",
    "systemctl ": "asks for systemd; the units are verified in tests/cluster",
    "kubectl ": "asks for Kubernetes; the files are validated in tests/cluster",
}
"""by how a line begins: which test runs it, or why none can"""
SHOWN = ("[####", "sample: ", "OUT/")
"""how blocks begin that show what a command says or makes"""


def test_every_other_command_has_a_test_that_runs_it_or_a_reason() -> None:
    unknown: list[str] = []
    used: set[str] = set()
    for page in PAGES:
        for language, lines in blocks(page):
            if language not in ("", "sh") or lines[0].startswith(SHOWN):
                continue
            for line in _commands(lines):
                if re.match(r"(\.venv/bin/)?farm ", line):
                    continue
                begins = [begin for begin in OTHERS if line.startswith(begin)]
                used |= set(begins)
                unknown += [] if begins else [f"{page.name}: {line}"]
    assert unknown == []
    assert set(OTHERS) - used == set(), "nobody says these any more"


def _commands(lines: list[str]) -> list[str]:
    """Without comments, and what a command is given as its input."""
    text = re.sub(r"<<EOF\n.*?^EOF$|-d '\{\n.*?^\}'", "", "\n".join(lines), flags=re.MULTILINE | re.DOTALL)
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_programs_beside_the_farm_have_the_options_that_are_named(page: Path) -> None:
    text = page.read_text("utf-8")
    for program, rest in re.findall(r"^ *python ((?:bench|scripts)/\w+\.py)([^#\n]*)", text, re.MULTILINE):
        source = (REPOSITORY / program).read_text("utf-8")
        for flag in re.findall(r"--[a-z-]+", rest):
            assert f'"{flag}"' in source, (program, flag)
    for flag in re.findall(r"--[a-z-]+", " ".join(re.findall(r"^ *pytest ([^#\n]*)", text, re.MULTILINE))):
        assert f'"{flag}"' in (REPOSITORY / "tests" / "conftest.py").read_text("utf-8"), flag
    for file in re.findall(r"^ *pip install .*-r (\S+)", text, re.MULTILINE):
        assert (REPOSITORY / file).is_file(), file
    project = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    for extra in re.findall(r"sr-farm\[([a-z]+)\]", text):
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra


def test_what_a_document_installs_is_there() -> None:
    """Files that an administrator is to copy, or to hand to Kubernetes."""
    text = (REPOSITORY / "docs" / "nightly.md").read_text("utf-8")
    named = re.findall(r"(?:^|[ =])(cluster/[\w./@-]+)", text, re.MULTILINE)
    assert len(named) >= 8
    assert [name for name in named if not (REPOSITORY / name).is_file()] == []


def test_an_empty_machine_gets_its_key_and_its_settings(tmp_path: Path) -> None:
    """The lines of docs/nightly.md before the farm is asked anything, twice: nothing that was written is lost."""
    text = (REPOSITORY / "docs" / "nightly.md").read_text("utf-8")
    lines = re.findall(r"^install -d .*?^EOF$", text, re.MULTILINE | re.DOTALL)[0]
    for _ in range(2):
        done = subprocess.run(["bash", "-euc", lines], env={**os.environ, "HOME": str(tmp_path)}, check=False)
        assert done.returncode == 0
        key = tmp_path / ".aws" / "credentials"
        assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        assert key.read_text() in ("", "the key")
        key.write_text("the key")
    assert "endpoint_url" in (tmp_path / ".config" / "farm" / "config.toml").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_document_points_to_is_there(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []
