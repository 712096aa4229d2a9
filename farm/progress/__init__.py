"""How far a run is: what is ahead of it, how fast it goes, and what of that is said to people and to programs."""

from farm.progress.cost import Costly
from farm.progress.crew import Roster
from farm.progress.display import Progress
from farm.progress.effort import effort_of
from farm.progress.figures import duration, hours, pixel_rate, size
from farm.progress.lines import Lines
from farm.progress.work import Likeness, Workload, likeness, likeness_of

__all__ = [
    "Costly",
    "Likeness",
    "Lines",
    "Progress",
    "Roster",
    "Workload",
    "duration",
    "effort_of",
    "hours",
    "likeness",
    "likeness_of",
    "pixel_rate",
    "size",
]
