"""What a manifest asks for, before any work starts: which shards are done, which are open, whether outputs clash.

Every shard is looked at once. One whose done mark holds is counted as a whole; the rows of the others are checked and
named, and no more: what is to be done for each is found out when it is its turn. Only one shard's rows are in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field

from farm import ledger, manifest, plan, storage
from farm.blocks import RowBlock
from farm.collide import Collisions
from farm.config import RunConfig
from farm.ledger import MARK, Compared, ShardFiles
from farm.manifest import ShardRows
from farm.names import Namer
from farm.params import Params, UpscaleParams
from farm.summary import SHOWN, RowState
from farm.survey.peek import Peek
from farm.survey.planned import DeclinedRow, PlannedRow
from farm.survey.shard import PlanTools, ShardPlan
from farm.survey.trust import Trusted, trust


@dataclass(slots=True)
class Survey:
    """The count of a manifest."""

    states: Counter[RowState] = field(default_factory=Counter[RowState])
    """of the rows that have been looked at one by one, or that a mark stands for"""
    rows: int = 0
    """of the whole manifest"""
    open: dict[int, int] = field(default_factory=dict[int, int])
    """rows of each shard that has no mark that holds"""
    best: dict[int, int] = field(default_factory=dict[int, int])
    """the highest priority of each of these shards"""
    models: set[str] = field(default_factory=set[str])
    """models that rows of open shards may need"""
    operations: set[str] = field(default_factory=set[str])
    """operations on training data that they ask for"""
    reused: list[str] = field(default_factory=list[str])
    """outputs that are there"""
    settled: list[str] = field(default_factory=list[str])
    """messages of rows that failed before"""
    refused: list[DeclinedRow] = field(default_factory=list[DeclinedRow])
    """of all three lists only the first few, to be shown"""

    @property
    def open_rows(self) -> int:
        return sum(self.open.values())

    def not_begun(self, shards: Iterable[int], begun: Set[int]) -> set[int]:
        """Those of the ledger's shards whose marks, if any, may stand for rows of another manifest than this one.

        Open shards lose such marks when it is their turn; `begun` are those whose turn it was, or is.
        """
        beyond = -(-self.rows // plan.SHARD_ROWS)
        return {number for number in shards if number >= beyond or (number in self.open and number not in begun)}

    def need(self, params: Iterable[Params]) -> None:
        """Note what open rows are made with."""
        for one in params:
            (self.models if isinstance(one, UpscaleParams) else self.operations).add(one.model)

    def trusted(self, found: Trusted) -> None:
        """Count a shard by its mark."""
        mark = found.mark
        self.rows += mark.rows
        self.states[RowState.REUSED] += mark.done
        self.states[RowState.SETTLED] += mark.failed
        self.states[RowState.REFUSED] += mark.refused
        self.reused += found.outputs[: SHOWN - len(self.reused)]
        self.settled += found.failures[: SHOWN - len(self.settled)]


class Surveyor:
    """Reads a manifest against the ledger of its output root. A context."""

    def __init__(self, config: RunConfig, planner: plan.Planner, out: str) -> None:
        self.planner = planner
        self._namer = Namer(planner)
        self.ledger: dict[int, ShardFiles] = ledger.read_shards(out)
        self._manifest = manifest.shards(
            config.manifest,
            root=config.root,
            out=out,
            limit=config.limits.limit,
            shard_rows=plan.SHARD_ROWS,
            models=config.model.models,
        )
        self._trusts = not (config.verify_inputs or config.verify_outputs)
        self._config = config
        self._peek = Peek(config)
        self._sources, self._outputs = storage.ManyStats(), storage.ManyStats()

    def __enter__(self) -> Surveyor:
        return self

    def __exit__(self, *exc: object) -> None:
        self._peek.__exit__(*exc)

    def survey(self, on_shard: Callable[[], None] = lambda: None) -> Survey:
        """Look at every shard, after calling `on_shard`. Raises ManifestError for a value that means nothing and for
        outputs that clash."""
        counted, done = Survey(), set[int]()
        with Collisions(self._namer) as collisions:
            for shard in self._manifest.walk(lambda _: True):
                on_shard()
                trusted = self._trust(shard)
                if trusted is not None:
                    done.add(shard.number)
                    counted.trusted(trusted)
                    continue
                counted.rows += len(shard)
                counted.open[shard.number] = len(shard)
                for block in self._blocks(shard):
                    best = max(block.priorities or (0,))
                    counted.best[shard.number] = max(best, counted.best.get(shard.number, best))
                    named = self._namer.names(block)
                    collisions.add(block.urls, named.outputs)
                    counted.need(recipe.params for recipe in {*named.recipes} if recipe is not None)
            if counted.open:
                for number in sorted(done):
                    collisions.add(*_marked(self.ledger[number]))
                collisions.check(self._all_blocks)
        return counted

    def _trust(self, shard: ShardRows) -> Trusted | None:
        if not self._trusts:
            return None
        files = self.ledger.get(shard.number)
        found = trust(shard, files, self.planner.fingerprint, self._sources, self._outputs)
        return None if found is not None and found.mark.failed and self._config.stop.retry_failed else found

    def _blocks(self, shard: ShardRows) -> Iterator[RowBlock]:
        return map(self._peek.of_kind, shard.blocks())

    def _all_blocks(self) -> Iterator[RowBlock]:
        return (block for shard in self._manifest.walk(lambda _: True) for block in self._blocks(shard))

    def plans(
        self, counted: Survey, *, looks_into_all: bool = False, among: Set[int] | None = None
    ) -> Iterator[tuple[ShardRows, ShardPlan]]:
        """Each open shard, or each of them that is `among` these, planned against the ledger, when it is its turn."""
        beyond = -(-counted.rows // plan.SHARD_ROWS)
        trusted = {number for number in self.ledger if number < beyond} - counted.open.keys()
        whole = [files for number, files in self.ledger.items() if number not in trusted]
        marked = [self.ledger[number] for number in sorted(trusted)]
        shared = len(self.ledger) > 1 or any(number not in self.ledger for number in counted.open)
        tools = PlanTools(
            config=self._config,
            namer=self._namer,
            manifest=self._manifest,
            peek=self._peek,
            ledger=self.ledger,
            index=ledger.index_ledger(whole, marked) if shared else None,
            sources=self._sources,
            outputs=self._outputs,
            looks_into_all=looks_into_all,
        )
        for turn in self._turns(counted, counted.open.keys() if among is None else counted.open.keys() & among):
            for shard in self._manifest.walk(turn.__contains__):
                yield shard, ShardPlan(tools, shard)

    def _turns(self, counted: Survey, wanted: Set[int]) -> list[set[int]]:
        """Open shards, each set of them to be had by walking over the manifest once."""
        if self._config.stop.first != "priority" or not self._manifest.seeks:
            return [set(wanted)]
        turns: list[set[int]] = []
        last = 0
        for number in sorted(wanted, key=lambda one: (-counted.best.get(one, 0), one)):
            if not turns or number < last:
                turns.append(set())
            turns[-1].add(number)
            last = number
        return turns or [set()]


def _marked(files: ShardFiles) -> tuple[list[str], list[str]]:
    """Sources and outputs of the rows that a shard's mark stands for."""
    if files.compacted is None:
        raise ValueError(f"shard {files.number} has no mark")
    with ledger.open_compacted(files.compacted) as file:
        table = file.read(["source", "output", MARK])
    table = table.filter(table[MARK].to_numpy() != Compared.NOT_MARKED)
    return table["source"].to_pylist(), table["output"].to_pylist()


def count_rows(surveyor: Surveyor, *, show: int = 20, seen: Callable[[PlannedRow], None] | None = None) -> Survey:
    """Look at every row; for who wants to know and does nothing. `seen` is told of each row of an open shard."""
    counted = surveyor.survey()
    for _, planned in surveyor.plans(counted, looks_into_all=True):
        for row in planned.rows():
            counted.states[row.state] += 1
            if seen is not None:
                seen(row)
            if isinstance(row, DeclinedRow) and len(counted.refused) < show:
                counted.refused.append(row)
    return counted
