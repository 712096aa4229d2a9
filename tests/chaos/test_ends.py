"""After every kind of end there is no process of the run, no temporary file and no lock left, under a real Ray.

Signals, kills and lost nodes have their own files; here are the ends by which a run goes itself. The short form draws
one of them, --trials N all, N times over.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from ..networks import seeded_state, srvgg_spec
from ..outside import small_disk
from ..runs import Farm
from .record import Note
from .watch import Watch, check_clean, check_gone

Make = Callable[..., Path]
pytestmark = pytest.mark.timeout(600)
SHORT = 1
PICTURES, BAD = 12, 3
DISK_BYTES = 2 << 20
GONE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class End:
    """One way in which a run ends by itself."""

    code: int
    flags: tuple[str, ...] = ()
    bad: int = 0
    """pictures that are none"""
    broken: bool = False
    """weights that give no numbers"""
    starts: bool = True
    """whether there is a Ray to end"""
    full: bool = False
    """a disk that holds no more than a part of the outputs"""


ENDS: Mapping[str, End] = {
    "all done": End(code=0),
    "some failed": End(code=3, bad=BAD),
    "too many failures": End(code=4, bad=BAD, flags=("--max-failures", "1")),
    "no disk": End(code=74, full=True),
    "no time": End(code=75, flags=("--max-time", "1"), starts=False),
    "no numbers": End(code=78, broken=True),
}


@contextmanager
def output_root(end: End, folder: Path) -> Generator[Path]:
    """Where outputs go: a full disk, or any."""
    if end.full:
        with small_disk(folder / "disk", DISK_BYTES) as disk:
            (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 300_000))
            yield disk / "out"
    else:
        yield folder / "out"


def broken_weights(path: Path) -> Path:
    state = seeded_state(srvgg_spec(4, features=8, convs=2))
    state["body.0.weight"][0] = float("nan")
    torch.save({"params": state}, path)
    return path


def check_end(end: End, farm: Farm, make: Make, folder: Path) -> None:
    for number in range(PICTURES):
        make(folder / "in" / f"{number:02d}.png", 160, 120, seed=number)
    for number in range(end.bad):
        (folder / "in" / f"bad{number}.png").write_bytes(b"no picture")
    model = broken_weights(folder / "nan.pth") if end.broken else farm.model
    temp = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))  # short: sockets lie in it
    with output_root(end, folder) as out:
        watch = Watch(out)
        command = ("submit", folder / "in", "--model", model, "--out", out, "--gpus", "0", "--workers", "2", *end.flags)
        driver = farm.start(*command, env={"TMPDIR": str(temp)})
        said = watch.to_end(driver)
        assert driver.returncode == end.code, f"{end}: {said}"
        assert watch.family or not end.starts, f"{end}: Ray was seen"
        check_gone(watch.family, GONE_S)
        if out.exists():
            check_clean(out)
        assert not list(temp.iterdir()), f"{end}: {said}"
        temp.rmdir()


def test_after_every_end_nothing_of_the_run_is_left(
    small_farm: Farm, make_picture: Make, tmp_path: Path, trials: int, chance: random.Random, note: Note
) -> None:
    names = list(ENDS) * trials if trials else chance.sample(list(ENDS), SHORT)
    met: Counter[str] = Counter()
    for at, name in enumerate(names):
        check_end(ENDS[name], small_farm, make_picture, tmp_path / f"{at}")
        met[name] += 1
    note(runs=len(names), met=dict(met))
