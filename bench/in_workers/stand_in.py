"""For workers of bench/scaling.py: a compact network that takes FARM_STAND_IN_S seconds a source pixel.

It computes nothing, as a GPU looks from a processor: it sleeps, and enlarges its input to the nearest. All else is the
farm's own.
"""

from __future__ import annotations

import os
import time
from types import ModuleType
from typing import Any

from on_load import Load, around  # beside this file

_SECONDS_A_PX = float(os.environ["FARM_STAND_IN_S"])
_MODULE, _CLASS = "sr_kernel.archs.srvgg", "SRVGGNetCompact"


def sleep_and_enlarge(network: Any, x: Any, keep: Any) -> Any:
    """As `output` of the network does."""
    from sr_kernel.archs.output import WholeOutput  # imports torch

    time.sleep(_SECONDS_A_PX * x.shape[0] * keep.area_px)
    part = x[..., keep.y0 : keep.y1, keep.x0 : keep.x1].permute(0, 2, 3, 1)
    made = part.repeat_interleave(network.scale, 1).repeat_interleave(network.scale, 2).contiguous()
    return WholeOutput(made, network.scale)


def loaded(_: str, module: ModuleType, load: Load) -> None:
    """Afterwards the class sleeps."""
    load(module)
    setattr(getattr(module, _CLASS), "output", sleep_and_enlarge)  # noqa: B010 (of a class that is not known here)


around({_MODULE}, loaded)
