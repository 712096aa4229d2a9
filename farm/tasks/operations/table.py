"""The table of operations: a new way of making training data is one row here and one file beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from farm.sample import PrepareParams
from farm.tasks.operations.base import Operation
from farm.tasks.operations.degrade import Degrade, InLane
from farm.tasks.operations.meta_info import MetaInfo
from farm.tasks.operations.multiscale import Multiscale
from farm.tasks.operations.pairs import Pairs
from farm.tasks.operations.stats import Stats
from farm.tasks.operations.subimages import Subimages

_WITHOUT_TORCH: Mapping[str, Callable[[PrepareParams], Operation]] = MappingProxyType(
    {
        "subimages": Subimages,
        "multiscale": Multiscale,
        "stats": Stats,
        "meta-info": MetaInfo,
        "pairs": Pairs,
    }
)


def make_operation(params: PrepareParams, in_lane: InLane, device: str) -> Operation:
    """The operation that these parameters ask for; `in_lane` runs what needs torch, on `device`."""
    if params.operation == "degrade":
        return Degrade(params, in_lane, device)
    return _WITHOUT_TORCH[params.operation](params)
