"""Output that is no number, or black, is never published (R17), whichever weights it comes of.

Weights are spoiled as is drawn: one of them, some or a whole layer that is not finite; layers so large that some
pictures overflow and others do not; results so dark that some pictures turn black. A few lines of plain torch, which
know nothing of windows, say for every picture what must become of it. With --trials N: N files of weights.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from farm.media.image import ReadLimits, decode

from ..networks import seeded_state, srvgg_spec
from ..runs import files, results, save_picture
from .cases import Place, Work
from .record import Note
from .works import CUT, FEW
from .zygote import Zygote

SHORT = ("nothing", "not finite", "dark")
SPOILS = ("nothing", "not finite", "overflow", "overflow", "dark", "dark")
SPEC = srvgg_spec(4, features=8, convs=2)
LEVELS = ((0, 256), (0, 40), (0, 12), (200, 256), (0, 3))
"""of the pictures: grey levels between which they are drawn"""
UNSURE = 0.1
"""levels of 255: so near to the limit, rounding decides what counts as black"""
LARGEST = float(np.finfo(np.float32).max)
UNSURE_LARGE = LARGEST / 1e9, LARGEST * 10
"""in between the order of sums decides, and whether 255 times as much, summed over a window, is still a number"""


def plain(state: Mapping[str, Tensor], picture: NDArray[np.uint8]) -> tuple[Tensor, float]:
    """SRVGGNetCompact of two convolutions between its first and its last, layer by layer in double precision: its
    output, and the largest number on the way there."""
    made = given = torch.from_numpy(picture / 255.0).permute(2, 0, 1)[None]
    most = 0.0
    for layer in range(0, 2 * SPEC.blocks + 3, 2):
        weights = state[f"body.{layer}.weight"].double()
        made = F.conv2d(made, weights, state[f"body.{layer}.bias"].double(), padding=1)
        most = max(most, float(made.abs().max()))
        if layer < 2 * SPEC.blocks + 2:
            made = F.prelu(made, state[f"body.{layer + 1}.weight"].double())
    return F.pixel_shuffle(made, SPEC.scale) + F.interpolate(given, scale_factor=SPEC.scale, mode="nearest"), most


def expected(state: Mapping[str, Tensor], picture: NDArray[np.uint8]) -> str:
    """`nonfinite_output`, `suspect_output` for black, `unsure`, or nothing."""
    made, most = plain(state, picture)
    if not most <= UNSURE_LARGE[1]:
        return "nonfinite_output"
    mean = float((made.clamp(0, 1) * 255).round().mean())
    if most > UNSURE_LARGE[0] or (abs(mean - 1) < UNSURE and picture.mean() > 4):
        return "unsure"
    return "suspect_output" if mean < 1 and picture.mean() > 4 else ""


def spoil(state: dict[str, Tensor], how: str, chance: random.Random) -> None:
    """As it is drawn, in place."""
    names = [name for name in state if name.startswith("body.") and state[name].ndim == 4]
    last = f"body.{2 * SPEC.blocks + 2}"
    if how == "not finite":
        one = state[chance.choice(list(state))].flatten()
        for at in chance.sample(range(len(one)), chance.choice((1, max(1, len(one) // 8), len(one)))):
            one[at] = float(chance.choice(("nan", "inf", "-inf")))
    elif how == "overflow":
        for name in names:
            state[name] *= 10 ** chance.uniform(7.5, 11)
    elif how == "dark":
        state[f"{last}.bias"] -= chance.uniform(0, 0.6)


@dataclass(frozen=True)
class Sources:
    """Pictures from bright to black, some of them in bands."""

    folder: Path
    pictures: Mapping[str, NDArray[np.uint8]]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    folder = tmp_path_factory.mktemp("numbers")
    found: dict[str, NDArray[np.uint8]] = {}
    for at, (low, high) in enumerate(LEVELS):
        path = save_picture(folder / f"p{at}.png", 40 + 60 * (at % 2), 30 + 90 * (at % 2), seed=at)
        whole = decode(path.read_bytes(), str(path), ReadLimits()).pixels
        shown = (low + whole.astype(np.float64) / 256 * (high - low)).astype(np.uint8)
        pyvips.Image.new_from_array(shown).copy(interpretation="srgb").write_to_file(str(path))
        found[path.name] = shown
    return Sources(folder, found)


def test_no_output_is_published_that_is_no_number_or_black(
    zygote: Zygote,
    sources: Sources,
    fresh_disk: Callable[[], Place],
    tmp_path_factory: pytest.TempPathFactory,
    trials: int,
    chance: random.Random,
    note: Note,
) -> None:
    folder = tmp_path_factory.mktemp("weights")
    met: Counter[str] = Counter()
    for at in range(trials or len(SHORT)):
        how = chance.choice(SPOILS) if trials else SHORT[at]
        state = seeded_state(SPEC, chance.randrange(1 << 30))
        spoil(state, how, chance)
        torch.save({"params": state}, folder / f"{at}.pth")
        wanted = {name: expected(state, picture) for name, picture in sources.pictures.items()}
        args = ("submit", sources.folder, "--model", folder / f"{at}.pth", "--precision", "fp32", *CUT, *FEW)
        place = fresh_disk()
        ran = Work(zygote=zygote, scratch=folder / "scratch", args=args).run(place)
        told = f"weights {at}, {how}, ended with {ran.code}: {ran.said}"
        assert "Traceback" not in ran.said, told
        if how == "not finite":
            assert ran.code == 78, told
        if ran.code == 78:
            assert "not finite" in ran.said or "NaN or infinity on a gradient" in ran.said, told
            assert how in ("not finite", "overflow"), told
            assert place.outputs() == {}, told
            met["refused at load"] += 1
            continue
        assert ran.code in (0, 3), told
        check_rows(Path(place.root), wanted, told)
        met.update(error or "published" for error in wanted.values())
    note(weights=trials or len(SHORT), met=dict(met))


def check_rows(out: Path, wanted: Mapping[str, str], told: str) -> None:
    """Every picture has what was said of it, and is there only if that is nothing."""
    found = {Path(str(row["source"])).name: str(row["error"] or "") for row in results(out)}
    sure = {name: error for name, error in wanted.items() if error != "unsure"}
    assert {name: found[name] for name in sure} == sure, told
    there = {name.replace("_4x", "") for name in files(out)} - {"results.parquet"}
    assert there == {name for name, error in found.items() if not error}, told
