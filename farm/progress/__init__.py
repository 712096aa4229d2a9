"""How far a run is: what is ahead of it, how fast it goes, and what of that a person sees."""

from farm.progress.display import Progress
from farm.progress.figures import duration, hours, pixel_rate, size
from farm.progress.lines import Lines
from farm.progress.work import Likeness, Workload, likeness, likeness_of

__all__ = [
    "Likeness",
    "Lines",
    "Progress",
    "Workload",
    "duration",
    "hours",
    "likeness",
    "likeness_of",
    "pixel_rate",
    "size",
]
