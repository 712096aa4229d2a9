"""What the documents tell people to type is what the command line takes, every command of ours with every option; and
each line to copy is run, here or where its Way says, with small pictures, models and numbers in place of its own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import numpy as np
import pytest
import pyvips
import torch
from click.testing import CliRunner, Result

from farm import engine
from farm.cli import main
from farm.media.image import EncodeSpec, ImageMeta, encode
from farm.records import Unit
from farm.schedule import Schedule
from farm.slots import EngineConfig, Slot
from farm.worker import Worker
from tests.clips import clip
from tests.documents import (
    LINES,
    OF_THEIR_OWN,
    PAGES,
    REPOSITORY,
    SAID,
    Said,
    Way,
    blocks,
    lines_of,
    parsed,
)
from tests.farm.here_engine import HereEngine
from tests.farm.training.sets import CONFIG, make_pairs
from tests.outside import data_folder, require_face
from tests.pictures import photo, png_of
from tests.seeded import save_srvgg


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


def test_pages_of_their_own_tests_have_as_many_lines_as_those_run() -> None:
    """All other ways take whatever lines there are, so that none is without a test."""
    counts = Counter(one.page.name for one in lines_of(Way.PAGE))
    assert counts == {page: count for page, (_, count) in OF_THEIR_OWN.items()}
    for page, (test, _) in OF_THEIR_OWN.items():
        assert f'"{page}"' in (REPOSITORY / test).read_text("utf-8")


# -- what is run ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the documents name."""
    folder = tmp_path_factory.mktemp("home")
    contents = {
        "photo.jpg": encoded(photo(0), "jpg"),
        "scans/deep.png": encoded(photo(1).astype(np.uint16) * 257, "png"),
        **{f"{name}.png": png_of(photo(2)) for name in ("photos/a/1", "photos/2", "portraits/1", "pictures/1")},
        **{f"scan/frame{number:08d}.png": png_of(photo(number)) for number in range(1, 4)},
        **dict.fromkeys(("film.mp4", "tapes/b.mp4"), clip("libx264", "mp4", frames=4)),
        "films/a.mov": clip("libx264", "mov", frames=4),
        "stickers/wave.gif": gif(),
        "train.toml": CONFIG.replace('pairs = "pairs"', 'pairs = "trained-on"').encode(),
    }
    for name, data in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    make_pairs(str(folder / "trained-on"))
    for seed, name in enumerate({"my.pth", "my_span.pth", *SMALL.values()}):
        save_srvgg(folder / name, features=8, convs=2, seed=seed)
    return folder


def encoded(pixels: np.ndarray, form: str) -> bytes:
    return encode(pixels, ImageMeta(), EncodeSpec(format=form, quality=90), f"x.{form}")


def gif() -> bytes:
    """Of three frames."""
    frames = [pyvips.Image.new_from_array(photo(number)) for number in range(3)]
    return pyvips.Image.arrayjoin(frames, across=1).gifsave_buffer(page_height=frames[0].height)


class WorkingEngine(HereEngine):
    """As HereEngine, with a real worker in this process."""

    def __init__(self, config: EngineConfig, slots: list[Slot], schedule: Schedule) -> None:
        super().__init__(config, slots, schedule)
        self._worker = Worker(slots[0].context)
        WorkingEngine.work = staticmethod(lambda part: self._worker.run(Unit(unit_id=0, parts=(part,)))[0])

    def __exit__(self, *exc: object) -> None:
        self._worker.stop()


