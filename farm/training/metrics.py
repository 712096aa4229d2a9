"""What Prometheus is told of a training, through Ray: a table of metrics, and the one who fills it, in the command.

Nothing is measured for it: the first worker says with each report what people are told as well.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from farm.metrics import Key, MetricSpec, RayMetrics, counter, gauge
from farm.training.loop import Progress, Scored

TRAIN_METRICS: Mapping[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        counter("farm_train_iterations", "Iterations done, those that are done again too."),
        gauge("farm_train_iterations_per_second", "Iterations a second since the report before."),
        gauge("farm_train_waiting_ratio", "Share of that time in which the network waited for data."),
        gauge("farm_train_loss", "Mean of a loss since the report before.", "loss"),
        gauge("farm_train_learning_rate", "Learning rate of the network."),
        gauge("farm_train_progress_ratio", "Share of all iterations that is done."),
        gauge("farm_train_eta_seconds", "Seconds until the last iteration is done."),
        gauge("farm_train_workers", "Workers that train."),
        gauge("farm_train_psnr_decibels", "PSNR of the last validation.", "picture"),
        gauge("farm_train_ssim", "SSIM of the last validation."),
        gauge("farm_train_niqe", "NIQE of the last validation."),
        gauge("farm_train_lpips", "LPIPS of the last validation."),
    )
}
"""by name"""

_OF_VALIDATION = ("farm_train_psnr_decibels", "farm_train_ssim", "farm_train_niqe", "farm_train_lpips")


class Standing:
    """How a training stands, by what was said of it."""

    def __init__(self, workers: int, iteration: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`iteration`: what it begins behind."""
        self._workers, self._iteration, self._clock = workers, iteration, clock
        self._more = 0
        self._ends_s = math.inf
        self._gauges: dict[Key, float] = {}

    def hear(self, news: object) -> None:
        """What the first worker says; only reports and validations count."""
        if isinstance(news, Progress):
            self._more += max(0, news.iteration - self._iteration)
            self._iteration = news.iteration
            self._ends_s = self._clock() + news.left_s
            self._gauges.update(_of_report(news, self._workers))
        elif isinstance(news, Scored):
            kept = {key: value for key, value in self._gauges.items() if key[0] not in _OF_VALIDATION}
            self._gauges = {**kept, **_of_validation(news)}

    def go_on(self, iteration: int) -> None:
        """All begin again behind an iteration."""
        self._iteration = iteration

    def news(self) -> int:
        """Iterations that are to be added to what was told, and now are."""
        more, self._more = self._more, 0
        return more

    def gauges(self) -> dict[Key, float]:
        """All that is known; nothing before the first report."""
        if not math.isfinite(self._ends_s):
            return {}
        return {**self._gauges, ("farm_train_eta_seconds", ""): max(0.0, self._ends_s - self._clock())}


class TrainMetrics:
    """Of one training; made once Ray is connected."""

    def __init__(self, run: str, standing: Standing) -> None:
        self._ray = RayMetrics(TRAIN_METRICS, run)
        self.standing = standing

    def tell(self, *, last: bool = False) -> None:
        """Hand everything to Ray, unless that was done just now; `last`: even then."""
        if not self._ray.is_due() and not last:
            return
        if more := self.standing.news():
            self._ray.add(("farm_train_iterations", ""), more)
        for key, value in self.standing.gauges().items():
            self._ray.show(key, value)


def _of_report(news: Progress, workers: int) -> dict[Key, float]:
    plain = {
        "farm_train_iterations_per_second": news.per_s,
        "farm_train_waiting_ratio": news.waiting,
        "farm_train_learning_rate": news.rate,
        "farm_train_progress_ratio": news.iteration / news.iterations,
        "farm_train_workers": workers,
    }
    losses = {("farm_train_loss", name): value for name, value in news.losses.items()}
    return {**{(name, ""): value for name, value in plain.items()}, **losses}


def _of_validation(news: Scored) -> dict[Key, float]:
    """What can be said of the pictures: a small one has no NIQE, equal ones have an infinite PSNR."""
    scores = news.scores
    found: dict[Key, float | None] = {
        ("farm_train_psnr_decibels", "restored"): scores.psnr,
        ("farm_train_psnr_decibels", "lanczos"): scores.psnr_lanczos,
        ("farm_train_ssim", ""): scores.ssim,
        ("farm_train_niqe", ""): scores.niqe,
        ("farm_train_lpips", ""): scores.lpips,
    }
    return {key: value for key, value in found.items() if value is not None and math.isfinite(value)}
