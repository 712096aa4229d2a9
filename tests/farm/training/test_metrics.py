"""What is told of a training follows from what was said of it. With a real Ray: tests/e2e/test_training_watched.py."""

from __future__ import annotations

import math
from dataclasses import replace

from farm.training.loop import Progress, Scored
from farm.training.metrics import TRAIN_METRICS, Standing
from farm.training.validate import Scores

REPORT = Progress(
    iteration=40,
    iterations=100,
    per_s=2.0,
    left_s=30.0,
    waiting=0.25,
    rate=1e-4,
    losses={"pixel": 0.5, "gan": 0.1},
)
SCORES = Scores(pictures=2, psnr=30.0, psnr_lanczos=28.0, ssim=0.9, niqe=None)


def test_how_a_training_stands_is_what_was_said_last() -> None:
    now_s = [100.0]
    standing = Standing(workers=3, iteration=0, clock=lambda: now_s[0])
    standing.hear("goes on")
    standing.hear(Scored(iteration=20, scores=SCORES))
    assert standing.gauges() == {}, "nothing before the first report"
    standing.hear(REPORT)
    now_s[0] += 10
    assert standing.gauges() == {
        ("farm_train_iterations_per_second", ""): 2.0,
        ("farm_train_waiting_ratio", ""): 0.25,
        ("farm_train_learning_rate", ""): 1e-4,
        ("farm_train_progress_ratio", ""): 0.4,
        ("farm_train_workers", ""): 3,
        ("farm_train_eta_seconds", ""): 20.0,
        ("farm_train_loss", "pixel"): 0.5,
        ("farm_train_loss", "gan"): 0.1,
        ("farm_train_psnr_decibels", "restored"): 30.0,
        ("farm_train_psnr_decibels", "lanczos"): 28.0,
        ("farm_train_ssim", ""): 0.9,
    }
    now_s[0] += 100
    assert standing.gauges()["farm_train_eta_seconds", ""] == 0
    standing.hear(Scored(iteration=60, scores=replace(SCORES, psnr=math.inf, ssim=1.0, niqe=4.0, lpips=0.0)))
    found = standing.gauges()
    assert (found["farm_train_ssim", ""], found["farm_train_niqe", ""], found["farm_train_lpips", ""]) == (1, 4, 0)
    assert ("farm_train_psnr_decibels", "restored") not in found, "the one before was another network's"
    assert {name for name, _ in found} <= TRAIN_METRICS.keys()
    assert all(bool(tag) == bool(TRAIN_METRICS[name].tag) for name, tag in found)


def test_iterations_that_are_done_again_count_again() -> None:
    standing = Standing(workers=1, iteration=20)
    standing.hear(REPORT)
    assert (standing.news(), standing.news()) == (20, 0)
    standing.hear(replace(REPORT, iteration=50))
    standing.go_on(30)
    standing.hear(replace(REPORT, iteration=60))
    assert standing.news() == 10 + 30
