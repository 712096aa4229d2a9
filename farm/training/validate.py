"""Restores the pictures of a data set and scores them against the good ones, beside Lanczos."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from farm.data import PairDataset
from farm.errors import ItemError, UsageError
from farm.media.encode import encode_piece
from farm.training.config import ValidationConfig
from farm.training.keep import Kept
from sr_kernel.backend import DeviceMemoryError, memory_errors
from sr_kernel.believable.niqe import niqe
from sr_kernel.pillow_resize import resize
from sr_kernel.train.lpips import Lpips
from sr_kernel.train.score import LEAST_PX, psnr, ssim
from sr_kernel.train.state import TrainState

Picture = NDArray[np.uint8]
_GAP_PX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Means over the pictures."""

    pictures: int
    psnr: float
    """dB, RGB, without a border of 4 pixels"""
    psnr_lanczos: float
    """of the poor picture enlarged by Lanczos"""
    ssim: float
    niqe: float | None
    """None where pictures are too small for it"""
    lpips: float | None = None
    """likewise, and where there is none"""


class _Figures(NamedTuple):
    """Of one picture."""

    psnr: float
    ssim: float
    niqe: float | None
    lpips: float | None


class Pair(NamedTuple):
    """Float32 CHW in 0..1."""

    key: str
    good: Tensor
    poor: Tensor


class Validator:
    """The pictures of a configuration; Lanczos is scored once."""

    def __init__(self, config: ValidationConfig, scale: int, lpips: Lpips | None = None) -> None:
        """All pairs are read once, so that none that cannot be scored is found hours later. Raises UsageError and the
        storage's errors."""
        self._pairs = PairDataset(config.pairs, gt=config.gt)
        self._config = config
        self._scale = scale
        self._lpips = lpips
        self._count = min(len(self._pairs), config.most or len(self._pairs))
        if not self._count:
            raise UsageError(f"validation.pairs: {config.pairs} has no pair; name another")
        self._lanczos: float | None = None
        for number in range(self._count):
            self._pair(number)

    def run(self, state: TrainState, kept: Kept, stopping: Callable[[], bool]) -> Scores | None:
        """Restore and score all pictures with the averaged weights, and save the first ones; None where it is to stop
        before all are scored."""
        figures: list[_Figures] = []
        lanczos: list[float] = []
        for number in range(self._count):
            if stopping():
                return None
            found = self._pair(number)
            good, poor, made = _picture(found.good), _picture(found.poor), restored_of(state, found)
            figures.append(self._scored(made, good))
            large = resize(poor, good.shape[1], good.shape[0])
            if self._lanczos is None:
                lanczos.append(psnr(large.astype(np.uint8), good))
            if number < self._config.pictures:
                kept.publish(f"validation/{state.iteration:09d}/{found.key}.png", _sheet(poor, made, good))
        if self._lanczos is None:
            self._lanczos = fmean(lanczos)
        return Scores(
            pictures=self._count,
            psnr=fmean(one.psnr for one in figures),
            psnr_lanczos=self._lanczos,
            ssim=fmean(one.ssim for one in figures),
            niqe=_mean_of_known(one.niqe for one in figures),
            lpips=_mean_of_known(one.lpips for one in figures),
        )

    def _pair(self, number: int) -> Pair:
        try:
            found = self._pairs.sample(number, 0)
        except ItemError as error:
            if error.kind.retryable:
                raise
            raise UsageError(f"validation.pairs: {error}") from error
        pair = Pair(found["key"], found[self._config.gt], found["lq"])
        height, width = pair.good.shape[-2:]
        if min(height, width) < LEAST_PX:
            raise UsageError(
                f"validation.pairs: {pair.key} has {width}x{height} pixels, too few to be scored; name pictures of "
                f"{LEAST_PX} or more a side"
            )
        if [self._scale * side for side in pair.poor.shape[-2:]] != [height, width]:
            raise UsageError(f"validation.pairs: {pair.key} is not x{self._scale}; name pairs of the network's scale")
        return pair

    def _scored(self, made: Picture, good: Picture) -> _Figures:
        distance = None if self._lpips is None else self._lpips.distance(made, good)
        return _Figures(psnr(made, good), ssim(made, good), niqe(made), distance)


def _mean_of_known(figures: Iterable[float | None]) -> float | None:
    known = [one for one in figures if one is not None]
    return fmean(known) if known else None


def restored_of(state: TrainState, pair: Pair) -> Picture:
    """Raises UsageError for a picture that is too large to be restored whole."""
    try:
        with memory_errors():
            return restored(state, pair.poor)
    except DeviceMemoryError as error:
        height, width = pair.poor.shape[-2:]
        raise UsageError(
            f"validation.pairs: {pair.key} of {width}x{height} pixels is restored whole, for which there is not enough "
            "memory; name smaller pictures, such as farm prepare subimages makes, or set validation.most"
        ) from error


@torch.no_grad()
def restored(state: TrainState, lq: Tensor) -> Picture:
    """A poor picture CHW restored by the averaged weights, rounded to 8 bits."""
    network, (height, width) = state.plan.network, lq.shape[-2:]
    whole = F.pad(lq[None], (0, -width % network.align_px, 0, -height % network.align_px), mode="replicate")
    state.average.eval()
    made = state.average(whole.to(state.device))[0].float().clamp(0, 1)
    made = made[:, : height * network.scale, : width * network.scale]
    state.average.train(state.average is state.network)
    return _picture(made.cpu())


def _picture(unit: Tensor) -> Picture:
    levels = (unit * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
    return cast(Picture, levels.numpy())


def _sheet(poor: Picture, made: Picture, good: Picture) -> bytes:
    """The poor picture in large pixels, the restored one and the good one, side by side, as PNG."""
    scale = good.shape[0] // poor.shape[0]
    large = poor.repeat(scale, axis=0).repeat(scale, axis=1)
    gap = np.full((good.shape[0], _GAP_PX, 3), 255, np.uint8)
    return encode_piece(np.concatenate([large, gap, made, gap, good], axis=1))
