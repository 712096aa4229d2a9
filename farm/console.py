"""What every command does: errors in one sentence with their exit codes, and text that a terminal only shows."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, TypeVar

import click

from farm.errors import DiskError, FarmError, InterruptedRun, StalledError, is_of_the_machine, said_by

F = TypeVar("F", bound=Callable[..., Any])


def explained(function: F) -> F:
    """A FarmError becomes one sentence on stderr and its exit code."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except FarmError as error:
            click.echo(f"farm: {printable(str(error))}", err=True)
            leave(error.exit_code, stopped=isinstance(error, (InterruptedRun, StalledError)))
        except OSError as error:
            if not is_of_the_machine(error):
                raise
            click.echo(f"farm: {printable(_refused(error))}", err=True)
            sys.exit(DiskError.exit_code)
        except KeyboardInterrupt:  # before the run has put in its own handlers
            sys.exit(128 + signal.SIGINT)

    return run  # pyright: ignore[reportReturnType]


def _refused(error: OSError) -> str:
    """What the machine refused in a place where nobody had a better word for it."""
    where = error.filename or "this machine"
    return f"{where}: {said_by(error)}; look after its disk and its limits, then run the same command again"


def leave(code: int, *, stopped: bool) -> NoReturn:
    """End with this exit code. Of a run that was stopped all is written and said: what Ray was in the middle of then
    must not crash on the interpreter's way out, and give another code, nor wait for a head that does not answer."""
    if stopped or _is_in_ray():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _is_in_ray() -> bool:
    """Whether this process never took its leave of Ray, which would do that for it on the interpreter's way out."""
    ray: Any = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


def without_pandas() -> None:
    """Keep Arrow from loading pandas, which takes a second: it asks once, at its first array, whether it is there.

    For a command, whose process is ours alone: what somebody's own program does with both must go on.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_NoPandas)


class _NoPandas:
    """An import that asks here is told that there is none."""

    @staticmethod
    def find_spec(fullname: str, path: object = None, target: object = None) -> None:  # noqa: ARG004 (the protocol's)
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is not loaded here", name=fullname)


def printable(text: str) -> str:
    """Text from names and files without what a terminal would act on, or take for another line."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def printable_lines(text: str) -> str:
    """Of a text of ours that has several lines, none of which ends in a name."""
    return "\n".join(map(printable, text.split("\n")))
