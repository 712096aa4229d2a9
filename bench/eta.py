"""How far off is the time left that a run says? A real mixed run is recorded, and its recording told to the estimator.

    python bench/eta.py record MEDIA --weights DIR --order shuffled [--times N] --keep FILE.jsonl
    python bench/eta.py show FILE.jsonl... > bench/results/eta-DATE.md

MEDIA is a folder with images/ and videos/. Pictures of eight sizes in two formats, two models, and eight films make one
manifest, each so many `--times`: shuffled, films first, or films last. A recording is what `farm submit --json` says,
without names and paths: what the estimator hears of the run, when, and what the run itself said of the time left.

error: what was said against what was left, by what was left; in the last tenth of the run by that tenth.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyvips

from farm.kinds import MediaKind
from farm.progress.crew import Crew
from farm.progress.effort import Effort
from farm.progress.outlook import Outlook
from farm.progress.work import Likeness, Row, Workload
from farm.records import Unit

SIDES = (96, 128, 176, 224, 288, 352, 448, 560)
COPIES = 4
"""of each size and format"""
FILMS = (
    ("onepiece_demo.mp4", 0, 40, 240),
    ("chaplin.mp4", 0, 24, 240),
    ("nasa_13013.mp4", 0, 32, 240),
    ("onepiece_demo.mp4", 1, 16, 320),
    ("chaplin.mp4", 1, 48, 160),
    ("nasa_13013.mp4", 1, 24, 160),
    ("onepiece_demo.mp4", 2, 32, 160),
    ("chaplin.mp4", 2, 16, 320),
)
"""name, second from which on, frames, width"""
SMALL, LARGE = "animevideov3", "realesr-general-x4v3*.pth"
"""a third of the pictures and the films; the others, by a file of the folder with weights"""
ORDERS = ("shuffled", "films-first", "films-last")
SEED = 3
TENTHS = tuple(share / 10 for share in range(1, 10))
LAST = 0.1
Line = dict[str, Any]
_ERROR = "Error: what was said against what was left, by what was left; in the last tenth of the run by that tenth."
_BUSY = "load: of the machine, by other work; what is above the cores slows the run, and not evenly."


# -- a run -----------------------------------------------------------------------------------------------------------


def sources(media: Path, folder: Path) -> list[tuple[str, str]]:
    """Writes pictures and films; gives their names, each with its model, or nothing for that of the command."""
    rows: list[tuple[str, str]] = []
    pictures = sorted((media / "images").glob("*.png"))
    for at in range(len(SIDES) * COPIES * 2):
        side, extension = SIDES[at % len(SIDES)], ("png", "jpg")[at // len(SIDES) % 2]
        image = pyvips.Image.thumbnail(str(pictures[at % len(pictures)]), side, height=side * 3 // 4, size="force")
        name = f"{at:02d}.{extension}"
        image.colourspace("srgb")[:3].cast("uchar").write_to_file(str(folder / name))
        rows.append((name, "" if at % 3 else SMALL))
    for at, (source, start_s, frames, width) in enumerate(FILMS):
        scaled = ("-frames:v", str(frames), "-vf", f"scale={width}:-2", "-c:v", "libx264", "-preset", "veryfast", "-an")
        name, film = f"film{at}.mp4", media / "videos" / source
        command = ["ffmpeg", "-v", "error", "-ss", str(start_s), "-i", str(film), *scaled, str(folder / name)]
        subprocess.run(command, check=True)
        rows.append((name, SMALL))
    return rows


def repeated(rows: list[tuple[str, str]], folder: Path, times: int) -> list[tuple[str, str]]:
    """Each source under so many names."""
    more = [(f"again{again}-{name}", name, model) for again in range(1, times) for name, model in rows]
    for again, name, _ in more:
        (folder / again).hardlink_to(folder / name)
    return rows + [(again, model) for again, _, model in more]


def ordered(rows: list[tuple[str, str]], order: str) -> list[tuple[str, str]]:
    rows = list(rows)
    random.Random(SEED).shuffle(rows)
    if order == "shuffled":
        return rows
    return sorted(rows, key=lambda row: row[0].endswith(".mp4") == (order == "films-last"))


def record(media: Path, weights: Path, order: str, workers: int, times: int) -> list[Line]:
    """Run it, and give what it said."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        with (folder / "rows.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["source", "model"])
            rows = repeated(sources(media, folder / "in"), folder / "in", times)
            table.writerows(ordered(rows, order))
        large = next(weights.glob(LARGE))
        flags = ("--root", folder / "in", "--out", folder / "out", "--weights-dir", weights, "--model", large)
        command = [sys.executable, "-m", "farm", "submit", folder / "rows.csv", *flags, "--json"]
        command += ["--gpus", 0, "--workers", workers, "--segment-frames", 8]
        ran = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, text=True, check=True)
    head = {"event": "recorded", "order": order, "cores": os.cpu_count(), "workers": workers, "load": round(load, 2)}
    return [head, *trimmed(map(json.loads, ran.stdout.splitlines()))]


