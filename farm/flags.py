"""Types and groups of flags that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, TypeVar

import click

from farm.config import WorkerConfig

Command = TypeVar("Command", bound=Callable[..., Any])
_NTSC = {"23.976": (24000, 1001), "29.97": (30000, 1001), "47.952": (48000, 1001), "59.94": (60000, 1001)}
"""rates that people write rounded"""


class Gpus(click.ParamType[int | None]):
    name = "N|auto|0"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or value == "auto":
            return None
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor auto", param, ctx)


class Ids(click.ParamType[tuple[int, ...]]):
    name = "0,2,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value  # pyright: ignore[reportUnknownVariableType]
        try:
            return tuple(int(part) for part in str(value).split(",") if part.strip())
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as 0,2", param, ctx)


class Rate(click.ParamType[Fraction | None]):
    name = "RATE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction | None:
        if value is None or isinstance(value, Fraction):
            return value
        try:
            return Fraction(*_NTSC[value]) if value in _NTSC else Fraction(value)
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is no rate such as 25, 24000/1001 or 29.97", param, ctx)


class Share(click.ParamType[tuple[int, int]]):
    name = "N/T"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value  # pyright: ignore[reportUnknownVariableType]
        share, slash, shares = str(value).partition("/")
        if not slash or not share.isdecimal() or not shares.isdecimal() or not 1 <= int(share) <= int(shares):
            self.fail(f"{value!r} is no share such as 3/7", param, ctx)
        return int(share), int(shares)


def worker_options(command: Command) -> Command:
    """Who works, and where: what `worker_config` takes."""
    for option in reversed(_WORKER):
        command = option(command)
    return command


def cluster_options(command: Command) -> Command:
    """Which cluster's jobs are asked for: what `cluster_config` takes."""
    for option in reversed(_CLUSTER):
        command = option(command)
    return command


def cluster_config(address: str | None, *, insecure: bool) -> WorkerConfig:
    """From the values of `cluster_options`."""
    return WorkerConfig(address=address, insecure=insecure)


def worker_config(flags: Mapping[str, Any]) -> WorkerConfig:
    """From the values of `worker_options`."""
    names = ("gpus", "workers", "gpu_ids", "actors_per_gpu", "io_threads", "address", "insecure")
    more = ("min_gpus", "priority", "pin_cores", "metrics_port", "dashboard")
    return WorkerConfig(**{name: flags[name] for name in (*names, *more)}, wait_gpus_s=flags["wait_gpus"])


_WORKER: tuple[Callable[[Any], Any], ...] = (
    click.option("--gpus", type=Gpus(), default="auto", show_default=True, help="GPUs to use; 0 means CPU workers."),
    click.option("--workers", type=int, help="CPU workers instead of GPUs. Default: one a core."),
    click.option("--gpu-ids", type=Ids(), default=(), help="Which GPUs of this machine, such as 0,2."),
    click.option("--actors-per-gpu", type=int, default=1, show_default=True, help="Workers that share one GPU."),
    click.option(
        "--io-threads",
        type=int,
        default=0,
        show_default="3 on a CPU, up to 8 on a GPU",
        help="Threads a worker for reading, decoding, encoding and writing.",
    ),
    click.option(
        "--pin-cores/--no-pin-cores", default=None, help="One core a CPU worker. Default: when they fill the machine."
    ),
    click.option("--address", help="Ray cluster to run on. Default: RAY_ADDRESS, else Ray inside this command."),
    click.option("--insecure", is_flag=True, help="Use a cluster that lets everybody in who can reach it."),
    click.option("--dashboard", is_flag=True, help="Serve Ray's dashboard on this machine while the run works."),
    click.option(
        "--wait-gpus", type=float, default=900.0, show_default=True, help="Seconds to wait for a cluster's GPUs."
    ),
    click.option(
        "--min-gpus", type=int, default=0, show_default=True, help="Then go on with so many; 0 means exit 69."
    ),
    click.option(
        "--priority",
        type=int,
        default=0,
        show_default=True,
        help="Of runs that share a cluster the highest gets its workers first.",
    ),
    click.option(
        "--metrics-port", type=int, help="Serve metrics to Prometheus on 127.0.0.1:PORT/metrics while it works."
    ),
)
_CLUSTER: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--address", help="Ray cluster of the run. Default: RAY_ADDRESS, else the head that --detach started."
    ),
    click.option("--insecure", is_flag=True, help="Ask a cluster that lets everybody in who can reach it."),
)
