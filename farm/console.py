"""What every command does: errors in one sentence with their exit codes, and text that a terminal only shows."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from farm.errors import FarmError

F = TypeVar("F", bound=Callable[..., Any])


def explained(function: F) -> F:
    """A FarmError becomes one sentence on stderr and its exit code."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except FarmError as error:
            click.echo(f"farm: {printable(str(error))}", err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:  # before the run has put in its own handlers
            sys.exit(128 + signal.SIGINT)

    return run  # pyright: ignore[reportReturnType]


def printable(text: str) -> str:
    """Text from names and files without what a terminal would act on."""
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text)
