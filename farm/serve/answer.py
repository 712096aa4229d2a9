"""What is answered: the shapes of every body, made of the values that the command line prints as JSON."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import BaseModel, Field, create_model

from farm.jobs import Job
from farm.serve.fields import docs_of
from farm.status import Status


class Fault(BaseModel):
    """Every answer that is no success."""

    name: str = Field(alias="class", description="the farm's class of the error, or HTTP's own name for it")
    message: str = Field(description="one sentence: what, where, and what to do")


class Started(BaseModel):
    """A run that has been handed over."""

    id: str
    root: str = Field(description="its output root")
    state: str = Field(description="pending: it waits for its turn, or has begun")


class RunList(BaseModel):
    """Runs below the service's roots, the latest first."""

    runs: list[Job]
    left_out: int = Field(description="older ones that `limit` left out")


class RunLog(BaseModel):
    """The end of what a run has said."""

    id: str
    state: str
    lines: list[str]
    left_out: int = Field(description="lines before these")


class CancelledRun(BaseModel):
    """What was told to end, and has; as `farm cancel --json`."""

    root: str
    job: str = Field(description="id; empty where it had ended before")
    run: str


class ModelRow(BaseModel):
    """One model that restores."""

    name: str
    official: str
    scale: int
    network: str
    licence: str
    sha256: str
    also: list[str] = Field(description="what other programs call it")


class ModelList(BaseModel):
    """What may be asked for by `model`."""

    models: list[ModelRow]


class Health(BaseModel):
    """The service answers; whether a cluster does, runs will tell."""

    status: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOfRun(Job):
    """The same, and where it can be looked at."""

    dashboard: str
    """URL of Ray's; empty where its head has ended"""


class _Told(BaseModel):
    """A run as `farm status --json` tells it. Figures are there once a row has begun."""

    root: str
    state: str
    job: JobOfRun


def _figures() -> dict[str, Any]:
    """The fields of Status that are not there before a ledger is, with their descriptions."""
    hints, docs = get_type_hints(Status), docs_of(Status)
    names = [field.name for field in fields(Status) if field.name not in _Told.model_fields]
    found: dict[str, Any] = {
        name: (hints[name] | None, Field(default=None, description=docs.get(name))) for name in names
    }
    return found | {"eta_s": (float | None, Field(default=None, description="seconds until nothing is left"))}


if TYPE_CHECKING:
    RunStatus = _Told
else:
    RunStatus = create_model("RunStatus", __base__=_Told, __doc__=_Told.__doc__, **_figures())
