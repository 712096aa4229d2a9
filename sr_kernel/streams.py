"""The streams beside a GPU's work: one for what comes, one for what goes, one on which work is recorded."""

from __future__ import annotations

from functools import cache

import torch


class Streams:
    """Of one device. torch deals them from a few in turn: were each user given its own, two would meet on one."""

    def __init__(self, device: torch.device) -> None:
        self.into, self.out, self.record = (torch.cuda.Stream(device) for _ in range(3))


@cache
def streams_of(device: torch.device) -> Streams:
    """Those that everybody in this process shares."""
    return Streams(device)