@pytest.fixture
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `home`, in which commands work in this process."""
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("RAY_ADDRESS", "")
    monkeypatch.delenv("FARM_WEIGHTS_DIR", raising=False)
    monkeypatch.setattr(engine, "Engine", WorkingEngine)
    for commands in ("cli", "preparation_commands", "training_commands"):
        monkeypatch.setattr(f"farm.{commands}.leave", lambda code, stopped: sys.exit(code))  # this process goes on
    return tmp_path


SMALL = {name: f"{name}.pth" for name in ("x4plus", "x4plus-anime", "animevideov3", "general-x4v3")}
"""another model for one that is large or has to be fetched; it has no partner to be mixed with"""
NAMED = {
    **{"MANIFEST": "photos/", "FOLDER": "photos/", "...": "photos/", "M": "manifest.parquet", "URL": "elsewhere/"},
    **{"OUT": "restored/", "/archive/out": "restored/", "FILE.pth": "my.pth"},
    **{"trained/weights/NAME-001000000.pth": "trained/weights/tiny-000000004.pth"},
}
"""what a document leaves open, or names as its reader's"""
MORE: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("submit", "degrade", "prepare"), ("--gpus", "0", "--workers", "1")),
    "train": ("--gpus", "0", "--threads", "1", "--iterations", "4"),
    "plan": ("--gpus", "0"),
    "manifest convert": ("-o", "other.jsonl"),
    "manifest split": ("-o", "pieces/", "--rows", "1"),
}
"""by command, what makes it small, and what a template leaves out"""
CODES = {"submit ... --sample 20": 75}
"""exit codes other than 0: nobody is there to be asked"""
MADE = {
    "README.md": [
        *("restored/a/1_4x.png", "report.html", "elsewhere/a/1_3.5x.webp", "manifest.parquet", "other.jsonl"),
        *("pieces/part-00000.parquet", "farm-train/weights/tiny-000000004.pth", "photos/farm-out/sample.html"),
        *("farm-out/film_4x.mp4", "restored/a_4x.mov", "archive/b_4x.mkv", "sheet/preview.png", "pairs/dataset.json"),
    ],
    "SCHEMA.md": ["photos/all.parquet"],
    "images.md": [
        *("farm-out/photo_4x.jpg", "restored/a/1_4x.png", "restored/2_4x.png", "pngs/2_4x.png"),
        *("small/2_3840x2160.webp", "scans-4x/deep_4x.tiff"),
    ],
    "models.md": ["photos/farm-out/2_4x.png", "photos/farm-out/2_x4plus_4x.png"],
    "output-size.md": [
        *("photos/farm-out/2_3.5x.png", "photos/farm-out/2_3840x2160.png", "photos/farm-out/2_16x.png"),
    ],
    "security.md": [],
    "training-data.md": [
        "sheet/preview.png",
        "pairs/dataset.json",
        "crops/dataset.json",
        "crops/images/large_s001.png",
    ],
    "training.md": [
        *("trained/weights/tiny-000000004.pth", "trained-gan/weights/tiny-netd-000000004.pth"),
        *("farm-train/debug/weights/tiny-000000008.pth",),
    ],
    "video.md": [
        *("farm-out/film_4x.mp4", "restored/a_4x.mov", "archive/b_4x.mkv", "smaller/film_2x.mp4"),
        *("stickers-4x/wave_4x.gif", "clips/wave_4x.mp4", "scan/farm-out/frame_4x.mp4"),
        *("stills/film_4x/frames.json", "stills/film_4x/frame00000001.png"),
    ],
}
"""what the commands of a page leave, of what there is in `home`"""


@pytest.fixture(autouse=True)
def cores() -> Iterator[None]:
    """A worker inside this process keeps it to one core; tests of other files, which come after, have all again."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def run(words: list[str]) -> Result:
    return CliRunner().invoke(main, words)


@pytest.mark.parametrize("page", sorted({one.page.name for one in lines_of(Way.HERE)}))
def test_the_commands_of_a_page_do_what_it_says(page: str, here: Path) -> None:
    if page == "training-data.md":
        (here / "photos" / "large.png").write_bytes(png_of(photo(3, 500, 490)))
    if page == "security.md":
        assert run(small(["submit", "photos/", "--out", "restored/"], "")).exit_code == 0
    done: set[str] = set()
    for number, one in enumerate(one for one in lines_of(Way.HERE) if one.page.name == page):
        for words in one.words():
            made = run(small(words, f"made-{number}"))
            assert made.exit_code == CODES.get(one.line, 0), (one.line, made.output, made.exception)
            if one.line in done and words[0] == "submit":
                assert "0 done" in made.output, "the same command again has nothing to do"
        done.add(one.line)
    assert [name for name in MADE[page] if not (here / name).is_file()] == []


def small(words: list[str], out: str) -> list[str]:
    """The same command over what there is in `home`; `out`: for what would lie beside the data of another."""
    words = [NAMED.get(word, word) for word in words]
    for at, word in enumerate(words[:-1]):
        if word in ("--model", "--models"):
            words[at + 1] = ",".join(SMALL.get(name, name) for name in words[at + 1].split(","))
        elif word == "--sample":
            words[at + 1] = "1"
    if "--denoise" in words:
        at = words.index("--denoise")
        words = words[:at] + words[at + 2 :]
    command = " ".join(words[:2]) if words[0] == "manifest" else words[0]
    if command in ("degrade", "prepare") and not {"--out", "-o"} & set(words):
        words += ["--out", out]
    if {"--size", "--outscale"} & set(words) and "--model" not in words:
        words += ["--model", "my.pth", "--limit", "1"]
    return [*words, *MORE.get(command, ())]


def test_faces_are_restored_as_the_documents_say(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_face()
    monkeypatch.setenv("FARM_WEIGHTS_DIR", str(data_folder() / "weights"))
    from tests.face_files import save_seeded

    (here / "faces").mkdir()
    seeded = save_seeded(here / "faces")
    files = ("--face-model", str(seeded.gfpgan), "--face-parser", str(seeded.parser), "--face-detector", "mobile0.25")
    for one in lines_of(Way.FACES):
        (words,) = one.words()
        made = run([*small(words, ""), *files])
        assert made.exit_code == 0, (one.line, made.output, made.exception)
    assert (here / "photos/farm-out/2_4x.png").is_file()
    assert (here / "portraits/farm-out/1_4x.png").is_file()


def test_released_models_are_fetched_and_named_as_their_page_says(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a folder in the release's place, and the one of those models that is there."""
    monkeypatch.setenv("FARM_WEIGHTS_MIRROR", str(data_folder() / "weights"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "cache"))
    fetch, submit = lines_of(Way.WEIGHTS)
    made = run([{"x4plus": "animevideov3"}.get(word, word) for word in shlex.split(fetch.line) if word != "vgg19"])
    assert (made.exit_code, (here / "cache/farm/weights/realesr-animevideov3.pth").is_file()) == (0, True), made.output
    (words,) = submit.words()
    made = run(small(words, ""))
    assert made.exit_code == 0, (made.output, made.exception)
    assert {path.name for path in (here / "photos/farm-out").glob("2-*.png")} == {
        "2-animevideov3-2.png",
        "2-animevideov3-4.png",
        "2-my-4.png",
    }


