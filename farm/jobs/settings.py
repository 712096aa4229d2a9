"""What a detached run has of the environment in which it was asked for: settings, and no secret."""

from __future__ import annotations

import os
from itertools import chain

from farm.errors import UsageError, without_credentials
from farm.storage.schemes import SCHEMES

_OURS = (
    "FARM_CONFIG",
    "FARM_LOCK_LEASE_S",
    "FARM_SCRATCH_DIR",
    "FARM_STEP_LIMIT_S",
    "FARM_WEIGHTS_DIR",
    "FARM_WEIGHTS_MIRROR",
    "AWS_CONFIG_FILE",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
)
PASSED = frozenset(chain(_OURS, *(names for spec in SCHEMES.values() for names in spec.variables.values())))
"""variables that go with a job on this machine; a head that is started here has none of them itself. Ray shows a job's
variables to whoever may look at its dashboard, so none of these may hold a secret: keys are not among them"""
STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"
_STOP_WAIT_S = 25
"""that a job is given to end after SIGTERM, before Ray kills it; a run takes ten"""


def variables(*, is_here: bool) -> dict[str, str]:
    """Of a job; `is_here`: it will run on this machine, where paths mean what they mean now.

    Raises UsageError for one with a credential in it.
    """
    found = {name: os.environ[name] for name in sorted(PASSED) if os.environ.get(name)} if is_here else {}
    for name, value in found.items():
        if without_credentials(value) != value:
            raise UsageError(f"{name}: holds a credential, which Ray would show in its dashboard; take it out")
    return {**found, STOP_WAIT: str(_STOP_WAIT_S)}
