"""Programs that start a cluster of the tests' own, say where it is, and end it when their input ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
START_S = 150
PATIENT = {
    "RAY_raylet_start_wait_time_s": str(START_S),
    "RAY_gcs_server_port_wait_time_s": str(START_S),
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": str(START_S),
}
"""Ray's own 30 s and 60 s are not enough on a busy machine"""


@dataclass(frozen=True)
class Head:
    """One such program."""

    process: subprocess.Popen[str]
    log: Path
    """what it says besides its answers"""

    def line(self, pattern: str) -> str:
        """Its next line that is such; Ray says things there, too."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if re.match(pattern, line):
                return line.strip()
        code = self.process.wait(60)
        raise AssertionError(f"the cluster did not start, or is over: exit {code}; {self.log.read_text()[-6000:]}")

    def ask(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()


@contextmanager
def head(script: str, *args: str, env: Mapping[str, str], base: Mapping[str, str] = os.environ) -> Iterator[Head]:
    """Such a program while the block lasts. `env`: beside `base`, the tests' own environment."""
    with tempfile.TemporaryDirectory(prefix="farm-head-") as folder:
        log = Path(folder) / "said"
        with log.open("w") as said:
            process = subprocess.Popen(
                [sys.executable, "-c", script, *args],
                cwd=REPOSITORY,
                env={**base, "PYTHONPATH": str(REPOSITORY), **PATIENT, **env},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )
        try:
            yield Head(process, log)
        finally:
            process.communicate("", timeout=60)
