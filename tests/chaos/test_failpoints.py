"""{kill, EIO, ENOSPC, 503, hang} at every named point of a run, and an error at every call, on a disk and on a store.

Each case is a whole run in a process that can be killed as a whole (see zygote.py), and a second one of the same
command, which must finish with the outputs, the results and the remains of a run that nothing happened to.
"""

from __future__ import annotations

import mmap
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import pyvips
import torch

from farm import failpoints

from ..networks import seeded_state, srvgg_spec
from ..outside import small_disk
from ..runs import Farm, actors_of
from ..s3_server import require_s3
from .cases import BUSY, LEASE_S, Bucket, Disk, Place, Work, undisturbed
from .record import Note
from .works import FEW, Command
from .zygote import Zygote

DRIVER = frozenset(name for name, what in failpoints.POINTS.items() if what.startswith("driver:"))
WORKER = frozenset(name for name, what in failpoints.POINTS.items() if what.startswith("worker:"))
ERRORS = ("EIO", "ENOSPC", "503")
LARGE_UPLOADS = {"storage.part"}
"""which these works do not pass: a test of its own does"""
DISK_BYTES = 8 << 20
HUNG_S = 14.0
"""after which a driver that hangs is told to stop; a worker that does is ended by the run itself"""


@dataclass(frozen=True, kw_only=True)
class Case:
    kind: str
    point: str
    action: str
    nth: int = 1


def all_cases(works: dict[str, Work], chance: random.Random) -> list[Case]:
    """Every action at every point that the work passes, each at a hit drawn at random."""
    return [
        Case(kind=kind, point=point, action=action, nth=chance.randint(1, hits))
        for kind, work in works.items()
        for point, hits in work.hits.items()
        for action in failpoints.ACTIONS
        if hits
    ]


def short_cases(works: dict[str, Work], chance: random.Random, points: set[str], *, hangs: int) -> list[Case]:
    """Each point once, in the order of the table, and each action; few that hang, which takes its time."""
    actions = [action for action in failpoints.ACTIONS if action != "hang"] * len(points)
    chance.shuffle(actions)
    named = [point for point in failpoints.POINTS if point in points]
    hung = chance.sample([point for point in named if point in WORKER], hangs)
    cases: list[Case] = []
    for at, point in enumerate(named):
        kinds = [kind for kind, work in works.items() if work.hits[point]]
        action = "hang" if point in hung else failpoints.ACTIONS[0] if at == 0 else actions[at]
        cases.append(Case(kind=chance.choice(kinds), point=point, action=action))
    return cases


def strike(work: Work, place: Place, case: Case, mark: Path) -> bool:
    """Run once while the case happens, and look at what it left; whether its point was hit."""
    before = place.staged()
    hangs = case.action == "hang" and case.point not in WORKER
    spell = f"{case.point}={case.action}@{case.nth},once={mark}"
    ran = work.run(place, spell, limit_s=HUNG_S if hangs else 6 * HUNG_S)
    told = f"{case} ended with {ran.code} after {ran.seconds:.1f} s: {ran.said}"
    if not mark.exists():
        assert ran.code == 0, told
        return False
    if case.action == "kill":
        assert ran.code == -9, told
    elif case.action == "hang":
        assert ran.code == 0 or (ran.code == 143 and case.point not in WORKER), told
    else:
        assert ran.code in (0, 3, 69, 74), told
    work.check_left(place, ran, before)
    return True


def check_case(work: Work, fresh: Callable[[], Place], case: Case, mark: Path) -> None:
    """The case on an empty root, and the same command again."""
    place = fresh()
    if not strike(work, place, case, mark):  # threads come by in another order: fewer hits than when they were counted
        place = fresh()
        assert strike(work, place, replace(case, nth=1), mark), f"{case} was not met"
    work.check_rerun(place)


def check_chain(works: dict[str, Work], fresh: Callable[[], Place], cases: list[Case], folder: Path) -> None:
    """One case after the other in the same roots, as long as there is something left to do in them."""
    places: dict[str, Place] = {}
    for number, case in enumerate(cases):
        work, mark = works[case.kind], folder / f"met-{number}"
        place = places.setdefault(case.kind, fresh())
        if not strike(work, place, case, mark):
            places[case.kind] = place = fresh()
            assert strike(work, place, case, mark), f"{case} was not met"
    for kind, place in places.items():
        works[kind].check_rerun(place)


