"""What is asked for: the body of POST /v1/runs, the configuration that it means, and the words of `farm submit` that
the job is given. Both are made of the same values, and a test holds them to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, create_model

from farm.config import RunConfig
from farm.flags import Rate
from farm.serve.fields import OPTIONS, Option

Place = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f\x7f]+$")]


class _Request(BaseModel):
    """A run to be started."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, title="RunRequest")

    manifest: Place = Field(
        description="a manifest file, a folder, a glob, one picture or one film: an absolute path or a URL below one "
        "of the service's roots"
    )
    out: Place = Field(description="output root: an absolute path or a URL below one of the service's roots")

    def config(self, manifest: str, out: str) -> RunConfig:
        """What is to be run, on places that have been admitted. Raises UsageError for what contradicts itself."""
        return _config(manifest, out, self._given())

    def words(self, manifest: str, out: str) -> list[str]:
        """The same for `farm submit`: every value in one word with its flag, none of which can be taken for another."""
        said = (word for option, value in self._given() for word in _words(option, value))
        return [*said, f"--out={out}", "--", manifest]

    def _given(self) -> list[tuple[Option, Any]]:
        """What the request says, null left out."""
        values: Mapping[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        return [(option, values[option.asked]) for option in OPTIONS if values.get(option.asked) is not None]


def _config(manifest: str, out: str, given: list[tuple[Option, Any]]) -> RunConfig:
    plain = RunConfig(manifest=manifest)
    parts: dict[str, dict[str, Any]] = {"output": {"out": out}}
    for option, value in given:
        parts.setdefault(option.part, {})[option.name] = _value(option, value)
    whole = parts.pop("", {})
    return replace(plain, **whole, **{part: replace(getattr(plain, part), **some) for part, some in parts.items()})


def _value(option: Option, value: Any) -> Any:
    """As the configuration has it: lists are tuples there, a rate is a fraction."""
    if option.asked == "fps":
        return Rate().convert(value, None, None)
    return tuple(cast("list[Any]", value)) if isinstance(value, list) else value


def _words(option: Option, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [option.flag] if value is not option.default else []
    if isinstance(value, list):
        mark = "x" if option.asked == "size" else ","
        value = mark.join(map(str, cast("list[Any]", value)))
        return [f"{option.flag}={value}"] if value else []
    return [f"{option.flag}={value}"]


if TYPE_CHECKING:
    RunRequest = _Request
else:
    RunRequest = create_model(
        "RunRequest",
        __base__=_Request,
        __doc__=_Request.__doc__,
        **{
            option.asked: (option.annotation, Field(default=_plain, description=option.doc or None))
            for option in OPTIONS
            for _plain in [list(option.default) if isinstance(option.default, tuple) else option.default]
        },
    )
