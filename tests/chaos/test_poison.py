"""Inputs that kill or hang whoever opens them, among good and bad ones: they alone are given up, and cost nobody else.

With --trials N: N rounds, each in another order, with some that are drawn: they kill, abort, crash, leave with code 0,
or hang, asleep or in C that lets no other thread of the interpreter go on.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from farm import failpoints

from ..runs import Farm, files, results
from .record import Note
from .watch import Watch, check_clean, check_gone, content

pytestmark = pytest.mark.timeout(900)
Make = Callable[..., Path]
GOOD = 18
BAD = {"empty.png": "empty_input", "words.png": "not_an_image"}
POISON = {
    "kills.png": ("kill", "worker_died"),
    "hangs.png": ("hang", "timeout"),
    "aborts.png": ("kill", "worker_died"),
    "crashes.png": ("kill", "worker_died"),
    "leaves.png": ("kill", "worker_died"),
    "loops.png": ("kill", "timeout"),
}
"""what its failpoint does, unless tests/poison has another end for that name, and of what class it is then"""
AT_ONCE = 2
"""poisonous ones in one round"""
OWN_ENDS = str(Path(__file__).parents[1] / "poison")
"""on PYTHONPATH"""
STEP_LIMIT_S = "10"
"""after which whoever does not answer is taken for hung"""
DEATHS = 5
"""of an input that nobody survives: one among others, three alone, and one when all else is done"""


def write_manifest(folder: Path, make: Make, poison: list[str], chance: random.Random) -> Path:
    """Good rows, a tenth of bad ones, and poison, in any order."""
    for at in range(GOOD):
        make(folder / f"good{at:02d}.png", 64 + at, 48, seed=at)
    (folder / "empty.png").write_bytes(b"")
    (folder / "words.png").write_text("no picture")
    for name in poison:
        make(folder / name, 64, 48, seed=99)
    manifest = folder.with_name("rows.csv")
    shuffle_manifest(manifest, folder, chance)
    return manifest


def shuffle_manifest(manifest: Path, folder: Path, chance: random.Random) -> None:
    """All of a folder, in an order that is drawn."""
    rows = sorted(path.name for path in folder.iterdir())
    chance.shuffle(rows)
    manifest.write_text("source\n" + "".join(f"{row}\n" for row in rows))


def test_an_input_that_kills_its_worker_is_given_up_and_nothing_else(
    small_farm: Farm,
    cluster: dict[str, str],
    make_picture: Make,
    tmp_path: Path,
    trials: int,
    chance: random.Random,
    note: Note,
) -> None:
    names = list(POISON) if trials else ["kills.png"]
    manifest = write_manifest(tmp_path / "in", make_picture, names, chance)
    flags = ("--root", tmp_path / "in", "--workers", "2")
    undisturbed = tmp_path / "undisturbed"
    alone = small_farm.submit(manifest, undisturbed, *flags, env=cluster)
    assert alone.returncode == 3, alone.stderr
    for at in range(trials or 1):
        shuffle_manifest(manifest, tmp_path / "in", chance)
        poison = chance.sample(names, min(AT_ONCE, len(names)))
        watch = Watch(tmp_path / f"out{at}")
        rules = ";".join(f"decode~*/{name}={POISON[name][0]}" for name in poison)
        paths = os.pathsep.join([OWN_ENDS, *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {failpoints.VARIABLE: rules, "FARM_STEP_LIMIT_S": STEP_LIMIT_S, "PYTHONPATH": paths}
        driver = small_farm.start(*small_farm.submit_args(manifest, watch.out, *flags), env=env)
        said = watch.to_end(driver)
        assert driver.returncode == 3, said
        note(round=at, poison=poison, again=check(watch, undisturbed, poison, set(names)))


def check(watch: Watch, undisturbed: Path, poison: list[str], names: set[str]) -> int:
    """All that is good is done, and what is bad is said; returns how many innocents were run once more."""
    errors = {Path(str(row["source"])).name: row["error"] for row in results(watch.out) if row["error"]}
    assert errors == {**BAD, **{name: POISON[name][1] for name in poison}}
    made = content(watch.out)
    assert made == {name: digest for name, digest in content(undisturbed).items() if name in made}
    good = {f"good{at:02d}.png" for at in range(GOOD)} | names - set(poison)
    assert files(watch.out) == {f"{Path(name).stem}_4x.png" for name in good} | {"results.parquet"}
    attempts = {Path(str(entry["source"])).name: int(str(entry["attempts"])) for entry in watch.entries}
    assert [attempts[name] for name in poison] == [DEATHS] * len(poison)
    assert len(watch.entries) == len(good) + len(BAD) + len(poison), "each row ends once"
    for row in results(watch.out):
        if row["error"] in ("worker_died", "timeout"):
            assert f"its worker was lost {DEATHS} times while it ran alone" in str(row["message"])
    again = Counter(attempts[name] - 1 for name in attempts if name not in poison)
    assert set(again) <= set(range(len(poison) + 1)), "who was beside it runs once more, alone; bad rows cost nobody"
    check_clean(watch.out)
    check_gone(watch.family, 5)
    return again.total() - again[0]