def test_whatever_happens_at_a_named_point_the_same_command_finishes(
    works: dict[str, Work], fresh_disk: Callable[[], Place], chance: random.Random, trials: int, marks: Path, note: Note
) -> None:
    points = {point for work in works.values() for point, hits in work.hits.items() if hits}
    assert points == set(failpoints.POINTS) - LARGE_UPLOADS, "every point is met on a disk"
    if trials:
        check_all(works, fresh_disk, drawn(all_cases(works, chance), chance, trials), marks, note)
    else:
        check_chain(works, fresh_disk, short_cases(works, chance, points, hangs=1), marks)


@pytest.mark.s3
def test_whatever_happens_at_a_named_point_of_a_run_to_a_store_the_same_command_finishes(
    stored_works: dict[str, Work],
    fresh_bucket: Callable[[], Place],
    chance: random.Random,
    trials: int,
    marks: Path,
    note: Note,
) -> None:
    if trials:
        check_all(stored_works, fresh_bucket, drawn(all_cases(stored_works, chance), chance, trials), marks, note)
    else:
        points = {"storage.stat", "storage.read", "storage.publish.before", "storage.publish.after", "mark.before"}
        check_chain(stored_works, fresh_bucket, short_cases(stored_works, chance, points, hangs=0), marks)


@pytest.mark.s3
def test_whatever_happens_at_a_part_of_an_upload_the_same_command_finishes(
    zygote: Zygote,
    commands: dict[str, Command],
    fresh_bucket: Callable[[], Place],
    chance: random.Random,
    tmp_path: Path,
    trials: int,
    marks: Path,
    note: Note,
) -> None:
    """A picture of some 14 MB in parts of 5; with --trials every action at every part, else one that does not hang."""
    save_noise(tmp_path / "in" / "noise.png", 540, 540)
    args = ("submit", tmp_path / "in", "--model", commands["restore"][3], "--precision", "fp32", *FEW)
    work = undisturbed(Work(zygote=zygote, scratch=tmp_path / "scratch", args=args), fresh_bucket())
    cases = [case for case in all_cases({"parts": work}, chance) if case.point in LARGE_UPLOADS]
    assert len(cases) == len(failpoints.ACTIONS)
    if not trials:
        cases = [chance.choice([case for case in cases if case.action != "hang"])]
    parts = range(1, work.hits["storage.part"] + 1) if trials else (chance.randint(1, work.hits["storage.part"]),)
    every = [replace(case, nth=nth) for case in cases for nth in parts]
    check_all({"parts": work}, fresh_bucket, every, marks, note)


def save_noise(path: Path, width: int, height: int) -> None:
    """What no encoder makes smaller."""
    path.parent.mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pyvips.Image.new_from_array(noise).copy(interpretation="srgb").write_to_file(str(path))


def test_an_error_at_any_single_call_is_survived(
    works: dict[str, Work], fresh_disk: Callable[[], Place], chance: random.Random, trials: int, marks: Path, note: Note
) -> None:
    check_calls(works, fresh_disk, chance, trials or 6, marks, note)


@pytest.mark.s3
def test_an_error_at_any_single_call_of_a_run_to_a_store_is_survived(
    stored_works: dict[str, Work],
    fresh_bucket: Callable[[], Place],
    chance: random.Random,
    trials: int,
    marks: Path,
    note: Note,
) -> None:
    check_calls(stored_works, fresh_bucket, chance, trials or 2, marks, note)


def test_workers_that_hang_or_are_stopped_are_replaced_and_the_run_goes_on(
    works: dict[str, Work], farm: Farm, tmp_path: Path
) -> None:
    """Under Ray: one worker never comes back from a picture; then all that there are are stopped."""
    work, place, mark = works["restore"], Disk(tmp_path / "out"), tmp_path / "hung"
    rules = {failpoints.VARIABLE: f"decode=hang,once={mark}", "FARM_STEP_LIMIT_S": "15"}
    process = farm.start(*work.args, "--workers", "2", "--out", place.root, env=rules)
    deadline_s = time.monotonic() + 90
    while not mark.exists() and process.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.05)
    stopped = actors_of(process) if process.poll() is None else []
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    _, said = process.communicate(timeout=150)
    assert stopped, said
    assert process.returncode == 0, said
    work.check_finished(place)
    assert not any(map(is_alive, stopped)), "a stopped process is killed all the same"


