"""The commands that the documents tell people to type, and which test runs which."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import click

from farm.cli import main

REPOSITORY = Path(__file__).parents[1]
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "manifests/SCHEMA.md", "cluster/README.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$|^((?: {4}[^\n]*\n)+)", re.MULTILINE | re.DOTALL)
_OURS = re.compile(rf"(?<![\w/.-])(?:[\w./]*/)?farm (?=(?:{'|'.join(main.commands)})\b)")
_END = re.compile(r"\s#|\s{2,}|[;`)]|[:,](?:\s|$)|\s[(}]|&&|\s\|\s|\s>")
_STAND_INS = {"$(date +%u)": "3", "n/t": "3/7", "N": "1", "WHAT": "stats"}
"""what stands in a document for a number, or for one of our words"""


class Way(Enum):
    """How a line is run."""

    HERE = "tests/test_docs.py, in the test's own process, page by page"
    FACES = "tests/test_docs.py, with the extra `face` and a detector that was trained"
    WEIGHTS = "tests/test_docs.py, with released weights"
    BOX = "tests/test_docs.py, with the pictures and configurations of the model in the box"
    STORE = "tests/e2e/test_documents.py, against a real S3 server"
    STAYS = "tests/e2e/test_documents.py: what outlives its command, or listens"
    PAGE = "a test of its page alone, see OF_THEIR_OWN"


OF_THEIR_OWN: Mapping[str, tuple[str, int]] = {
    "report.md": ("tests/e2e/test_report.py", 10),
    "sample.md": ("tests/e2e/test_sample_run.py", 3),
    "serve.md": ("tests/e2e/test_serve.py", 1),
}
"""pages of which one test runs every command: which test, and how many lines that are"""


@dataclass(frozen=True)
class Said:
    """A command of ours as a document has it."""

    page: Path
    line: str
    """as it stands there"""
    is_line: bool
    """a line to copy, and not a mention within a sentence, which may leave out what it is about"""

    @property
    def is_cut(self) -> bool:
        """Whether it says that there is more."""
        return self.line.endswith(" ...")

    @property
    def id(self) -> str:
        return f"{self.page.name}: {self.line}"

    @property
    def way(self) -> Way:
        """Each line has one."""
        if self.page.name in OF_THEIR_OWN:
            return Way.PAGE
        if "s3://" in self.line:
            return Way.STORE
        if self.page.name == "detached-runs.md" or re.search(r"--detach|--metrics-port|^serve ", self.line):
            return Way.STAYS
        if "--face-enhance" in self.line:
            return Way.FACES
        if "realesr-" in self.line or self.line.startswith("models fetch "):
            return Way.WEIGHTS
        return Way.BOX if re.search(r"\bbox[-/.]", self.line) else Way.HERE

    def words(self) -> list[list[str]]:
        """After `farm`, once for each choice that the document leaves: check|convert|split."""
        words = [re.sub(r"^\$\d$", "1", word.strip("[]")) for word in shlex.split(self.line)]
        if self.is_cut:
            words.pop()
        return [list(one) for one in itertools.product(*(word.split("|") for word in words))]


def _said() -> Iterator[Said]:
    for page in PAGES:
        text = page.read_text("utf-8")
        for language, fenced, indented in _BLOCK.findall(text):
            if language in ("", "sh"):
                for line in joined(fenced or indented):
                    yield from _of(page, line, is_line=True)
        for mention in re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text)):
            yield from _of(page, mention, is_line=False)


def joined(block: str) -> list[str]:
    """Its lines, those that go on being one."""
    return re.sub(r"\\\n *", " ", block).splitlines()


def _of(page: Path, line: str, *, is_line: bool) -> Iterator[Said]:
    for name, value in _STAND_INS.items():
        line = re.sub(rf"(?<![\w$]){re.escape(name)}(?!\w)", value, line)
    begins = [match.end() for match in _OURS.finditer(line)]
    for at, end in itertools.pairwise([*begins, len(line)]):
        command = _END.split(line[at:end], maxsplit=1)[0].strip()
        yield Said(page, command, is_line and "#" not in line[:at])


SAID = list(_said())
LINES = [one for one in SAID if one.is_line]


def lines_of(way: Way) -> list[Said]:
    return [one for one in LINES if one.way is way]


def blocks(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Language and lines of every fenced block of a page."""
    for language, fenced, _ in _BLOCK.findall(page.read_text("utf-8")):
        if fenced:
            yield language, joined(fenced)


def parsed(command: click.Command, words: list[str]) -> click.Context:
    """Raises click.UsageError for what the command does not take."""
    if isinstance(command, click.Group):
        if words and words[0] in command.commands:
            return parsed(command.commands[words[0]], words[1:])
        if not (words or command.invoke_without_command):
            raise click.MissingParameter("of what?", param_type="command")
        assert not words or words[0].startswith("-"), f"no command: {words[0]}"
    return command.make_context(command.name, list(words))
