"""`farm train`: parse, call, print, exit code."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from farm.console import explained, leave, printable
from farm.errors import UsageError
from farm.flags import Gpus

if TYPE_CHECKING:
    from farm.training.config import TrainConfig
    from farm.training.loop import Progress, Scored


@click.command(short_help="Train a restoration network on pairs.")
@click.argument("config")
@click.option("--stage", type=click.Choice(("net", "gan")), required=True, help="By L1; or adversarially, after it.")
@click.option("-o", "--out", help="Output root. Default: farm-train/ beside the configuration.")
@click.option("--from", "start", help="none, a weight file, or a model's name. Default: as published for the stage.")
@click.option("--net-d", "opponent", help="Discriminator to start from: none, a file or a model's name.")
@click.option("--perceptual", help="VGG19's weights: vgg19 (of the weight store), a file, or none.")
@click.option("--iterations", type=int, help="Instead of the configuration's.")
@click.option("--gpus", type=Gpus(), default="auto", show_default=True, help="GPUs to train on; 0 means CPU workers.")
@click.option("--workers", type=int, help="CPU workers. Default: one.")
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of torch, a worker; 0: torch's own choice.",
)
@click.option("--address", help="Ray cluster to train on. Default: RAY_ADDRESS, else this machine.")
@click.option("--insecure", is_flag=True, help="Use a cluster that lets everybody in who can reach it.")
@click.option(
    "--priority",
    type=int,
    default=0,
    show_default=True,
    help="Of runs that share a cluster the highest gets its workers first.",
)
@click.option("--dashboard", is_flag=True, help="Train on Ray and serve its dashboard on this machine meanwhile.")
@click.option("--metrics-port", type=int, help="Train on Ray and serve metrics for Prometheus on 127.0.0.1 there.")
@click.option("--weights-dir", help="Folder with weight files. Also: FARM_WEIGHTS_DIR.")
@click.option("--onnx", is_flag=True, help="Export ONNX too (extra onnx).")
@click.option("--debug", is_flag=True, help="A few iterations end to end, into OUT/debug.")
@click.option("-q", "--quiet", is_flag=True, help="Print only when something is wrong.")
@explained
def train(config: str, **flags: Any) -> None:
    """Train the network of CONFIG, a .toml file or BasicSR's options as .yml, on pairs of good and poor pictures.

    The same command again goes on after the last checkpoint, and does nothing when all is done.
    """
    from farm.manifest import canonical
    from farm.training import load_config

    path = canonical(config)  # workers have working folders of their own
    device, workers = _workers(flags)
    gpus = workers if device == "cuda" else 0
    loaded = load_config(path, flags["stage"], perceptual=_beside_here(flags["perceptual"]), gpus=gpus)
    _run(path, _with_flags(loaded, flags), flags, device, workers)
    leave(0, stopped=False)


def _with_flags(config: TrainConfig, flags: dict[str, Any]) -> TrainConfig:
    from sr_kernel.train.plan import PlanError

    if flags["opponent"] is not None and config.plan.stage == "net":
        raise UsageError("--net-d: stage net trains no discriminator; take it out, or say --stage gan")
    for name in ("start", "opponent"):
        if flags[name] is not None:
            config = replace(config, **{name: _beside_here(flags[name])})
    if flags["start"] is not None:
        config = replace(config, start_key="")  # it is the file's that the configuration names
    if flags["iterations"] is not None:
        try:
            schedule = replace(config.plan.schedule, iterations=flags["iterations"])
            config = replace(config, plan=replace(config.plan, schedule=schedule))
        except PlanError as error:
            raise UsageError(f"--iterations: {error}") from error
    return config


def _beside_here(named: str | None) -> str | None:
    """What is said of weights on the command line: a relative path starts from the working folder."""
    from farm.training.read import file_beside

    return None if named is None else file_beside(os.getcwd(), named)


def _run(path: str, config: TrainConfig, flags: dict[str, Any], device: str, workers: int) -> None:
    from farm import storage
    from farm.manifest import canonical
    from farm.training.run import Request, debugged, run

    out = canonical(flags["out"]) if flags["out"] else storage.join(storage.parent(path), "farm-train")
    if flags["debug"]:
        out = storage.join(out, "debug")
        config = debugged(config, workers)
    if flags["onnx"] and importlib.util.find_spec("onnx") is None:
        raise UsageError("--onnx: needs the package onnx; pip install 'sr-farm[onnx]'")
    request = Request(
        config=config,
        out=out,
        workers=workers,
        device=device,
        address=flags["address"],
        insecure=flags["insecure"],
        priority=flags["priority"],
        dashboard=flags["dashboard"],
        metrics_port=flags["metrics_port"],
        threads=flags["threads"],
        weights_dir=flags["weights_dir"] and os.path.abspath(os.path.expanduser(flags["weights_dir"])),
        onnx=flags["onnx"],
        anew=flags["debug"],
    )
    reached = run(request, _quiet if flags["quiet"] else _said)
    if not flags["quiet"]:
        click.echo(f"trained to iteration {reached}", err=True)
        click.echo(printable(storage.join(out, "weights")))


def _workers(flags: dict[str, Any]) -> tuple[str, int]:
    """Device, and how many workers."""
    from farm.config import WorkerConfig
    from farm.fleet import wanted_gpus

    names = ("gpus", "workers", "address", "insecure")
    gpus = wanted_gpus(WorkerConfig(**{name: flags[name] for name in names}))
    return ("cuda", gpus) if gpus else ("cpu", flags["workers"] or 1)


def _quiet(_news: Progress | Scored | str) -> None: ...


def _said(news: Progress | Scored | str) -> None:
    click.echo(printable(news if isinstance(news, str) else _line(news)), err=True)


def _line(news: Progress | Scored) -> str:
    from farm.progress import duration
    from farm.training.loop import Progress

    if isinstance(news, Progress):
        losses = ", ".join(f"{name} {value:.4g}" for name, value in news.losses.items())
        waits = f", waits for data {news.waiting:.0%}" if news.waiting >= 0.02 else ""
        return (
            f"{news.iteration}/{news.iterations} {news.per_s:.2f} it/s, {duration(news.left_s)} left, "
            f"rate {news.rate:.2g}, {losses}{waits}"
        )
    scores = news.scores
    natural = "" if scores.niqe is None else f", NIQE {scores.niqe:.2f}"
    alike = "" if scores.lpips is None else f", LPIPS {scores.lpips:.4f}"
    return (
        f"{news.iteration} validated on {scores.pictures}: PSNR {scores.psnr:.2f} dB "
        f"(Lanczos {scores.psnr_lanczos:.2f}), SSIM {scores.ssim:.4f}{natural}{alike}"
    )
