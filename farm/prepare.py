"""Training data of a manifest, from its rows to the lists that training reads: packs, one run over them, the end.

The run is the one that restores pictures: the same lock, ledger, engine and actors. Nothing here knows of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from farm import dataset, lock, run, storage
from farm.config import OutputConfig, RunConfig
from farm.dataset.sources import iter_sources
from farm.signals import stopped_by_signals
from farm.summary import RunSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What came of a manifest."""

    summary: RunSummary
    """of the run over packs"""
    counted: dataset.Counted | None
    """of sources and samples; None where packs are left"""

    @property
    def exit_code(self) -> int:
        """As a run's; 3 where sources have failed."""
        code = self.summary.exit_code
        return 3 if not code and self.counted is not None and self.counted.failed else code


def prepare_manifest(config: RunConfig, operation: str, shard_bytes: int) -> Preparation:
    """Do with every source of a manifest what `config.prepare` says of an operation, as far as it is not done yet.

    `shard_bytes`: what the files of a pack's samples may take together. Raises FarmError when it cannot start or go on.
    """
    out, stop = run.output_root(config), run.stop_now(config)
    options = config.prepare.options(operation)
    most_rows = dataset.rows_of_pack(options, operation, shard_bytes)
    with stopped_by_signals() as received, lock.RunLock(out) as held:
        received.on_end = held.abandon
        dataset.check_root(out, operation)
        sources = iter_sources(config, operation, out)
        packs = dataset.plan_packs(sources, out, most_rows=most_rows, run=held.run)
        held.check()
        dataset.withdraw(out, packs, config.prepare, operation, held.run)
        summary = run.run_manifest(_of_packs(config, packs, operation, out), held, stop)
        if summary.left or summary.signum or summary.failed:
            return Preparation(summary=summary, counted=None)
        held.check()
        counted = dataset.finish(out, packs, config.prepare, operation, held.run)
        held.confirm()
        storage.clear_staging(out, keep="", is_dead=held.is_dead)
    return Preparation(summary=summary, counted=counted)


def _of_packs(config: RunConfig, packs: dataset.Packs, operation: str, out: str) -> RunConfig:
    """The run whose rows are packs."""
    return replace(
        config,
        manifest=packs.manifest,
        root=packs.folder,
        output=OutputConfig(out=out),
        prepare=replace(config.prepare, packs=operation),
        limits=replace(config.limits, limit=None),
    )
