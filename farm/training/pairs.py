"""Batches of pairs, read and degraded by processes of their own while the network works."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from farm.data import PairDataset
from farm.errors import FarmError, StalledError, UsageError
from farm.signals import STOP_LIMIT_S
from farm.training.config import DataConfig, PairForm, SourceConfig, TrainConfig
from farm.training.order import Order, Place
from sr_kernel.train.stage import Batch

_AHEAD, _ALL_AHEAD = 4, 8
"""batches that a loading process may be ahead, and all of a worker, but one each: they lie in shared memory, where 48
patches of 256 pixels take 40 MB"""
_MOST_LOADERS = 16
"""of a worker, where nobody says: one holds some 300 MB"""
_SPARE_CORES = 1
"""of a worker, for the process that trains"""
_LONG = 0.1
"""share of the time that a network should not wait for data"""


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of every batch is this worker's."""

    rank: int = 0
    world: int = 1
    beside: int = 1
    """workers of this machine, with this one"""

    def positions(self, iteration: int, batch: int) -> list[int]:
        """Of the samples of an iteration, from 1: every `world`-th."""
        start = (iteration - 1) * batch
        return list(range(start + self.rank, start + batch, self.world))


def open_sources(data: DataConfig, seed: int) -> list[PairDataset]:
    """Raises UsageError, ManifestError and the storage's errors."""
    return [_open(source, data, seed) for source in data.sources]


def _open(source: SourceConfig, data: DataConfig, seed: int) -> PairDataset:
    patch = data.patch or None
    if source.pairs:
        return PairDataset(source.pairs, patch=patch, flip=data.flip, seed=seed, gt=data.gt)
    return PairDataset.on_the_fly(
        source.manifest,
        source.recipe,
        seed=seed,
        per_image=source.per_image,
        jpeg=source.jpeg,
        root=source.root or None,
        patch=patch,
        flip=data.flip,
        gt=data.gt,
    )


def loaders_of(data: DataConfig, device: str, share: Share, cores: int) -> int:
    """Processes that read and degrade for a worker on a machine of so many cores. A GPU takes pairs faster than one of
    them makes them; on a CPU each would take from the network what it gives."""
    if data.loaders >= 0:
        return data.loaders
    return min(max(1, cores // share.beside - _SPARE_CORES), _MOST_LOADERS) if device == "cuda" else 1


def ahead_of(loaders: int) -> int | None:
    """Batches that each of so many loading processes may be ahead."""
    return max(1, min(_AHEAD, _ALL_AHEAD // loaders)) if loaders else None


@dataclass(slots=True)
class Waits:
    """Whether the network waits for data, and what is said of it, once."""

    loaders: int
    reports: int = 0
    is_said: bool = False

    def words(self, waiting: float) -> str | None:
        """Of a report's share of the time, 0..1. The first one is of processes that start."""
        self.reports += 1
        if self.is_said or self.reports == 1 or waiting <= _LONG:
            return None
        self.is_said = True
        return (
            f"the network waits for data in {waiting:.0%} of the time; set data.loaders above {self.loaders} where "
            "cores are free, or degrade the pairs before with farm degrade"
        )


def batches(
    sources: Sequence[PairDataset],
    config: TrainConfig,
    share: Share,
    iterations: range,
    *,
    loaders: int,
    pinned: bool = False,
) -> Iterator[Batch]:
    """This worker's part of the batches of the iterations, which so many processes load; `pinned`: for a GPU, which
    copies them while it computes. What cannot be read ends the training: raises it."""
    data = config.data
    if data.batch % share.world:
        raise UsageError(f"data.batch: {data.batch} is no multiple of the workers, {share.world}")
    order = Order([len(one) for one in sources], [one.weight for one in data.sources], config.seed)
    loader = DataLoader(
        _Samples(sources, data.gt, config.form),
        batch_sampler=_Numbers(order, data.batch, share, iterations),  # pyright: ignore[reportArgumentType]
        num_workers=loaders,
        prefetch_factor=ahead_of(loaders),
        collate_fn=_joined,
        pin_memory=pinned,
        worker_init_fn=_outlive_signals,
    )
    try:
        for batch in loader:
            if isinstance(batch, FarmError):
                raise batch
            yield batch
    except (ConnectionError, EOFError) as error:  # it died while it handed a batch over; else torch says so
        raise loader_is_gone(str(error)) from error


def loader_is_gone(why: str) -> StalledError:
    """Of a loading process that has died, with the first line of what was said of it."""
    line = (why.splitlines() or ["it has closed its connection"])[0].rstrip(". ")
    return StalledError(
        f"train: a process that loads pairs is gone ({line}); run the same command again to go on after the last "
        "checkpoint, with fewer data.loaders where memory is short"
    )


def _outlive_signals(_number: int) -> None:
    """A signal for the whole group of processes, as a terminal sends it, is the business of the process that trains: it
    still needs the batches of this iteration, and ends this process afterwards. What it hears signals by is not for us.
    """
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda _signum, _frame: signal.alarm(int(STOP_LIMIT_S) + 1))


class _Numbers:
    """The places of each batch."""

    def __init__(self, order: Order, batch: int, share: Share, iterations: range) -> None:
        self._order, self._batch, self._share = order, batch, share
        self._iterations = iterations

    def __iter__(self) -> Iterator[list[Place]]:
        for iteration in self._iterations:
            yield [self._order[at] for at in self._share.positions(iteration, self._batch)]

    def __len__(self) -> int:
        return len(self._iterations)


class _Samples(Dataset[Any]):
    """Samples by place; an error is a value, as a process may lose what is raised in it."""

    def __init__(self, sources: Sequence[PairDataset], gt: str, form: PairForm) -> None:
        self._sources, self._gt, self._form = sources, gt, form

    def __getitem__(self, place: Place) -> tuple[Tensor, Tensor] | FarmError:
        try:
            found = self._sources[place.source].sample(place.number, place.epoch)
        except FarmError as error:
            return error
        good, poor = found[self._gt], found["lq"]
        misfit = self._misfit(good.shape[-2:], poor.shape[-2:])
        return UsageError(f"data.sources: {found['key']} {misfit}") if misfit else (good, poor)

    def _misfit(self, good: Sequence[int], poor: Sequence[int]) -> str | None:
        scale = self._form.scale
        if [scale * side for side in poor] != list(good):
            sizes = " and ".join(f"{one[1]}x{one[0]}" for one in (good, poor))
            return f"has pictures of {sizes}, which is not the network's x{scale}; name pairs of its scale"
        misfit = self._form.misfit(*good)
        return f"has a good picture of {good[1]}x{good[0]}, which {misfit}; set data.patch" if misfit else None


def _joined(samples: list[tuple[Tensor, Tensor] | FarmError]) -> Batch | FarmError:
    goods, poors = list[Tensor](), list[Tensor]()
    for one in samples:
        if isinstance(one, FarmError):
            return one
        goods.append(one[0])
        poors.append(one[1])
    if len({one.shape for one in goods}) > 1:
        return UsageError("data.patch: is 0, and pairs have several sizes; say how much of each is cut out")
    return Batch(gt=torch.stack(goods), lq=torch.stack(poors))
