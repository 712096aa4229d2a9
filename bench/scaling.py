"""What more workers bring: the real network on this machine's cores.

    python bench/scaling.py --media DIR [--most 2]

`farm submit` of the same pictures with 1..N one-thread workers. The rate counts from the first picture that is done to
the last, as the run itself says it (--json), so without its start. The limit is what the cores give: as many bare
processes, each with a network on a core of its own and nothing else, together.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pyvips
from fleet import MODEL  # beside this file
from recorded import Figures, keep, machine, table

ROOT = Path(__file__).parent.parent
MEDIA = ("Blake_Lively.jpg", "OST_009.png", "painting.png", "building.png")
PICTURES, WIDTH, HEIGHT = 24, 512, 384


def pictures(media: Path, folder: Path) -> None:
    """The same few photographs, at one size, again and again."""
    folder.mkdir()
    found = [media / name for name in MEDIA if (media / name).exists()]
    for index in range(PICTURES):
        image = pyvips.Image.thumbnail(str(found[index % len(found)]), WIDTH, height=HEIGHT, size="force")
        image.colourspace("srgb")[:3].cast("uchar").write_to_file(str(folder / f"{index:02d}.jpg"), Q=95)


def farm_rate(source: Path, out: Path, workers: int, model: str) -> float:
    """Megapixels a second of a run with so many workers, between its first and its last picture."""
    words = ("submit", source, "--out", out, "--model", model, "--gpus", "0", "--workers", workers, "--json")
    words = (*words, "--format", "jpg", "--pin-cores")
    ran = subprocess.run(
        [sys.executable, "-m", "farm", *map(str, words)], stdout=subprocess.PIPE, text=True, check=True
    )
    rows = [line for line in map(json.loads, ran.stdout.splitlines()) if line["event"] == "row"]
    first, last = rows[workers - 1], rows[-1]  # when each worker has loaded its model
    return sum(row["px"] for row in rows[workers:]) / (last["at_s"] - first["at_s"]) / 1e6


def bare_rates(processes: int, model: str) -> float:
    """Megapixels a second of so many processes together that only call the network, on a window that fits the cache."""
    made = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("bare_network.py")), str(core), model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for core in range(processes)
    ]
    for one in made:
        assert one.stdout
        one.stdout.readline()  # it is ready
    for one in made:
        assert one.stdin
        one.stdin.write("go\n")
        one.stdin.flush()
    return sum(float(one.communicate()[0]) for one in made)


def measure_network(most: int, model: str, media: Path) -> Figures:
    found: dict[str, dict[str, float]] = {"farm": {}, "bare": {}}
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "in"
        pictures(media, source)
        for workers in range(1, most + 1):
            found["bare"][str(workers)] = bare_rates(workers, model)
            found["farm"][str(workers)] = farm_rate(source, Path(name) / f"out{workers}", workers, model)
    return {"kind": "network", "model": model, "megapixels_s": found}


def shown_network(found: Figures) -> str:
    farm, bare = found["megapixels_s"]["farm"], found["megapixels_s"]["bare"]
    head = (
        "workers",
        "farm, source MP/s",
        "times one",
        "bare network, MP/s",
        "times one",
        "farm's gain by the bare one's",
    )
    rows = []
    for count in farm:
        gain, bound = farm[count] / farm["1"], bare[count] / bare["1"]
        rows.append(
            (count, f"{farm[count]:.4f}", f"{gain:.2f}", f"{bare[count]:.4f}", f"{bound:.2f}", f"{gain / bound:.1%}")
        )
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=os.cpu_count())
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--media", type=Path, required=True)
    arguments = parser.parse_args()
    found = {**machine("ray", "torch"), **measure_network(arguments.most, arguments.model, arguments.media)}
    print(shown_network(found))
    keep("scaling", found)


if __name__ == "__main__":
    main()
