"""The beginning of a run, before anything heavy is loaded: whoever finds another run in its way is told at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from farm import lock, manifest
from farm.config import RunConfig
from farm.signals import stopped_by_signals

if TYPE_CHECKING:
    from farm.canary import Answer
    from farm.summary import Canary, RunSummary


def run_locked(
    config: RunConfig, answer: Answer | None = None, *, when_held: Callable[[], None] = lambda: None
) -> RunSummary:
    """What farm.run.run_manifest() does, after a sample where one is asked for; it is imported when the lock is held.

    `answer` says whether the run goes on after the sample; without it as `config.canary` does. While it is asked
    nobody holds the lock. `when_held` is called when it is held first. Raises FarmError.
    """
    root = manifest.output_root(config.manifest, config.output.out)
    with stopped_by_signals():
        with lock.RunLock(root) as held:
            when_held()
            if config.canary.sample is None:
                from farm.run import run_manifest

                return run_manifest(config, held)
            from farm import canary

            seen = canary.run_sample(config, held)
        if seen.is_over:
            return seen.summary
        if not canary.goes_on(seen, config.canary, answer or _as_asked):
            return canary.without_rest(seen, config.canary)
        with lock.RunLock(root) as held:
            return canary.run_rest(config, held, seen)


def _as_asked(_canary: Canary, goes_on: bool | None) -> bool:
    """Nobody is there to say more than the options."""
    return bool(goes_on)
