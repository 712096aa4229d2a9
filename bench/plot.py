"""Draws what the other benches have kept in bench/results/NAME.jsonl: the last line of each kind, as PNG.

    python bench/plot.py [--into docs]

startup.png: where the seconds of a cold start go, before and after. scaling.png: what more workers bring. fleet.png:
how busy a thousand workers are. images.png, video.png: the farm and the official package, and what bounds it.
network.png, kernels.png, gpu.png: what networks reach of a measured matmul. degrade.png, storage.png: pairs a second;
bucket to bucket. What has no line yet is said and not drawn. Needs matplotlib (bench/requirements.txt).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
from alone import BUSY, Cost, bound  # beside this file
from limits import BUSY_LEAST, COLD_LIMIT_S, RRDB_LEAST, SHARE_LEAST, SRVGG_LEAST, TIMES_LEAST
from recorded import RESULTS, Figures, kept

matplotlib.use("Agg")
from matplotlib import pyplot

ROOT = Path(__file__).parent.parent
WIDTH, HEIGHT, DPI = 8.0, 3.6, 110
OURS, LIMIT, OTHER = "tab:blue", "tab:gray", "tab:orange"
IN_A_ROW = "in a row: "


def startup(found: list[Figures], into: Path) -> None:
    """Of each note the last measurement: a bar of what follows what."""
    latest = {one["note"] or "now": one for one in found}
    figure, axes = pyplot.subplots(figsize=(WIDTH, 1.2 + 0.6 * len(latest)), layout="constrained")
    colours = pyplot.get_cmap("tab10").colors
    for row, one in enumerate(reversed(latest.values())):
        parts = {name.removeprefix(IN_A_ROW): s for name, s in one["parts_s"].items() if name.startswith(IN_A_ROW)}
        parts["Ray's end and the rest"] = one["parts_s"]["after the picture, Ray's end included"]
        left = 0.0
        for at, (name, seconds) in enumerate(parts.items()):
            axes.barh(row, seconds, left=left, color=colours[at], label=name if row == 0 else None)
            axes.text(left + seconds / 2, row, f"{seconds:.1f}", ha="center", va="center", color="white")
            left += seconds
        axes.text(left + 0.1, row, f"{left:.1f} s", va="center")
    axes.set_yticks(range(len(latest)), list(reversed(latest)))
    axes.axvline(COLD_LIMIT_S, color=LIMIT, linestyle="--", label=f"wanted: {COLD_LIMIT_S:g} s")
    axes.set_xlabel("seconds from the command to its end, one small picture, cold")
    axes.set_xlim(0, axes.get_xlim()[1] * 1.1)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    save(figure, into / "startup.png")


def scaling(found: list[Figures], into: Path) -> None:
    """The network on cores, as much as one worker times their number."""
    latest = next(one for one in reversed(found) if one["kind"] == "network")
    figure, axes = pyplot.subplots(figsize=(WIDTH / 2, HEIGHT), layout="constrained")
    rates: dict[str, dict[str, float]] = latest["megapixels_s"]
    for name, colour, label in (("bare", LIMIT, "bare network, one process a core"), ("farm", OURS, "farm")):
        axes.plot(list(map(int, rates[name])), list(rates[name].values()), "o-", color=colour, label=label)
    axes.set_xticks(list(map(int, rates["farm"])))
    axes.set(xlabel=f"one-thread workers, {latest['model']}", ylabel="source megapixels a second", ylim=(0, None))
    axes.legend(loc="lower right")
    save(figure, into / "scaling.png")


def fleet(found: list[Figures], into: Path) -> None:
    """The longest run of all, the last of equal ones."""
    longest = max(reversed(found), key=lambda one: one["rows"])
    figure, axes = pyplot.subplots(figsize=(WIDTH, 2.4), layout="constrained")
    idle = 1 - longest["busy"] - longest["lost"]
    bars: dict[str, tuple[float, Any]] = {
        "workers busy, whole run": (longest["busy"], OURS),
        "workers busy, without its end": (longest["steady"], OURS),
        "workers idle, whole run": (idle, OTHER),
        "driver busy, of one core": (longest["driver_busy"], LIMIT),
    }
    for row, (share, colour) in enumerate(bars.values()):
        axes.barh(row, share, color=colour)
        axes.text(share + 0.01, row, f"{share:.1%}", va="center")
    axes.set_yticks(range(len(bars)), list(bars))
    axes.invert_yaxis()
    axes.axvline(BUSY_LEAST, color="black", linestyle="--", linewidth=1)
    axes.set_xlim(0, 1.1)
    axes.set_title(
        f"{longest['actors']} workers, {longest['rows']:,} rows, {longest['seconds']:,.0f} s simulated; "
        f"dashed: {100 * BUSY_LEAST:g} %",
        fontsize="medium",
    )
    save(figure, into / "fleet.png")


def bars(shares: Mapping[str, float], what: str, path: Path, marks: Mapping[str, float]) -> None:
    """A bar a name; `marks`: dashed lines with what they are."""
    figure, axes = pyplot.subplots(figsize=(WIDTH, 1.0 + 0.4 * len(shares)), layout="constrained")
    for row, value in enumerate(shares.values()):
        axes.barh(row, value, color=OURS)
        axes.text(value, row, f" {value:.3g}", va="center")
    for (name, at), colour in zip(marks.items(), (LIMIT, OTHER), strict=False):
        axes.axvline(at, color=colour, linestyle="--", label=f"{name}: {at:.3g}")
    axes.set_yticks(range(len(shares)), list(shares))
    axes.invert_yaxis()
    axes.set_xlabel(what)
    axes.set_xlim(0, 1.15 * max([*shares.values(), *marks.values()]))
    if marks:
        figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    save(figure, path)


def contest(rates: str, name: str) -> Callable[[list[Figures], Path], None]:
    """Of bench/images.py and bench/video.py: each contender's times the official default, and the bound."""

    def draw(found: list[Figures], into: Path) -> None:
        latest = found[-1]
        middle = {contender: statistics.median(values) for contender, values in latest[rates].items()}
        base, *_ = middle.values()
        official_s = statistics.median(next(iter(latest["steady_s"].values())))
        costs = [Cost(**one) for one in latest["alone_s"][BUSY]]
        marks = {"wanted": TIMES_LEAST, "bound, all but the network free": bound(official_s, costs, latest["cpus"])}
        shares = {contender: rate / base for contender, rate in middle.items()}
        bars(shares, f"times the official default, {latest['model']}", into / f"{name}.png", marks)

    return draw


