"""Counts add up, what is done is known and what changed is redone (R10, R11, R13), whatever happens between runs.

Sources change, go, come, move, turn bad and lose their outputs, runs are killed in the middle; after each step a few
lines of Python say what must be done, and nothing else may be. With --trials N: N histories of seven steps.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from farm import engine, failpoints, plan
from tests.farm.here_engine import HereEngine
from tests.farm.test_shards import SHARD_ROWS, World, live
from tests.seeded import save_srvgg

from .record import Note

FORMS = ("parquet", "csv")
SEEDS = 1 << 30


def test_counts_add_up_over_histories_drawn_at_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trials: int, chance: random.Random, note: Note
) -> None:
    monkeypatch.setattr(engine, "Engine", HereEngine)
    monkeypatch.setattr(plan, "SHARD_ROWS", SHARD_ROWS)
    failpoints.disarm()
    model = save_srvgg(tmp_path / "tiny.pth", features=8, convs=2)
    for at in range(trials or len(FORMS)):
        seed = chance.randrange(SEEDS)
        try:
            live(World(tmp_path / f"{at}", model, FORMS[at % len(FORMS)]), seed)
        except AssertionError as error:
            raise AssertionError(f"{FORMS[at % len(FORMS)]}, seed {seed} of live()") from error
    note(histories=trials or len(FORMS))