def trimmed(lines: Iterable[Line]) -> Iterator[Line]:
    """Without what names anything; numbers instead of ids."""
    numbers: dict[str, int] = {}
    kept = {
        "begin": ("flops",),
        "plan": ("rows", "unplanned", "total", "guesses"),
        "work": (),
        "cut": ("model", "kind", "extension", "sized", "guess_px", "px", "before_px", "frames", "seconds"),
        "piece": ("px", "frames", "seconds"),
        "row": ("model", "kind", "extension", "sized", "guess_px", "px", "status", "seconds"),
        "standing": ("eta_s",),
    }
    for line in lines:
        if line["event"] not in kept:
            continue
        found = {name: line[name] for name in ("event", "at_s", *kept[line["event"]]) if name in line}
        for name in ("item", "worker"):
            if name in line:
                found[name] = numbers.setdefault(line[name], len(numbers))
        if "workers" in line:
            workers = {str(numbers.setdefault(one["name"], len(numbers))): one for one in line["workers"]}
            found["at_work"] = {name: bool(one["at"]) for name, one in workers.items()}
            found["held"] = {name: one["held"] for name, one in workers.items() if one["held"]}
        yield found


# -- its recording ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Point:
    """What was said at one time; all in seconds, but shares."""

    at: float
    """since workers were there"""
    share: float
    """of the run's time"""
    work: float
    """share of all work that was done, as it was told"""
    said: float | None
    """by the estimator, as it is now"""
    then: float | None
    """by the run that was recorded, where it said anything just then"""
    left: float
    """what was left in truth"""
    whole: float
    """how long the run took"""

    def error(self, said: float | None) -> float | None:
        """0.1: a tenth too much."""
        return None if said is None else (said - self.left) / max(self.left, LAST * self.whole)


class Recorded:
    """Who was there, and who had something to do."""

    def __init__(self) -> None:
        self.at_work: Mapping[str, bool] = {}

    @property
    def names(self) -> Collection[str]:
        return self.at_work.keys()

    def running(self, worker: str) -> tuple[Unit, ...]:
        return (Unit(unit_id=0, parts=()),) if self.at_work[worker] else ()


class RecordedCrew(Crew):
    """And what each held; older recordings do not say it."""

    def __init__(self, roster: Recorded, now_s: float) -> None:
        super().__init__(roster, now_s)
        self.pixels: dict[str, dict[Likeness, int]] = {}

    def held(self, name: str) -> Mapping[Likeness, int]:
        return self.pixels.get(name, {})


def replay(lines: list[Line]) -> list[Point]:
    """What the estimator says after every line of a recording."""
    begun = next(line["at_s"] for line in lines if line["event"] == "work")
    end = max(line["at_s"] for line in lines if line["event"] == "row")
    first = next(line for line in lines if line["event"] == "begin")
    work, recorded, rows = Workload(first["flops"], {}, 0), Recorded(), dict[int, Row]()
    outlook, crew = Outlook(0, work, begun), RecordedCrew(recorded, begun)
    points: list[Point] = []
    for line in lines:
        if line["event"] == "standing":
            recorded.at_work = line["at_work"]
            crew.pixels = {name: pixels(held) for name, held in line.get("held", {}).items()}
        tell(outlook, work, rows, crew, line)
        if begun < line.get("at_s", 0) < end:
            now = line["at_s"]
            outlook.crew.look(now)
            share = (now - begun) / (end - begun)
            said, then = outlook.left_s(now), line.get("eta_s")
            points.append(Point(now - begun, share, outlook.reached, said, then, end - now, end - begun))
    return points