def is_alive(pid: int) -> bool:
    """Whether a process is there and has not ended; who waits for it may not be there any more."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


UNDER_RAY = ("infer", "encode", "mux", "join", "assemble", "decode", "claim.after", "mark.before")
"""of which the short form draws one"""


def test_a_kill_at_a_point_of_a_run_under_ray_is_survived(
    works: dict[str, Work], farm: Farm, trials: int, chance: random.Random, tmp_path: Path, note: Note
) -> None:
    """Of a worker's the run goes on; of the driver's the same command finishes. With --trials N: N of all points."""
    cases = [case for case in all_cases(works, chance) if case.action == "kill"]
    if not trials:
        cases = [case for case in cases if case.point in UNDER_RAY]
    few = drawn(cases, chance, trials or 1)
    killed = check_kills(works, farm, few, lambda at: Disk(tmp_path / f"out-{at}"), tmp_path)
    note(cases=killed.total(), **killed)


@pytest.mark.s3
def test_a_kill_at_a_point_of_a_run_under_ray_to_a_store_is_survived(
    stored_works: dict[str, Work], farm: Farm, trials: int, chance: random.Random, tmp_path: Path, note: Note
) -> None:
    """As on a disk. The short form kills who has just published."""
    server = require_s3()
    cases = [case for case in all_cases(stored_works, chance) if case.action == "kill"]
    if not trials:
        cases = [case for case in cases if case.point == "storage.publish.after"]
    killed = check_kills(stored_works, farm, drawn(cases, chance, trials or 1), lambda _: Bucket(server), tmp_path)
    note(cases=killed.total(), **killed)


def check_kills(
    works: dict[str, Work], farm: Farm, cases: list[Case], fresh: Callable[[int], Place], folder: Path
) -> Counter[str]:
    """How many of the cases killed a worker, and how many the driver: points of a store are both's."""
    killed: Counter[str] = Counter()
    for number, case in enumerate(cases):
        work, place, mark = works[case.kind], fresh(number), folder / f"met-{number}"
        command = (*work.args, "--out", place.root)
        rules = f"{case.point}=kill@{case.nth},once={mark}"
        ran = farm.run(*command, env={**place.environment, failpoints.VARIABLE: rules})
        if not mark.exists():  # the hits of several processes are counted apart
            assert ran.returncode == 0, f"{case}: {ran.stderr}"
            place = fresh(len(cases) + number)
            command = (*work.args, "--out", place.root)
            rules = f"{case.point}=kill,once={mark}"
            ran = farm.run(*command, env={**place.environment, failpoints.VARIABLE: rules})
        assert mark.exists(), f"{case} was not met: {ran.stderr}"
        of_driver = ran.returncode == -signal.SIGKILL
        assert of_driver <= (case.point not in WORKER), f"{case}: {ran.stderr}"
        assert of_driver >= (case.point in DRIVER), f"{case}: {ran.stderr}"
        if of_driver or (ran.returncode == BUSY and "could not be renewed" in ran.stderr):  # a machine that stood still
            ran = rerun(farm, command, place)
        assert ran.returncode == 0, f"{case}: {ran.stderr}"
        work.check_finished(place)
        killed["drivers" if of_driver else "workers"] += 1
    return killed


def rerun(farm: Farm, command: tuple[str | Path, ...], place: Place) -> subprocess.CompletedProcess[str]:
    """The command, once the lease of whoever was killed is over."""
    until_s = time.monotonic() + 5 * LEASE_S
    while True:
        ran = farm.run(*command, env=dict(place.environment))
        if ran.returncode != BUSY or time.monotonic() > until_s:
            return ran
        time.sleep(0.5)


