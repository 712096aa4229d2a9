"""What a GPU is told before it trains. What it makes of that only a GPU can say."""

from __future__ import annotations

import pytest
import torch

from sr_kernel.backend import keep_to_one_algorithm


def test_a_gpu_keeps_to_algorithms_that_give_the_same_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "benchmark", True)
    monkeypatch.setattr(cudnn, "deterministic", False)
    keep_to_one_algorithm(torch.device("cpu"))
    assert (cudnn.benchmark, cudnn.deterministic) == (True, False)
    keep_to_one_algorithm(torch.device("cuda:0"))
    assert (cudnn.benchmark, cudnn.deterministic) == (False, True)
