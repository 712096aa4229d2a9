"""Silent damage is found later (R18): whatever happens to some outputs, those are named and no others."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farm import storage
from farm.verify import VerifyConfig, verify
from tests.farm.outputs import flipped, overwrite, pictures
from tests.stores import opened

Harm = Callable[[random.Random, str, str], None]
"""what happens to an output; the second is another"""


@pytest.fixture(params=["file", pytest.param("s3-path", marks=pytest.mark.s3)])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with opened(request.param, tmp_path, monkeypatch) as found:
        yield found.root


def turn_a_bit(chance: random.Random, one: str, _other: str) -> None:
    data = storage.read_bytes(one)
    overwrite(one, flipped(data, chance.randrange(len(data)), chance.randrange(8)))


def cut(chance: random.Random, one: str, _other: str) -> None:
    data = storage.read_bytes(one)
    overwrite(one, data[: chance.randrange(len(data))])


def lose(_chance: random.Random, one: str, _other: str) -> None:
    storage.delete(one)


def mistake(_chance: random.Random, one: str, other: str) -> None:
    overwrite(one, storage.read_bytes(other))


def test_damaged_outputs_are_found_and_no_others(trials: int, chance: random.Random, url: str) -> None:
    """Of the trials nine in ten turn one bit; short form: 20, in 30 outputs."""
    harmed = trials or 20
    root = pictures(url, harmed * 3 // 2)
    root.close()
    assert verify(VerifyConfig(root=url)).damaged == 0, "a root that is whole"
    outputs = [entry.output for entry in root.entries]
    chance.shuffle(outputs)
    wrong, whole = outputs[:harmed], outputs[harmed:]
    harms: list[Harm] = [cut, lose, mistake]
    for at, one in enumerate(wrong):
        harm = harms[at // 10 % 3] if at % 10 == 0 else turn_a_bit
        harm(chance, one, chance.choice(whole))
    found = verify(VerifyConfig(root=url))
    assert {one.output for one in found.named} == set(wrong)
    assert (found.outputs, found.damaged, found.exit_code) == (len(outputs), harmed, 3)
