"""LPIPS is that of its authors' package: on seeded weights, so that neither that nor AlexNet's file need be here."""

from __future__ import annotations

import importlib
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sr_kernel.train.lpips import LEAST_PX, Lpips
from sr_kernel.train.score import Pixels
from sr_kernel.weights import load_state
from tests.pictures import photo
from tests.sr_kernel.train.batches import lpips_weights

SIZES = ((LEAST_PX, LEAST_PX), (64, 47), (130, 97))
RECORDED = (0.00112945, 0.00127754, 0.00142875)
"""what lpips 0.1.4 says of the pictures of SIZES"""


def both(width: int, height: int) -> tuple[Pixels, Pixels]:
    """A picture with noise and without."""
    good = photo(width, width, height)
    noise = np.random.default_rng(height).normal(0, 20, good.shape)
    return np.clip(good + noise, 0, 255).astype(np.uint8), good


def their_figures(alexnet: dict[str, Tensor], linear: Path | None) -> list[float]:
    """What the package itself says; `linear`: a file of what channels count, None: its own. It fetches nothing."""
    lpips = importlib.import_module("lpips")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its call of torchvision is older than that
        theirs = lpips.LPIPS(net="alex", pnet_rand=True, model_path=linear and str(linear), verbose=False)
    for key, one in alexnet.items():
        _, place, name = key.split(".")
        slices = [getattr(theirs.net, f"slice{number}") for number in range(1, 6)]
        (conv,) = (part for parts in slices for at, part in parts.named_children() if at == place)
        getattr(conv, name).data.copy_(one)
    found = []
    for size in SIZES:
        made, good = (lpips.im2tensor(one) for one in both(*size))
        found.append(theirs(made, good).item())
    return found


def test_it_is_that_of_the_package(tmp_path: Path) -> None:
    """By what that said of the same pictures; where it is installed, by what it says now, with its own file too."""
    alexnet, linear = lpips_weights()
    measure = Lpips(alexnet, linear)
    assert [measure.distance(*both(*size)) for size in SIZES] == pytest.approx(RECORDED, rel=1e-4)
    made, good = both(64, 47)
    assert measure.distance(good, good) == 0
    assert measure.distance(made, good) == measure.distance(good, made)
    if (found := find_spec("lpips")) is None:
        return
    torch.save(linear, tmp_path / "linear.pth")
    assert their_figures(alexnet, tmp_path / "linear.pth") == pytest.approx(RECORDED, rel=1e-4)
    shipped = Path(next(iter(found.submodule_search_locations or ())), "weights/v0.1/alex.pth")
    measure = Lpips(alexnet, load_state(shipped, None))
    assert [measure.distance(*both(*size)) for size in SIZES] == pytest.approx(their_figures(alexnet, None), rel=1e-4)


def test_pictures_that_are_too_small_have_no_figure() -> None:
    measure = Lpips(*lpips_weights())
    small = np.zeros((LEAST_PX - 1, 90, 3), np.uint8)
    assert measure.distance(small, small) is None


def test_other_weights_are_refused() -> None:
    alexnet, linear = lpips_weights()
    with pytest.raises(ValueError, match=r"weights of AlexNet: features.3.weight is missing.*torchvision's alexnet"):
        Lpips({key: one for key, one in alexnet.items() if key != "features.3.weight"}, linear)
    with pytest.raises(ValueError, match=r"weights of LPIPS: lin4.model.1.weight is \(1, 3, 1, 1\).*package lpips"):
        Lpips(alexnet, {**linear, "lin4.model.1.weight": torch.zeros(1, 3, 1, 1)})