def network(found: list[Figures], into: Path) -> None:
    """Of each model, precision and window the last measurement."""
    named = {f"{one['model']}, {one['precision']}, {one['window'][0]}x{one['window'][1]}": one for one in found}
    shares = {name: one["network_share_of_matmul"] for name, one in named.items()}
    bars(shares, "share of the best matmul of one core", into / "network.png", {"wanted": SHARE_LEAST})


def kernels(found: list[Figures], into: Path) -> None:
    latest = found[-1]
    shares = {
        f"{one['model']}, {one['batch']} x {one['window'][0]}x{one['window'][1]}, {one['kernel']}": one[
            "share_of_matmul"
        ]
        for one in latest["networks"]
    }
    marks = {"RRDB": RRDB_LEAST / 100, "SRVGG": SRVGG_LEAST / 100}
    bars(shares, f"share of matmul, {latest['gpu']}", into / "kernels.png", marks)


def gpu(found: list[Figures], into: Path) -> None:
    costs = [one for one in found[-1]["costs"] if isinstance(one["network % of matmul"], float)]
    shares = {f"{one['model']}, {one['precision']}, {one['kernel']}": one["network % of matmul"] for one in costs}
    bars(shares, "network, % of matmul", into / "gpu.png", {"RRDB": RRDB_LEAST, "SRVGG": SRVGG_LEAST})


def degrade(found: list[Figures], into: Path) -> None:
    rates = {name: statistics.median(values) for name, values in found[-1]["pairs_s"].items()}
    bars(rates, "pairs a second", into / "degrade.png", {})


def storage(found: list[Figures], into: Path) -> None:
    seconds = {name: statistics.median(values["steady_s"]) for name, values in found[-1]["seconds"].items()}
    bars(seconds, f"seconds, {found[-1]['pictures']} pictures", into / "storage.png", {})


def save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    pyplot.close(figure)
    print(path)


DRAWN: Mapping[str, Callable[[list[Figures], Path], None]] = {
    "startup": startup,
    "scaling": scaling,
    "fleet": fleet,
    "images": contest("megapixels_s", "images"),
    "video": contest("frames_s", "video"),
    "network": network,
    "kernels": kernels,
    "gpu": gpu,
    "degrade": degrade,
    "storage": storage,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=ROOT / "docs")
    into = parser.parse_args().into
    for name, draw in DRAWN.items():
        if (RESULTS / f"{name}.jsonl").exists():
            draw(kept(name), into)
        else:
            print(f"{name}: nothing is kept yet")


if __name__ == "__main__":
    main()
