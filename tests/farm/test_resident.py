"""Which models a worker keeps: those it was asked for last, as many as there is room for, and always one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from farm.errors import ModelError
from farm.tasks.base import WorkerContext
from farm.tasks.lane import ModelRef
from farm.tasks.resident import ResidentModels
from tests.networks import seeded_upscaler, srvgg_spec
from tests.seeded import save_srvgg

A, B, C = (ModelRef(model=name, sha256=name * 64, denoise=1.0) for name in "abc")


def context(memory_bytes: int, files: tuple[tuple[str, str], ...] = ()) -> WorkerContext:
    return WorkerContext(
        name="w",
        run="r",
        driver_host="h",
        out="/out",
        device="cpu",
        io_threads=1,
        units_in_flight=1,
        memory_bytes=memory_bytes,
        model_files=files,
    )


@dataclass
class Sized:
    """A model of which only the size matters."""

    held_bytes: int
    closed: bool = False
    released: int = 0

    def release(self) -> None:
        self.released += 1

    def close(self) -> None:
        self.closed = True


@dataclass
class Shelf:
    """Loads models of 100 bytes, and remembers which."""

    loads: list[ModelRef] = field(default_factory=list)
    made: list[Sized] = field(default_factory=list)

    def __call__(self, ref: ModelRef) -> Any:
        self.loads.append(ref)
        self.made.append(Sized(100))
        return self.made[-1]


def resident(shelf: Shelf, *, room: int) -> ResidentModels:
    """With room for so many models."""
    return ResidentModels(context(room * 4 * 100 or 1), shelf)  # 0 would be all of the machine's


def test_models_that_fit_stay() -> None:
    shelf = Shelf()
    models = resident(shelf, room=2)
    first = models.get(A)
    for ref in (B, A, B, A):
        models.get(ref)
    assert models.get(A) is first
    assert shelf.loads == [A, B]


def test_the_least_recently_used_goes_first() -> None:
    shelf = Shelf()
    models = resident(shelf, room=2)
    for ref in (A, B, A, C, A, B):
        models.get(ref)
    assert shelf.loads == [A, B, C, B], "B was used longest ago when C came, then C when B came back"
    assert [made.closed for made in shelf.made] == [False, True, True, False]


def test_one_is_kept_however_large_it_is() -> None:
    shelf = Shelf()
    models = resident(shelf, room=0)
    assert models.get(A) is models.get(A)
    assert shelf.loads == [A]
    models.get(B)
    assert shelf.made[0].closed
    assert not shelf.made[1].closed


def test_a_model_that_has_grown_makes_others_go() -> None:
    shelf = Shelf()
    models = resident(shelf, room=2)
    models.get(A)
    models.get(B)
    shelf.made[1].held_bytes = 150  # it was asked for another precision
    models.get(B)
    assert [made.closed for made in shelf.made] == [True, False]


def test_another_model_gets_what_the_others_keep_beside_their_weights() -> None:
    shelf = Shelf()
    models = resident(shelf, room=3)
    for ref in (A, A, B, B, A):
        models.get(ref)
    assert [made.released for made in shelf.made] == [1, 1], "when another is asked for, not at every call"


def test_what_cannot_be_loaded_leaves_the_others_as_they_are() -> None:
    shelf = Shelf()

    def load(ref: ModelRef) -> Any:
        if ref == B:
            raise ModelError("model b: damaged")
        return shelf(ref)

    models = ResidentModels(context(10_000), load)
    first = models.get(A)
    with pytest.raises(ModelError):
        models.get(B)
    assert models.get(A) is first


def test_a_real_model_counts_its_weights_a_precision(tmp_path: Path) -> None:
    spec = srvgg_spec(features=8, convs=2)
    upscaler = seeded_upscaler(spec)
    before = upscaler.held_bytes
    upscaler.backend.network("fp32")
    assert upscaler.held_bytes == 2 * before
    upscaler.close()
    assert upscaler.held_bytes == 0
    path = save_srvgg(tmp_path / "tiny.pth", features=8, convs=2)
    models = ResidentModels(context(1 << 30, (("file:tiny", str(path)),)))
    ref = ModelRef(model="file:tiny", sha256="", denoise=1.0)
    assert cast(Any, models.get(ref)).held_bytes >= before
