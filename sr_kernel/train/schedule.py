"""Learning rates: a function of the iteration alone, so that nothing has to be kept of them. No torch."""

from __future__ import annotations

import math

from sr_kernel.train.plan import SchedulePlan


def share_at(plan: SchedulePlan, iteration: int) -> float:
    """What the rate of an iteration, from 1, is multiplied by: 0..1."""
    warm = min(1.0, iteration / plan.warmup) if plan.warmup else 1.0
    if plan.kind == "cosine":
        done = min(1.0, (iteration - 1) / plan.iterations)
        return warm * (plan.least + (1 - plan.least) * (1 + math.cos(math.pi * done)) / 2)
    # As in basicsr's trainer: the iteration after a milestone is the first with the new rate.
    return warm * plan.gamma ** sum(iteration > milestone for milestone in plan.milestones)
