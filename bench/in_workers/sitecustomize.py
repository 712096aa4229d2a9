"""On PYTHONPATH, for the processes of a run that a bench looks into: probes or a stand-in, by what the environment asks
for."""

from __future__ import annotations

import os

if __name__ == "sitecustomize":
    if os.environ.get("FARM_PROBE"):
        import probe  # noqa: F401 (beside this file, as the next)
    if os.environ.get("FARM_STAND_IN_S"):
        import stand_in  # noqa: F401
