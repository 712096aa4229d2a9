"""The table of tasks: a new kind of work is one row here and one file beside it."""

from __future__ import annotations

from farm.tasks.base import Task, WorkerContext
from farm.tasks.upscale_image import UpscaleImage


def make_tasks(context: WorkerContext) -> dict[str, Task]:
    """Every task a worker can do, by name."""
    return {"upscale_image": UpscaleImage(context)}
