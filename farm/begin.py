"""The beginning of a run, before anything heavy is loaded: whoever finds another run in its way is told at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from farm import lock, manifest
from farm.config import RunConfig
from farm.signals import stopped_by_signals

if TYPE_CHECKING:
    from farm.summary import RunSummary


def run_locked(config: RunConfig) -> RunSummary:
    """What farm.run.run_manifest() does; it is imported when the lock is held. Raises FarmError."""
    with stopped_by_signals(), lock.RunLock(manifest.output_root(config.manifest, config.output.out)) as held:
        from farm.run import run_manifest

        return run_manifest(config, held)
