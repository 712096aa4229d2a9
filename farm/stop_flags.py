"""The flags that say when a run stops: what `stop_config` takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, time
from typing import Any, TypeVar

import click

from farm.config import FIRSTS, StopConfig

Command = TypeVar("Command", bound=Callable[..., Any])
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}
_SPAN = re.compile(r"(?:\d+(?:\.\d+)?[hms])+|\d+(?:\.\d+)?")


class Moment(click.ParamType["datetime | time | None"]):
    """06:00, or 2026-11-27T06:00."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime | time | None:
        if isinstance(value, (datetime, time)):
            return value
        try:
            if re.fullmatch(r"\d\d?:\d\d(:\d\d)?", value):
                return time.fromisoformat(value.zfill(len(value) + (value[1] == ":")))
            return datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time such as 06:00 or 2026-11-27T06:00", param, ctx)


class Span(click.ParamType["float | None"]):
    """6h, 90m, 1h30m, 3600: seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        if isinstance(value, (int, float)):
            return value
        if not _SPAN.fullmatch(value):
            self.fail(f"{value!r} is no time such as 6h, 90m, 1h30m or 3600", param, ctx)
        return sum(float(number) * _UNIT_S[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)([hms]?)", value))


class Failures(click.ParamType["tuple[int | None, float | None]"]):
    """12, or 5%."""

    name = "N|P%"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | None, float | None]:
        if isinstance(value, tuple):
            return value  # pyright: ignore[reportUnknownVariableType]
        try:
            return (None, float(value[:-1])) if value.endswith("%") else (int(value), None)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor a percentage such as 5%", param, ctx)


def stop_options(command: Command) -> Command:
    """When a run of rows stops."""
    for option in reversed((*_TIMES, *_ROWS)):
        command = option(command)
    return command


def time_options(command: Command) -> Command:
    """Only how long it may take."""
    for option in reversed(_TIMES):
        command = option(command)
    return command


def stop_config(flags: Mapping[str, Any]) -> StopConfig:
    """From the values of `stop_options` or `time_options`."""
    most, percent = flags.get("max_failures") or (None, None)
    return StopConfig(
        until=flags.get("until"),
        max_time_s=flags.get("max_time"),
        first=flags.get("first", "manifest"),
        max_failures=most,
        max_failures_percent=percent,
        retry_failed=flags.get("retry_failed", False),
    )


_TIMES: tuple[Callable[[Any], Any], ...] = (
    click.option("--until", type=Moment(), help="Be done by this local time, such as 06:00; the rest is left."),
    click.option("--max-time", type=Span(), help="Be done after so long, such as 6h, 90m or 3600; the rest is left."),
)
_ROWS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--first",
        type=click.Choice(FIRSTS),
        default="manifest",
        show_default=True,
        help="Which rows come first: as in the manifest, oldest sources, highest priority.",
    ),
    click.option(
        "--max-failures", type=Failures(), default=None, help="Stop when more rows fail, such as 12 or 5%; exit 4."
    ),
    click.option("--retry-failed", is_flag=True, help="Try rows again that failed before for what they are."),
)
