"""What options are checked for when they are made: each check says the flag and what is wrong with it."""

from __future__ import annotations

from farm.errors import UsageError


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise UsageError for a value that is not allowed."""
    if value not in allowed:
        raise UsageError(f"--{name.replace('_', '-')}: {value!r} is not one of {', '.join(allowed)}")


def at_least(name: str, value: float, least: float) -> None:
    """Raise UsageError for a value below the least."""
    if value < least:
        raise UsageError(f"--{name.replace('_', '-')}: {value} is below {least}")
