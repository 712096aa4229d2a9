"""The table of tasks: a new kind of work is one row here and one file beside it."""

from __future__ import annotations

from farm.tasks.base import Task, WorkerContext
from farm.tasks.memory import MemoryBudget
from farm.tasks.nothing import Nothing
from farm.tasks.prepare import Prepare
from farm.tasks.station import Station
from farm.tasks.upscale_image import UpscaleImage
from farm.tasks.upscale_video import UpscaleVideo


def make_tasks(context: WorkerContext, budget: MemoryBudget) -> dict[str, Task]:
    """Every task a worker can do, by name; they share one station, so that one thread calls torch."""
    station = Station(context, budget)
    return {
        "upscale_image": UpscaleImage(station),
        "upscale_video": UpscaleVideo(station),
        "prepare": Prepare(station),
        "nothing": Nothing(station),
    }
