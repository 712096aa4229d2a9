"""Runs of the command in processes that are forked from one which has loaded everything: some tenths of a second each.

As a program it reads one request a line, in JSON, and answers each with one line; see `Zygote`, which starts it. It has
no threads but one of the allocator of Arrow, which knows of forks, so that its children begin as whole processes do.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
_POLL_S = 0.01
SMALLEST_PART_BYTES = 5 << 20
"""that S3 takes: in parts of the farm's own a picture would have to be of 32 MB to be sent in some"""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a run ended."""

    code: int
    """exit code, or minus the signal that ended it"""
    said: str
    """standard error"""
    seconds: float
    counted: tuple[int, ...]
    """hits of each rule; empty where the process did not come to say it"""


class Zygote:
    """The process that forks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.zygote", str(folder)],
            cwd=REPOSITORY,
            env={**os.environ, **alone},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        *args: str | Path,
        rules: str = "",
        env: Mapping[str, str] | None = None,
        limit_s: float = 60.0,
    ) -> Ran:
        """`farm` with these arguments, failpoints and variables.

        A run that takes longer than `limit_s` is told to stop by SIGTERM, and two seconds later once more.
        """
        request = {
            "args": [str(arg) for arg in args],
            "rules": rules,
            "env": dict(env or {}),
            "limit_s": limit_s,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Ran(**answer | {"counted": tuple(answer["counted"])})

    def close(self) -> None:
        self._process.communicate(timeout=30)


def _serve(folder: Path) -> None:
    _load()
    for line in sys.stdin:
        request = json.loads(line)
        said, counted = folder / "said", folder / "counted"
        counted.write_text("[]")
        started_s = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _child(request, said, counted)
        code = _ended(pid, request["limit_s"])
        answer = {
            "code": code,
            "said": said.read_text("utf-8", "replace"),
            "seconds": time.monotonic() - started_s,
            "counted": json.loads(counted.read_text()),
        }
        print(json.dumps(answer), flush=True)


def _load() -> None:
    import av  # noqa: F401
    import numpy.ma  # noqa: F401
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401
    import pyvips  # noqa: F401
    import s3fs  # noqa: F401
    import torch
    import torch.utils.serialization.config
    from aiobotocore.session import AioSession  # noqa: F401

    import farm.cli
    import farm.engine
    import farm.prepare
    import farm.recipes
    import farm.tasks.registry
    import farm.training.run  # noqa: F401
    from farm.storage.objects import stream, upload

    from . import here_ray

    torch.set_num_threads(1)
    here_ray.install()
    stream.PART_BYTES = upload.PART_BYTES = SMALLEST_PART_BYTES
    names = {Path(f"/proc/self/task/{task}/comm").read_text().strip() for task in os.listdir("/proc/self/task")}
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1 + ("jemalloc_bg_thd" in names):
        raise RuntimeError(f"threads would be lost by forking: {names}")


def _child(request: Mapping[str, Any], said: Path, counted: Path) -> None:
    """The run; never comes back."""
    code = 1
    try:
        code = _run(request, said)
    finally:
        from farm import failpoints

        counted.write_text(json.dumps(failpoints.counted()))
        sys.stderr.flush()
        os._exit(code)


def _run(request: Mapping[str, Any], said: Path) -> int:
    from farm import failpoints
    from farm.cli import main

    with said.open("w") as file, open(os.devnull) as nothing:
        os.dup2(file.fileno(), 2)
        os.dup2(file.fileno(), 1)
        os.dup2(nothing.fileno(), 0)
    os.environ.update(request["env"])
    if "TMPDIR" in request["env"]:
        import tempfile

        tempfile.tempdir = None
    failpoints.arm(request["rules"])
    try:
        main(request["args"], standalone_mode=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1 if ended.code else 0
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1
    return 0


def _ended(pid: int, limit_s: float) -> int:
    """The exit code of the child; one that is late is told to stop, and again, and killed."""
    until_s = time.monotonic() + limit_s
    signals = [signal.SIGTERM, signal.SIGTERM, signal.SIGKILL]
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until_s and signals:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signals.pop(0))
            until_s = time.monotonic() + 2.0
        time.sleep(_POLL_S)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