def test_the_model_in_the_box_is_trained_by_the_commands_of_its_page(here: Path) -> None:
    """All of them, in their order, with fewer pictures and iterations."""
    page = REPOSITORY / "docs" / "training.md"
    (block,) = ("\n".join(lines) for _, lines in blocks(page) if any("box_pictures" in line for line in lines))
    degrade, train, finish = lines_of(Way.BOX)
    (script,) = re.findall(r"^python (scripts/.*)$", block, re.MULTILINE)
    few = {"537": "2", "400": "192", "pictures/": str(here / "pictures")}
    subprocess.run([sys.executable, *(few.get(word, word) for word in shlex.split(script))], cwd=REPOSITORY, check=True)
    made = re.findall(r"make (\w+) (\w+) (\d+)", block)
    assert len(made) == 10
    for recipe, kind, _ in made:
        line = degrade.line.replace("$1", recipe).replace("$2", kind).replace("$3", "1")
        result = run([*shlex.split(line), "--limit", "1", *MORE["degrade"]])
        assert result.exit_code == 0, (line, result.output, result.exception)
    for name in ("box.toml", "box-finish.toml"):
        text = (REPOSITORY / "sr_kernel" / "data" / name).read_text("utf-8")
        text, count = re.subn(r"^(iterations|warmup) = \d+$", r"\1 = 2", text, flags=re.MULTILINE)
        assert count == 2
        (here / name).write_text(text)
    for one, copy in ((train, True), (finish, False)):
        (words,) = one.words()
        result = run(words)
        assert result.exit_code == 0, (one.line, result.output, result.exception)
        if copy:
            shutil.copy(here / "box-trained/weights/box-000000002.safetensors", here / "box-first.safetensors")
    assert (here / "box-finished/weights/box-000000002.safetensors").is_file()


def test_the_python_of_the_readme_restores_a_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That of docs/python.md is run by tests/e2e/test_report.py; there is no other."""
    found = {page.name: lines for page in PAGES for language, lines in blocks(page) if language == "python"}
    assert set(found) == {"README.md", "python.md"}
    exec("\n".join(found["README.md"]), {})
    assert capsys.readouterr().out == f"done {here}/pictures/farm-out/1_4x.png \n"


def test_weights_that_do_not_say_their_activation_are_mended_as_the_page_says(here: Path) -> None:
    text = (REPOSITORY / "docs" / "foreign-weights.md").read_text("utf-8")
    (code,) = re.findall(r"^ {6}import torch\n(?: {6}.*\n)+", text, re.MULTILINE)
    state = torch.load("my.pth", weights_only=True)["params"]
    last = max(int(name.split(".")[1]) for name in state)
    activations = {f"body.{index}.weight" for index in range(1, last, 2)}
    torch.save({"params": {name: value for name, value in state.items() if name not in activations}}, "net.pth")
    exec(textwrap.dedent(code), {})
    assert run(["models", "info", "net-prelu.pth"]).exit_code == 0
