"""What the documents tell people to type is what the command line takes: every command of ours, with every option.

Commands are run too: those of report.md, sample.md, serve.md and python.md by tests of these, and here those of
images.md and video.md, by a worker of this process, and what starts none. All other runs are planned, which checks
everything but the pixels. The rest wants a bucket, a GPU, systemd or Kubernetes.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pytest
import pyvips
from click.testing import CliRunner

from farm import engine
from farm.cli import main
from farm.media.image import EncodeSpec, ImageMeta, encode
from farm.records import Unit
from farm.schedule import Schedule
from farm.slots import EngineConfig, Slot
from farm.worker import Worker
from tests.clips import clip
from tests.farm.here_engine import HereEngine
from tests.outside import require_face
from tests.pictures import photo, png_of
from tests.seeded import save_srvgg

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
# Lines that only a machine with a cluster, a bucket or a service can run, by a word in them.
_ELSEWHERE = ("s3://", "--detach", "--sample", "--metrics-port", "--dashboard", "...", "MANIFEST")


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

    def words(self) -> list[list[str]]:
        """After `farm`, once for each choice that the document leaves: check|convert|split."""
        words = [re.sub(r"^\$\d$", "1", word.strip("[]")) for word in shlex.split(self.line)]
        if self.is_cut:
            words.pop()
        return [list(one) for one in itertools.product(*(word.split("|") for word in words))]


def said() -> Iterator[Said]:
    for page in PAGES:
        text = page.read_text("utf-8")
        for language, fenced, indented in _BLOCK.findall(text):
            if language in ("", "sh"):
                for line in re.sub(r"\\\n *", " ", fenced or indented).splitlines():
                    yield from _of(page, line, is_line=True)
        for mention in re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text)):
            yield from _of(page, mention, is_line=False)


def _of(page: Path, line: str, *, is_line: bool) -> Iterator[Said]:
    for name, value in _STAND_INS.items():
        line = re.sub(rf"(?<![\w$]){re.escape(name)}(?!\w)", value, line)
    begins = [match.end() for match in _OURS.finditer(line)]
    for at, end in itertools.pairwise([*begins, len(line)]):
        command = _END.split(line[at:end], maxsplit=1)[0].strip()
        yield Said(page, command, is_line and "#" not in line[:at])


SAID = list(said())
LINES = [one for one in SAID if one.is_line]


def parsed(command: click.Command, words: list[str]) -> click.Context:
    """Raises click.UsageError for what the command does not take."""
    if isinstance(command, click.Group):
        if words and words[0] in command.commands:
            return parsed(command.commands[words[0]], words[1:])
        if not (words or command.invoke_without_command):
            raise click.MissingParameter("of what?", param_type="command")
        assert not words or words[0].startswith("-"), f"no command: {words[0]}"
    return command.make_context(command.name, list(words))


@pytest.mark.parametrize("one", SAID, ids=lambda one: one.id)
def test_a_document_names_only_options_that_there_are(one: Said) -> None:
    for words in one.words():
        try:
            parsed(main, words)
        except click.MissingParameter:
            assert one.is_cut or not one.is_line, f"farm {one.line} lacks something"
        except click.exceptions.Exit:
            assert words[-1] == "--help"


def test_documents_are_read_as_a_person_reads_them() -> None:
    found = {(one.page.name, one.line) for one in LINES}
    for line in (
        ("README.md", "manifest check|convert|split M ..."),
        ("README.md", "report restored/ -o report.html"),
        ("nightly.md", "submit s3://archive/photos/ --out s3://archive/restored --model x4plus --dry-run"),
        ("faces.md", "submit portraits/ --face-enhance"),
        ("video.md", "submit 'scan/frame%08d.png' --fps 18 --container mp4"),
        ("training.md", "train --stage net box.toml --gpus 0 --threads 1 --out box-trained/"),
    ):
        assert line in found
    assert {one.page.name for one in LINES} >= {
        "images.md",
        "models.md",
        "output-size.md",
        "SCHEMA.md",
        "training-data.md",
    }
    assert len(SAID) > 150
    with pytest.raises(click.NoSuchOption):
        parsed(main, ["submit", "photos/", "--such-a-thing"])


# -- what is run ---------------------------------------------------------------------------------------------------


def planned() -> list[Said]:
    """What restores something that could lie on this machine: planned, which checks all but the pixels."""
    here = [one for one in LINES if not any(word in one.line for word in _ELSEWHERE)]
    return [one for one in {one.line: one for one in here}.values() if one.line.startswith("submit ")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the documents name."""
    folder = tmp_path_factory.mktemp("home")
    contents = {
        "photo.jpg": encoded(photo(0), "jpg"),
        "scans/deep.png": encoded(photo(1).astype(np.uint16) * 257, "png"),
        **{f"{name}.png": png_of(photo(2)) for name in ("photos/a/1", "photos/2", "portraits/1")},
        **{f"scan/frame{number:08d}.png": png_of(photo(number)) for number in range(1, 4)},
        **dict.fromkeys(("film.mp4", "tapes/b.mp4"), clip("libx264", "mp4", frames=4)),
        "films/a.mov": clip("libx264", "mov", frames=4),
        "stickers/wave.gif": gif(),
    }
    for name, data in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    for name in ("my.pth", "my_span.pth"):
        save_srvgg(folder / name, features=8, convs=2)
    return folder


