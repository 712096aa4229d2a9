"""The flags of a sample before the whole: what `canary_config` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from farm.config import CanaryConfig

Command = TypeVar("Command", bound=Callable[..., Any])
CANARY_FIELDS = ("sample", "yes", "yes_if_suspect_below")
"""of CanaryConfig, which are `canary_options`"""


class Percentage(click.ParamType["float | None"]):
    """2%, or 2."""

    name = "P%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        if value is None or isinstance(value, (int, float)):
            return value
        try:
            return float(str(value).removesuffix("%"))
        except ValueError:
            self.fail(f"{value!r} is no percentage such as 2%", param, ctx)


def canary_options(command: Command) -> Command:
    """Whether a sample goes first."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def canary_config(flags: Mapping[str, Any]) -> CanaryConfig:
    """From the values of `canary_options`; without any where a command has none."""
    return CanaryConfig(**{name: flags[name] for name in CANARY_FIELDS if name in flags})


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--sample", type=int, metavar="N", help="First restore N rows of every sort, report, and ask."),
    click.option("--yes", is_flag=True, help="Go on after --sample without asking."),
    click.option(
        "--yes-if-suspect-below",
        type=Percentage(),
        help="Go on if less of the sample is suspect or has failed, such as 2%; else ask; exit 4 without a terminal.",
    ),
)
