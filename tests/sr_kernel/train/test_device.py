"""What a GPU is told before it trains. What it makes of that only a GPU can say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from sr_kernel.train.plan import Precision, StagePlan
from sr_kernel.train.state import keep_to_plan


@pytest.fixture
def cudnn() -> Iterator[Any]:
    """As it would let convolutions round, and choose."""
    found: Any = torch.backends.cudnn
    before = found.benchmark, found.deterministic, found.conv.fp32_precision
    found.benchmark, found.deterministic, found.conv.fp32_precision = True, False, "tf32"
    yield found
    found.benchmark, found.deterministic, found.conv.fp32_precision = before


@pytest.mark.parametrize(("precision", "said"), [("fp32", "ieee"), ("bf16", "tf32")])
def test_a_gpu_keeps_to_algorithms_that_give_the_same_twice_and_fp32_is_fp32(
    precision: Precision, said: str, cudnn: Any
) -> None:
    plan = StagePlan(precision=precision)
    keep_to_plan(plan, torch.device("cpu"))
    assert (cudnn.benchmark, cudnn.deterministic, cudnn.conv.fp32_precision) == (True, False, "tf32")
    keep_to_plan(plan, torch.device("cuda:0"))
    assert (cudnn.benchmark, cudnn.deterministic, cudnn.conv.fp32_precision) == (False, True, said)
