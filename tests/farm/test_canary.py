"""A sample before the whole, without Ray: which rows go first, what they say, and when the others follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from farm import engine, failpoints, jobs, plan
from farm.begin import run_locked
from farm.canary import plan_sample
from farm.cli import main
from farm.config import CanaryConfig, StopConfig
from farm.errors import OutOfTimeError, UsageError
from farm.ledger import read_notes
from farm.records import Done, Failed, Part, StageSeconds
from farm.report import ReportConfig, report
from farm.run import run_manifest
from farm.summary import Canary, RunSummary

from ..seeded import save_srvgg
from .here_engine import HereEngine
from .test_report import Page
from .test_shards import World

Answer = Callable[[Canary, bool | None], bool]
PX_S = 1.0


class Timed(World):
    """Whose workers take a second for a source pixel, as these were guessed."""

    def work(self, part: Part) -> Done | Failed:
        made = super().work(part)
        if isinstance(made, Failed):
            return made
        px = part.item.cost_px
        suspect = "seam" if b"odd" in Path(part.item.row.source_url).read_bytes() else ""
        seconds = StageSeconds(infer=0.75 * px / PX_S, decode=0.25 * px / PX_S, wait=99.0)
        return replace(made, source_px=px, seconds=seconds, suspect=suspect)

    def sampled(self, most: int, answer: Answer | None = None, **changes: Any) -> RunSummary:
        """A command with --sample."""
        asked = {name: changes.pop(name) for name in ("yes", "yes_if_suspect_below") if name in changes}
        self.worked = []
        HereEngine.work = staticmethod(self.work)
        return run_locked(self.config(canary=CanaryConfig(sample=most, **asked), **changes), answer)

    def sources(self, most: int) -> list[str]:
        """What a sample would have that is to do."""
        found = plan_sample(self.config(canary=CanaryConfig(sample=most))).sources
        return [Path(source).name for source in found]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_srvgg(tmp_path_factory.mktemp("model") / "tiny.pth", features=8, convs=2)


@pytest.fixture(params=["parquet", "csv"])
def world(request: pytest.FixtureRequest, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Timed:
    monkeypatch.setattr(engine, "Engine", HereEngine)
    monkeypatch.setattr(plan, "SHARD_ROWS", 4)
    failpoints.disarm()
    return Timed(tmp_path, model, request.param)


def fill(world: World, count: int, **contents: str) -> None:
    """Pictures in three folders, of sizes that differ; some with other contents."""
    world.rows = [f"in/{at % 3}/{at:03d}.png" for at in range(count)]
    for at, name in enumerate(world.rows):
        world.write_source(name, contents.get(f"r{at}", "picture") + " " + "x" * 40 * (at % 5))


def outputs(world: World) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in world.out.rglob("*.png")}


def never(canary: Canary, goes_on: bool | None) -> bool:
    raise AssertionError("nobody is to be asked")


# -- which rows, and what becomes of the others --------------------------------------------------------------------


def test_without_an_answer_only_the_sample_is_done_and_the_rest_follows_without_it(world: Timed) -> None:
    fill(world, 30)
    drawn = world.sources(7)
    assert len(set(drawn)) == 7
    first = world.sampled(7)
    assert sorted(world.worked) == sorted(drawn)
    assert (first.exit_code, first.stopped, first.rows, first.done, first.left) == (75, "--sample", 30, 7, 23)
    assert {path.name for path in world.out.iterdir()} >= {"results.parquet", "sample.html"}
    before = {path: path.stat().st_mtime_ns for path in world.out.rglob("*.png")}
    world.worked = []
    rest = world.run()
    assert sorted([*drawn, *world.worked]) == sorted(Path(name).name for name in world.rows)
    assert (rest.done, rest.reused, rest.exit_code) == (23, 7, 0)
    assert {path: path.stat().st_mtime_ns for path in before} == before, "the sample is not made again"


def test_with_yes_all_is_done_as_without_a_sample(world: Timed, tmp_path: Path) -> None:
    fill(world, 30, r3="bad for good")
    both = world.sampled(7, yes=True)
    assert (both.done, both.failed, both.reused, both.left, both.exit_code) == (29, 1, 0, 0, 3)
    assert len(world.worked) == 30
    mixed = outputs(world)
    world.out.rename(tmp_path / "first")
    assert run_manifest(world.config()).done == 29
    assert outputs(world) == mixed
    notes = read_notes(str(tmp_path / "first"))
    assert [note.done + note.failed - (note is notes[1]) * notes[0].failed for note in notes] == [7, 23]


def test_the_same_command_finds_its_sample_done_and_only_asks(world: Timed) -> None:
    fill(world, 30)
    first = world.sampled(7)
    seen: list[Canary] = []

    def ask(canary: Canary, goes_on: bool | None) -> bool:
        seen.append(canary)
        assert goes_on is None
        return len(seen) > 1

    assert world.sampled(7, ask).exit_code == 75
    assert world.worked == []
    assert first.canary is not None
    assert seen == [replace(first.canary, was_done=True)], "it says the same of the whole"
    last = world.sampled(7, ask)
    assert (last.exit_code, last.done, last.reused, len(world.worked)) == (0, 23, 7, 23)
    after = world.sampled(7, never)
    assert (after.exit_code, after.reused) == (0, 30)
    assert after.canary is not None
    assert (after.canary.rows, world.worked) == (0, [])


def test_a_sample_that_was_killed_goes_on_with_the_same_rows(world: Timed) -> None:
    fill(world, 30)
    drawn = world.sources(9)
    world.kill_after = 4
    with pytest.raises(KeyboardInterrupt):
        world.sampled(9)
    made, world.kill_after = list(world.worked), None
    assert sorted(world.sources(9)) == sorted(set(drawn) - set(made))
    ended = world.sampled(9)
    assert sorted([*made, *world.worked]) == sorted(drawn)
    assert ended.canary is not None
    assert (ended.canary.rows, ended.canary.done, ended.canary.population, ended.left) == (9, 9, 30, 21)


def test_new_rows_are_sampled_anew(world: Timed) -> None:
    fill(world, 20)
    world.sampled(5, yes=True)
    world.rows += [f"in/new/{at}.png" for at in range(6)]
    for name in world.rows[20:]:
        world.write_source(name, "picture")
    ended = world.sampled(3)
    assert ended.canary is not None
    assert (ended.canary.rows, ended.canary.population, ended.left) == (3, 6, 3)
    assert len(world.worked) == 3
    assert all(len(name) == len("0.png") for name in world.worked), "of what is to do"


def test_a_sample_of_all_is_all_and_nobody_is_asked(world: Timed) -> None:
    fill(world, 5)
    ended = world.sampled(99, never)
    assert (ended.exit_code, ended.done, ended.left) == (0, 5, 0)
    assert ended.canary is not None
    assert ended.canary.page
    assert world.run().reused == 5


def test_counts_add_up_whatever_the_manifest_holds(world: Timed) -> None:
    fill(world, 30, **{f"r{at}": "bad for good" for at in range(0, 30, 7)})
    world.run(limits=replace(world.config().limits, limit=6))
    world.rows += ["in/missing.png", "../hostile.png"]
    ended = world.sampled(6)
    assert ended.rows == 32 == ended.done + ended.reused + ended.failed + ended.left
    assert ended.canary is not None
    assert ended.canary.population == 24
    assert ended.left == ended.canary.left == 18
    (*_, note) = read_notes(str(world.out))
    assert (note.rows, note.left, note.exit_code) == (32, 18, 75)
    assert len(world.worked) == 6
    last = world.sampled(6, yes=True)
    assert last.rows == 32 == last.done + last.reused + last.failed
    assert last.left == 0


def test_what_is_done_is_verified_once_and_by_the_run_over_all(world: Timed) -> None:
    fill(world, 12)
    world.run(limits=replace(world.config().limits, limit=6))
    victim = next(world.out.rglob("*.png"))
    whole = victim.read_bytes()
    victim.write_bytes(b"?" * len(whole))
    ended = world.sampled(3, yes=True, verify_outputs=True)
    assert victim.read_bytes() == whole
    assert (ended.done, ended.reused, ended.canary and ended.canary.population) == (7, 5, 6)
    victim.write_bytes(b"?" * len(whole))
    again = world.sampled(3, never, verify_outputs=True)
    assert (again.done, victim.read_bytes()) == (1, whole), "there is nothing to sample, and still something to do"


# -- who says that it goes on --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "code"), [(10.0, 4), (10.1, 3), (100.0, 3)])
def test_below_the_limit_it_goes_on_and_else_ends_with_four(world: Timed, limit: float, code: int) -> None:
    """Of ten one has failed: 10 % is not below 10 %."""
    fill(world, 20)
    for victim in world.rows:
        world.write_source(victim, "bad for good")
        if Path(victim).name in world.sources(10):
            break
        world.write_source(victim, "picture")
    ended = world.sampled(10, yes_if_suspect_below=limit)
    assert ended.canary is not None
    assert (ended.canary.failed, ended.canary.bad_percent) == (1, 10)
    assert ended.exit_code == code
    assert ended.stopped == ("--yes-if-suspect-below" if code == 4 else "")
    assert ended.left == (10 if code == 4 else 0)


def test_suspect_ones_count_and_a_person_may_still_say_yes(world: Timed) -> None:
    fill(world, 12, **{f"r{at}": "odd picture" for at in range(12)})
    asked: list[bool | None] = []

    def yes(canary: Canary, goes_on: bool | None) -> bool:
        asked.append(goes_on)
        assert (canary.suspect, canary.failed, canary.bad_percent) == (4, 0, 100.0)
        return True

    ended = world.sampled(4, yes, yes_if_suspect_below=99.0)
    assert (asked, ended.exit_code, ended.done, ended.warned) == ([None], 0, 12, 12)


def test_rows_that_are_refused_before_they_could_be_drawn_count_as_well(world: Timed) -> None:
    """Of the manifest, not of what is to do: a few new rows a night among many old ones that are refused."""
    fill(world, 12)
    world.rows += [f"../{at}.png" for at in range(4)]
    asked: list[bool | None] = []

    def see(canary: Canary, goes_on: bool | None) -> bool:
        asked.append(goes_on)
        assert (canary.refused, canary.manifest, canary.refused_percent, canary.bad_percent) == (4, 16, 25.0, 0.0)
        return False

    assert world.sampled(4, see, yes_if_suspect_below=25.0).exit_code == 4
    assert world.sampled(4, see, yes_if_suspect_below=26.0).exit_code == 4
    assert asked == [None, True]


def test_a_sample_that_fails_too_much_or_takes_too_long_ends_as_any_run_does(world: Timed) -> None:
    fill(world, 20, **{f"r{at}": "bad for good" for at in range(20)})
    ended = world.sampled(10, never, yes=True, stop=StopConfig(max_failures=2))
    assert (ended.exit_code, ended.stopped) == (4, "--max-failures")
    with pytest.raises(OutOfTimeError):
        world.sampled(10, never, yes=True, stop=StopConfig(max_time_s=1e-9))


def test_the_time_of_the_command_is_that_of_both_runs(world: Timed, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(world, 20)
    ends: list[float] = []
    real = run_manifest

    def noted(config: Any, held: Any, stop: Any, choose: Any = None) -> RunSummary:
        ends.append(stop.ends_s)
        return real(config, held, stop, choose)

    monkeypatch.setattr("farm.run.run_manifest", noted)
    world.sampled(3, yes=True, stop=StopConfig(max_time_s=3600))
    assert len(ends) == 2
    assert ends[0] == ends[1]


# -- what is said --------------------------------------------------------------------------------------------------


def test_the_whole_is_reckoned_by_pixels(world: Timed) -> None:
    """Every worker here takes a second for a pixel, so that any sample tells all."""
    fill(world, 40)
    ended = world.sampled(6)
    found = ended.canary
    assert found is not None
    assert found.whole is not None
    everything = world.run(), world.results()
    total = sum(row["source_px"] for row in everything[1])
    assert found.whole.source_px == pytest.approx(total)
    assert found.whole.worker_seconds == pytest.approx(total / PX_S, rel=0.01)
    assert found.worker_seconds == pytest.approx(found.source_px / PX_S, rel=0.01)
    nbytes = sum(row["bytes"] for row in everything[1])
    assert found.whole.output_bytes == pytest.approx(nbytes, rel=0.5)
    assert found.hours == pytest.approx(found.whole.worker_seconds / 3600 / found.workers)
    assert found.device_hours == pytest.approx(found.whole.worker_seconds / 3600)
    shared = replace(found, gpus=4, workers=8)
    assert shared.device_hours == pytest.approx(found.whole.worker_seconds / 3600 / 2), "two workers of a GPU share it"
    assert found.gpus == 0


def test_the_page_is_of_the_sample_alone(world: Timed) -> None:
    fill(world, 30, r2="bad for good")
    world.run(limits=replace(world.config().limits, limit=10))
    ended = world.sampled(5)
    assert ended.canary is not None
    assert ended.canary.page == f"{world.out}/sample.html"
    page = Page((world.out / "sample.html").read_bytes())
    assert "A sample of 5 of 20 rows" in page.text
    assert "done5" in page.text
    assert "failed0" in page.text
    assert "worker-hours of the whole" in page.text
    whole = report(ReportConfig(run=str(world.out), page=str(world.folder / "r.html"), sample=0))
    assert (whole.done, whole.failed) == (14, 1)


def test_a_dry_run_names_the_sample_and_writes_nothing(world: Timed) -> None:
    fill(world, 30)
    manifest = world.write_manifest()
    flags = ["--model", str(world.model), "--precision", "fp32", "--no-stamp", "--gpus", "0", "--out", str(world.out)]
    words = ["submit", str(manifest), *flags, "--sample", "7", "--dry-run"]
    said = CliRunner().invoke(main, words)
    assert said.exit_code == 0, said.output
    assert "sample: 7 of 30 rows to do" in said.stdout
    assert not world.out.exists()
    assert sorted(Path(line.strip()).name for line in said.stdout.splitlines() if line.startswith("  /")) == sorted(
        world.sources(7)
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--sample", "0"), "--sample: 0 is below 1"),
        (("--sample", "10001"), "--sample: 10001 is above 10000"),
        (("--yes",), "--yes: answers the question that --sample N asks"),
        (("--yes-if-suspect-below", "2%"), "--yes-if-suspect-below: answers the question"),
        (("--sample", "2", "--yes", "--yes-if-suspect-below", "2%"), "--yes: contradicts"),
        (("--sample", "2", "--yes-if-suspect-below", "0%"), "0% is not above 0%"),
        (("--sample", "2", "--yes-if-suspect-below", "nan"), "nan% is not above 0%"),
        (("--sample", "2", "--yes-if-suspect-below", "few"), "'few' is no percentage such as 2%"),
        (("--sample", "2", "--detach"), "--detach: nobody can be asked there after --sample"),
    ],
)
def test_wrong_flags_are_named_before_anything_starts(
    flags: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "detach", None)
    (tmp_path / "in").mkdir()
    done = CliRunner().invoke(main, ["submit", str(tmp_path / "in"), *flags])
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize("flags", [("--yes",), ("--yes-if-suspect-below", "2%")])
def test_a_detached_run_takes_its_answer_along(
    flags: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[str]] = []

    def detach(config: object, words: list[str]) -> None:
        sent.append(words)
        raise UsageError("as far as this test goes")

    monkeypatch.setattr(jobs, "detach", detach)
    words = ["in", "--sample", "20", *flags]
    CliRunner().invoke(main, ["submit", *words, "--detach", "--json"])
    assert sent == [words]