def encoded(pixels: np.ndarray, form: str) -> bytes:
    return encode(pixels, ImageMeta(), EncodeSpec(format=form, quality=90), f"x.{form}")


def gif() -> bytes:
    """Of three frames."""
    frames = [pyvips.Image.new_from_array(photo(number)) for number in range(3)]
    return pyvips.Image.arrayjoin(frames, across=1).gifsave_buffer(page_height=frames[0].height)


@pytest.mark.parametrize("one", planned(), ids=lambda one: one.id)
def test_what_a_document_restores_is_something_that_a_run_would_do(
    one: Said, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--face-enhance" in one.line:
        require_face()
    monkeypatch.chdir(home)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    (words,) = one.words()
    made = CliRunner().invoke(main, [*words, "--dry-run", "--gpus", "0"])
    assert made.exit_code == 0, made.output
    assert re.search(r"\b[1-9]\d* to do|[1-9]\d* rows", made.output), made.output


class WorkingEngine(HereEngine):
    """As HereEngine, with a real worker in this process."""

    def __init__(self, config: EngineConfig, slots: list[Slot], schedule: Schedule) -> None:
        super().__init__(config, slots, schedule)
        self._worker = Worker(slots[0].context)
        WorkingEngine.work = staticmethod(lambda part: self._worker.run(Unit(unit_id=0, parts=(part,)))[0])

    def __exit__(self, *exc: object) -> None:
        self._worker.stop()


MADE = {
    "images.md": [
        *(
            "farm-out/photo_4x.jpg",
            "restored/a/1_4x.png",
            "restored/2_4x.png",
            "pngs/2_4x.png",
            "small/2_3840x2160.webp",
        ),
        "scans-4x/deep_4x.tiff",
    ],
    "video.md": [
        *("farm-out/film_4x.mp4", "restored/a_4x.mov", "archive/b_4x.mkv", "smaller/film_2x.mp4"),
        *(
            "stickers-4x/wave_4x.gif",
            "clips/wave_4x.mp4",
            "stills/film_4x/frames.json",
            "stills/film_4x/frame00000001.png",
        ),
    ],
}
"""what the commands of a page leave, of what there is in `home`"""


@pytest.mark.parametrize("page", MADE)
def test_pictures_and_films_are_restored_as_their_pages_say(
    page: str, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setattr(engine, "Engine", WorkingEngine)
    monkeypatch.setattr("farm.cli.leave", lambda code, stopped: sys.exit(code))  # this process goes on
    done: set[str] = set()
    for one in (one for one in LINES if one.page.name == page and one.line.startswith("submit ")):
        (words,) = one.words()
        made = CliRunner().invoke(main, [*with_small_model(words), "--gpus", "0", "--workers", "1"])
        assert made.exit_code == 0, (one.line, made.output, made.exception)
        if one.line in done:
            assert "0 done" in made.output, "the same command again has nothing to do"
        done.add(one.line)
    assert [name for name in MADE[page] if not (tmp_path / name).is_file()] == []


def with_small_model(words: list[str]) -> list[str]:
    """Another model for one that is large or has to be fetched; it has no partner to be mixed with."""
    words = ["my.pth" if word in ("animevideov3", "general-x4v3", "x4plus") else word for word in words]
    if "my.pth" in words and "--denoise" in words:
        at = words.index("--denoise")
        words = words[:at] + words[at + 2 :]
    return words


def test_models_and_manifests_are_looked_at_as_their_pages_say(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    lines = [one for one in LINES if re.match(r"(models|scan photos|manifest)\b", one.line) and "fetch" not in one.line]
    lines = [one for one in lines if one.page.name in ("models.md", "SCHEMA.md")]
    assert len(lines) >= 4
    for one in lines:
        (words,) = one.words()
        words = ["my.pth" if word == "FILE.pth" else word for word in words]
        made = CliRunner().invoke(main, words)
        assert made.exit_code == 0, (one.id, made.output)


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