def test_weights_that_give_no_numbers_are_found_by_a_trial_when_they_are_loaded(
    works: dict[str, Work], tmp_path: Path
) -> None:
    """Those that hold NaN, and those that overflow although each of them is a number: exit 78, nothing published."""
    spec = srvgg_spec(4, features=8, convs=2)
    for name in ("nan", "overflow"):
        state = seeded_state(spec, 0)
        for key in [key for key, value in state.items() if value.ndim == 4]:
            state[key] = state[key] * (float("nan") if name == "nan" else 1e18)
        torch.save({"params": state}, tmp_path / f"{name}.pth")
        work, place = works["restore"], Disk(tmp_path / name)
        ran = replace(work, args=(*work.args, "--model", tmp_path / f"{name}.pth")).run(place)
        assert ran.code == 78, ran.said
        assert ("not finite" if name == "nan" else "NaN or infinity on a gradient") in ran.said
        assert place.outputs() == {}


@pytest.mark.parametrize(
    ("what", "left_bytes", "most_bytes"),
    [("output", 200_000, 200_000), ("ledger", 2 * mmap.PAGESIZE, 6 * mmap.PAGESIZE)],
)
def test_a_full_disk_is_an_orderly_stop(
    works: dict[str, Work],
    fresh_disk: Callable[[], Place],
    what: str,
    left_bytes: int,
    most_bytes: int,
    trials: int,
    chance: random.Random,
    note: Note,
) -> None:
    """As the root of the outputs, and as the place of the ledger alone; with --trials also with as much room as is
    drawn, up to the most that is too little. Of two pages the ledger's form takes one: lines cross the other's end."""
    place = fresh_disk()
    root = Path(place.root)
    room = [left_bytes, *(chance.randint(0, most_bytes) for _ in range(trials))]
    with small_disk(root if what == "output" else root / ".farm" / "ledger", DISK_BYTES) as disk:
        for left in room:
            for work in works.values():
                check_full(work, place, disk, left)
                for path in (one for one in root.rglob("*") if one.is_file()):
                    path.unlink()
    note(full=what, times=len(room) * len(works))


@pytest.mark.s3
def test_full_scratch_is_an_orderly_stop(
    stored_works: dict[str, Work], fresh_bucket: Callable[[], Place], tmp_path: Path
) -> None:
    """Films on their way to a store lie there."""
    with small_disk(tmp_path / "scratch", DISK_BYTES) as disk:
        check_full(stored_works["restore"], fresh_bucket(), disk, 0, scratch=disk)


def check_full(work: Work, place: Place, disk: Path, left_bytes: int, scratch: Path | None = None) -> None:
    """Fill a disk but for so much, run, free it and run again."""
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - left_bytes))
    ran = work.run(place, scratch=scratch)
    assert ran.code == 74, ran.said
    (said,) = [line for line in ran.said.splitlines() if line.startswith("farm: ")]
    found = re.fullmatch(r"farm: (.+): No space left on device at \d+ bytes, (\d+) bytes free; free space, .+", said)
    assert found, said
    assert found[1].startswith(str(disk)), said
    assert int(found[2]) <= left_bytes, said
    filler.unlink()
    work.check_left(place, ran, frozenset())
    work.check_rerun(place)


def check_calls(
    works: dict[str, Work], fresh: Callable[[], Place], chance: random.Random, trials: int, marks: Path, note: Note
) -> None:
    """So many of: an error of each sort at the k-th of all points, for every k of an undisturbed run."""
    cases = [
        Case(kind=kind, point="*", action=action, nth=nth)
        for kind, work in works.items()
        for nth in range(1, sum(work.hits.values()) + 1)
        for action in ERRORS
    ]
    check_all(works, fresh, drawn(cases, chance, trials), marks, note)


def drawn(cases: list[Case], chance: random.Random, trials: int) -> list[Case]:
    """So many of them, all if there are no more."""
    return chance.sample(cases, min(trials, len(cases)))


def check_all(works: dict[str, Work], fresh: Callable[[], Place], cases: list[Case], folder: Path, note: Note) -> None:
    """Every case, whatever the others give; says how many there were and which failed."""
    failures: list[str] = []
    for number, case in enumerate(cases):
        try:
            check_case(works[case.kind], fresh, case, folder / f"met-{number}")
        except AssertionError as error:
            failures.append(f"{case}: {error}")
    note(cases=len(cases), passed=len(cases) - len(failures), actions=dict(Counter(case.action for case in cases)))
    assert not failures, "\n\n".join(failures)
