"""The task that does nothing: what a run costs beside its work. No kind of medium is planned for it; benches and tests
put it into `farm.plan.TASKS`."""

from __future__ import annotations

import hashlib

from farm.records import Done, Part, StageSeconds
from farm.tasks.station import Station
from sr_kernel.fidelity import PixelStats

_INFER_S = 1e-9
"""so fast that units of this task are as large as units get"""
_SHA256 = hashlib.sha256().hexdigest()


class Nothing:
    """One per worker; see farm.tasks.base.Task. Reads and writes nothing and says that it made an empty output."""

    def __init__(self, station: Station) -> None:
        self._station = station

    def run(self, part: Part, batch_limit: int | None) -> Done:  # noqa: ARG002 (the protocol's)
        return Done(
            part_id=part.part_id,
            url=part.item.output_url,
            sha256=_SHA256,
            bytes=0,
            width=0,
            height=0,
            source_px=1,
            mode="exact",
            precision=part.item.upscale.precision,
            stats=PixelStats(),
            seconds=StageSeconds(infer=_INFER_S),
            node=self._station.node,
            worker=self._station.name,
        )

    def stop(self) -> None:
        """Nothing goes on."""
