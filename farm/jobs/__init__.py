"""Detached runs: jobs of Ray on somebody's cluster, or on a head of this user's own on this machine.

record.py    what is known of one
client.py    Ray's Jobs API; loads ray
head.py      the head here: begun, found, ended        keeper.py   the process below which it is
settings.py  what a job has of the environment
handover.py  a command becomes a job                   end.py      a run is cancelled, the head is ended
known.py     which cluster, which job, what it said    kept.py     jobs of a head that has been ended
told.py      what is said of an output root and its job
diary.py     what an attached run has done, in lines
"""

from farm.jobs.end import Cancelled, Ended, cancel, down
from farm.jobs.handover import Detached, detach
from farm.jobs.known import Found, find, find_jobs, follow_log, is_job_id, read_log
from farm.jobs.record import Job
from farm.jobs.told import state_of, told

__all__ = [
    "Cancelled",
    "Detached",
    "Ended",
    "Found",
    "Job",
    "cancel",
    "detach",
    "down",
    "find",
    "find_jobs",
    "follow_log",
    "is_job_id",
    "read_log",
    "state_of",
    "told",
]
