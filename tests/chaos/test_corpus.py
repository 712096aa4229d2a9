"""A generated corpus of bad and odd pictures and films: no crash, no hang, nothing wrong, every class as expected."""

from __future__ import annotations

import shutil
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ..clips import film, in_front
from ..corpus.case import CANARY, DONE, Case, faults, stratified, write
from ..corpus.contained import container
from ..corpus.films import films
from ..corpus.flips import flips
from ..corpus.odd import names
from ..corpus.pictures import pictures
from ..runs import Farm, files, results
from .record import Note

CUT = ("truncated", "corrupt", "no_frames", "no_video_stream")
SHORT_RUN = (
    "tiny",
    "pages",
    "drawings",
    "png-",
    "jpeg-",
    "tiff-",
    "webp-",
    "gif-",
    "avif-",
    "orientation",
    "polyglots",
)
KEPT = ("the file is ", "was kept")
"""what is said of each input that is salvaged"""
NOT_SEARCHED = ".ivf"
"""what folders are not searched for; these films are decoded alone"""
APART = ("--name", "{stem}_{row}_{scale}x.{ext}")
"""two names of the corpus differ in case alone, and their outputs would clash"""
FILMS_OF_SHORT_RUN = ("film-elsewhere", "film-none", "film-without", "film-cut", "film-damaged", "film-sizes")


@pytest.fixture(scope="module")
def seed(request: pytest.FixtureRequest) -> int:
    """One for all tests here, so that the corpus is made once."""
    return request.config.getoption("--seed")


@pytest.fixture(scope="module")
def still(seed: int) -> list[Case]:
    return list(pictures(seed))


@pytest.fixture(scope="module")
def moving(seed: int) -> list[Case]:
    return list(films(seed, flips=2))


def test_the_corpus_is_large_enough_and_the_same_each_time(seed: int, still: list[Case], moving: list[Case]) -> None:
    assert sum(case.is_bad for case in still) >= 640
    assert sum(case.is_bad for case in moving) >= 60
    for cases in (still, moving):
        assert len({case.name.rpartition(".")[0] for case in cases}) == len(cases), "outputs would collide"
    again = {case.name: case.data for case in (*flips(seed, 1), *names(seed))}
    assert all(case.data == again.get(case.name, case.data) for case in still)


def test_every_picture_ends_as_it_must_and_takes_nobody_along(
    seed: int, still: list[Case], trials: int, tmp_path: Path, note: Note
) -> None:
    more = [case for number in range(trials) for case in flips(seed + 1 + number, each=12)]
    cases = [*still, *more] if trials else list(stratified(still, 1, seed))
    assert decoded(cases, tmp_path) == []
    note(pictures=len(cases), bad=sum(case.is_bad for case in cases))


