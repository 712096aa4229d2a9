"""What the parts of a job cost alone, in processor seconds, how the farm's wall clock stands to their sum, and the
limits of bench/images.py and bench/video.py."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from figures import mid  # beside this file
from limits import TIMES_LEAST, TWO_LEAST, WALL_FROM_S, WALL_MOST, Limit, promise
from watch import finish, start

IDLE, BUSY = "on one core, the others idle", "on every core at once"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Processor seconds of a clip, or of all pictures."""

    network_s: float
    decode_s: float
    encode_s: float

    @property
    def total_s(self) -> float:
        return self.network_s + self.decode_s + self.encode_s


def measure_cost(command: Sequence[str], cores: Sequence[int]) -> Cost:
    """What `command` says, which takes --core and answers with a Cost in JSON, while every one of `cores` does so: the
    mean over them."""
    running = [start([*command, "--core", str(core)]) for core in cores]
    answers = [json.loads(finish(process)) for process in running]
    return Cost(**{name: statistics.mean(answer[name] for answer in answers) for name in answers[0]})


def cost_table(costs: Mapping[str, Sequence[Cost]], steady_s: float, cores: int, what: str = "the clip") -> list[str]:
    """Processor seconds against the farm's wall clock with a worker on every core."""
    lines = [
        f"| processor seconds of {what} | network | decode | encode | sum over the cores | wall by it |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in costs.items():
        parts = [[getattr(cost, part) for cost in runs] for part in ("network_s", "decode_s", "encode_s")]
        middle = statistics.median(cost.total_s for cost in runs) / cores
        cells = [name, *map(mid, parts), f"{middle:.2f}", f"{wall_by(runs, steady_s, cores):.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def wall_by(runs: Sequence[Cost], steady_s: float, cores: int) -> float:
    """A wall clock by the median sum of network, decode and encode over the cores."""
    return steady_s / (statistics.median(cost.total_s for cost in runs) / cores)


def bound(official_s: float, runs: Sequence[Cost], cores: int) -> float:
    """How many times as fast as the official package the farm can be here: its network on every core, nothing else."""
    return official_s / (statistics.median(cost.network_s for cost in runs) / cores)


def bound_line(official_s: float, found: float, runs: Sequence[Cost], cores: int) -> str:
    """The bound beside the figure, and where the rest goes."""
    network_s = statistics.median(cost.network_s for cost in runs) / cores
    coding_s = statistics.median(cost.decode_s + cost.encode_s for cost in runs) / cores
    farm_s = official_s / found
    return (
        f"- bound, with all but the network free: {bound(official_s, runs, cores):.2f} times its default "
        f"({official_s:.1f} s by the network's {network_s:.1f} s over {cores} cores); reached {found:.2f}: of the "
        f"farm's {farm_s:.1f} s decode and encode are {coding_s:.1f} s, all else {farm_s - network_s - coding_s:.1f} s"
    )


def job_limits(
    rates: Sequence[Sequence[float]], steady_s: float, costs: Mapping[str, Sequence[Cost]], cores: int, *, same: bool
) -> list[Limit]:
    """What is wanted of pictures and of films. `rates`: of the official default, its best tile size, the farm with a
    worker a core, and with one; `same`: whether the last two have made the same bytes."""
    default, _, many, one = map(statistics.median, rates)
    held = [
        promise("the same bytes with one worker and with all", holds=same),
        Limit(what="times the official default", found=many / default, least=TIMES_LEAST),
    ]
    if cores == 2:
        held.append(Limit(what="two workers by one", found=many / one, least=TWO_LEAST))
    return [*held, *wall_limits(steady_s, costs, cores)]


def wall_limits(steady_s: float, costs: Mapping[str, Sequence[Cost]], cores: int) -> list[Limit]:
    """What is wanted of the wall clock of a job that is long enough; nothing of any other."""
    if steady_s < WALL_FROM_S:
        return []
    what = "wall by network + decode + encode over the cores"
    return [Limit(what=what, found=wall_by(costs[BUSY], steady_s, cores), most=WALL_MOST, digits=3)]