def tell(outlook: Outlook, work: Workload, rows: dict[int, Row], crew: RecordedCrew, line: Line) -> None:
    """One line to the estimator, as Progress tells it."""
    event, now = line["event"], line.get("at_s", 0.0)
    if event == "plan":
        work.expect(pixels(line["guesses"]), line["rows"], line["unplanned"])
        outlook.total = line["total"]
    elif event == "work":
        outlook.begin(now, crew)
    elif event in ("cut", "piece", "row"):
        if "model" in line:
            rows[line["item"]] = Row(item_id=str(line["item"]), likeness=likeness(line), guess_px=line["guess_px"])
        row, effort = rows[line["item"]], Effort(worker=str(line["worker"]), seconds=line["seconds"])
        crew.pixels.pop(effort.worker, None)  # until the recording says what it holds now
        if event == "cut":
            outlook.cut(row, line["px"], line["before_px"] / line["px"], "", line["frames"], effort, now)
        elif event == "piece":
            outlook.piece(row, line["px"], line["frames"], effort, now)
        elif line["status"] == "done":
            outlook.finish(row, line["px"], effort, now)
        else:
            outlook.fail(row, "", effort, now)


def pixels(told: list[Line]) -> dict[Likeness, int]:
    return {likeness(one): one["px"] for one in told}


def likeness(line: Line) -> Likeness:
    kind = MediaKind(line["kind"])
    return Likeness(model=line["model"], kind=kind, extension=line["extension"], sized=line["sized"])


def worst(points: Iterable[Point], since: float) -> float | None:
    """The largest error from a share of the run's time on; None where nothing was said once."""
    errors = [point.error(point.said) for point in points if point.share >= since]
    return None if not errors or None in errors else max(errors, key=abs)  # pyright: ignore[reportArgumentType]


def read(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def table(name: str, lines: list[Line]) -> str:
    """Of one recording."""
    head, points = lines[0], replay(lines)
    whole = points[0].whole
    events = Counter(line["event"] for line in lines)
    made = f"{events['row']} rows, {events['piece']} pieces"
    where = f"{head['workers']} workers on {head['cores']} cores, load {head['load']} before the run"
    text = [f"## {name}: {head['order']}", "", f"{made}, {whole:.0f} s from the first worker on; {where}.", ""]
    text += ["| time gone | work done | said, s | left, s | error |", "|---|---|---|---|---|"]
    for share in TENTHS:
        point = next(point for point in points if point.share >= share)
        said, error = ("-", "-") if point.said is None else (f"{point.said:.0f}", f"{point.error(point.said):+.0%}")
        text.append(f"| {point.share:.0%} | {point.work:.0%} | {said} | {point.left:.0f} | {error} |")
    found = worst(points, 0.2)
    said = "nothing was said at times" if found is None else f"{found:+.0%}"
    told = [abs(error) for point in points if point.share >= 0.2 and (error := point.error(point.said)) is not None]
    mean = f"{sum(told) / len(told):.0%}" if told else "-"
    return "\n".join(
        [*text, "", f"Worst error of all {len(points)} moments from 20 % of the time on: {said}; mean {mean}."]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("record")
    run.add_argument("media", type=Path)
    run.add_argument("--weights", type=Path, required=True)
    run.add_argument("--order", choices=ORDERS, default="shuffled")
    run.add_argument("--workers", type=int, default=2)
    run.add_argument("--times", type=int, default=1, help="that each source is in the manifest")
    run.add_argument("--keep", type=Path, required=True)
    show = commands.add_parser("show")
    show.add_argument("recordings", type=Path, nargs="+")
    arguments = parser.parse_args()
    if arguments.command == "record":
        lines = record(arguments.media, arguments.weights, arguments.order, arguments.workers, arguments.times)
        arguments.keep.write_text("".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in lines))
    else:
        print(f"# The time left that runs say, {date.today().isoformat()}\n\n{_ERROR}")
        print(f"The estimator is that of this commit; a recording has what it hears.\n{_BUSY}\n")
        print("\n\n".join(table(path.stem, read(path)) for path in arguments.recordings))


if __name__ == "__main__":
    main()