def test_every_film_ends_as_it_must_and_takes_nobody_along(
    seed: int, moving: list[Case], trials: int, tmp_path: Path, note: Note
) -> None:
    more = [case for number in range(trials) for case in films(seed + 1 + number) if case.family == "film-flips"]
    cases = [*moving, *more] if trials else list(stratified(moving, 1, seed))
    assert decoded(cases, tmp_path) == []
    note(films=len(cases), bad=sum(case.is_bad for case in cases))
    with container() as box:
        for name in ("constant.mp4", "variable.mkv", "open-gop.ts", "mpeg4.avi") if trials else ("constant.mp4",):
            whole, path = in_front(film(name)) if name == "constant.mp4" else film(name), tmp_path / name
            for share in range(5, 100, 5) if trials else (60,):
                path.write_bytes(whole[: len(whole) * share // 100])
                end = box.decode(path, film=True, salvage=True)
                assert end.end in (DONE, *CUT), end
                assert end.end != DONE or ("cut" in end.message and 0 < end.frames < 40), end


def decoded(cases: Sequence[Case], folder: Path) -> list[str]:
    """What is wrong with how the cases end, each decoded in a process of its own."""
    found: list[str] = []
    expected = folder / "expected.npy"
    write(cases, folder / "corpus")
    with container() as box:
        for case in cases:
            if case.pixels is not None:
                np.save(expected, case.pixels)
            path, is_film = folder / "corpus" / case.name, case.family.startswith("film-")
            given = expected if case.pixels is not None else None
            found += faults(case, box.decode(path, film=is_film, expected=given, near=case.near))
    return found


def test_one_run_over_the_corpus_does_what_is_good_and_says_what_is_bad(
    farm: Farm, cluster: dict[str, str], trials: int, seed: int, tmp_path: Path, note: Note
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    with listening() as (asked, visitors):
        cases = chosen(seed, asked, everything=bool(trials))
        write(cases, source)
        user = replace(farm, environment={} if trials else cluster, timeout_s=None if trials else farm.timeout_s)
        made = user.submit(source, out, *APART)
        assert made.returncode == 3, made.stderr
        assert visitors == [], "something asked a URL that stands in a file"
    rows = {str(row["source"]).removeprefix(f"{source}/"): row for row in results(out)}
    assert len(rows) == len(cases)
    assert [fault for case in cases for fault in _row_faults(case, rows[case.name])] == []
    done = {str(row["output"]).removeprefix(f"{out}/") for row in rows.values() if row["status"] == "done"}
    assert files(out) - {"results.parquet"} == done, "an output of something that was refused"
    assert not [name for name in done if CANARY in (out / name).read_bytes()]
    _check_upright(cases, rows)

    again = user.submit(source, out, *APART)
    assert again.returncode == 3
    assert f"{len(done)} done before" in again.stderr, again.stderr
    bad = next(case for case in cases if case.family == "jpeg-cut")
    shutil.copy(source / next(case.name for case in cases if case.family == "jpeg-kinds"), source / bad.name)
    mended = user.submit(source, out, *APART, "--salvage")
    assert mended.returncode == 3
    then = {str(row["source"]).removeprefix(f"{source}/"): row for row in results(out)}
    kept = {name for name, row in then.items() if row["status"] == "done" and rows[name]["status"] != "done"}
    assert f"{len(kept)} done, {len(done)} done before" in mended.stderr, mended.stderr
    assert bad.name in kept
    assert {str(rows[name]["error"]) for name in kept} <= {"truncated", "corrupt"}
    assert len(kept) > 3
    said = {name: str(then[name]["message"]) for name in kept - {bad.name}}
    assert [words for words in said.items() if not any(one in words[1] for one in KEPT)] == []
    refused = Counter(str(row["error"]) for row in rows.values() if row["status"] != "done")
    note(inputs=len(cases), bad=sum(case.is_bad for case in cases), done=len(done), refused=refused, kept=len(kept))


def chosen(seed: int, asked: str, *, everything: bool) -> list[Case]:
    """What a run gets; few films are restored in the short form, for each takes a second."""
    # Hollow giants below the limit of pixels are restored, and that takes hours.
    still = [case for case in pictures(seed, asked=asked) if not case.family.endswith("hollow")]
    moving = [case for case in films(seed, flips=2, asked=asked) if not case.name.endswith(NOT_SEARCHED)]
    if everything:
        return [*still, *moving]
    some = [case for case in stratified(still, 1, seed) if case.family.startswith((*SHORT_RUN, "names", "misnamed"))]
    some += [case for case in still if case.family == "orientation" and case not in some][:4]
    bad = [case for case in moving if not case.ends & {DONE} or case.family == "film-sizes"]
    return [*some, *stratified([case for case in bad if case.family.startswith(FILMS_OF_SHORT_RUN)], 1, seed)]


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A URL, and who asked for it while the block runs."""
    visitors: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    connection, address = server.accept()
                except TimeoutError:
                    continue
                connection.close()
                visitors.append(str(address))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/canary", visitors
        finally:
            ended.set()
            thread.join()


def _row_faults(case: Case, row: dict[str, object]) -> list[str]:
    end = DONE if row["status"] == "done" else str(row["error"])
    message = str(row["message"] or "")
    if end not in case.ends:
        return [f"{case.name}: {end} instead of {sorted(case.ends)} ({message})"]
    if end == DONE:
        return []
    said = message.startswith(f"{end}: ") and case.name.rpartition("/")[2] in message and "; " in message
    return [] if said else [f"{case.name}: {message!r} does not say class, name and what to do"]


def _check_upright(cases: Sequence[Case], rows: dict[str, dict[str, object]]) -> None:
    """Orientation is applied once, and its tag is gone."""
    turned = [case for case in cases if case.family == "orientation" and rows[case.name]["status"] == "done"]
    assert turned
    for case in turned:
        with Image.open(str(rows[case.name]["output"])) as image:
            assert case.pixels is not None
            assert (image.height, image.width) == tuple(4 * side for side in case.pixels.shape[:2]), case.name
            assert image.getexif().get(274, 1) == 1, case.name
