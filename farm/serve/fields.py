"""Which options may be asked for. What they are for, their defaults and choices are the configuration's own words; here
is only which there are, and how each is said to `farm submit`."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass
from dataclasses import fields as fields_of
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import Field, StringConstraints

from farm import config
from farm.face import FACE_DETECTORS, FACE_MODELS
from sr_kernel.models import ALIASES, MODELS

MODEL_NAMES = tuple(
    name
    for name, row in (*MODELS.items(), *((alias.name, MODELS[alias.model]) for alias in ALIASES.values()))
    if row.role == "restore"
)
"""what may be asked to restore: rows of the table, and what other programs call them; never a file"""
_MOST = 2**53 - 1
"""largest number that every reader of JSON keeps exactly"""
_DAYS_100_S = 8_640_000
_PARTS: Mapping[str, type] = {
    "model": config.ModelConfig,
    "face": config.FaceConfig,
    "fidelity": config.FidelityConfig,
    "output": config.OutputConfig,
    "video": config.VideoConfig,
    "worker": config.WorkerConfig,
    "limits": config.LimitConfig,
    "stop": config.StopConfig,
    "": config.RunConfig,
}
"""by their names in RunConfig; the last: itself"""
Model = Literal[MODEL_NAMES]  # pyright: ignore[reportInvalidTypeForm]
Rate = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6}|/[1-9][0-9]{0,5})?$")]
Template = Annotated[
    str, StringConstraints(max_length=200, pattern=r"^([^/\\{}\x00-\x1f\x7f]|\{(stem|model|scale|ext|row)\})+$")
]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,32}$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One that may be asked for."""

    part: str
    """of RunConfig; empty: itself"""
    name: str
    """its field there"""
    asked: str
    """its name in a request"""
    flag: str
    """of `farm submit`"""
    kind: Any
    """what pydantic takes, None left out"""
    default: Any
    doc: str

    @property
    def annotation(self) -> Any:
        return self.kind | None if self.default is None else self.kind


def _options(
    part: str, *names: str, prefix: str = "", kinds: Mapping[str, Any] | None = None, **flags: str
) -> Iterable[Option]:
    """Fields of one part; `kinds` of those whose type alone does not say what they may be."""
    owner, docs = _PARTS[part], docs_of(_PARTS[part])
    hints = get_type_hints(owner)
    defaults = {field.name: field.default for field in fields_of(owner)}
    for name in names:
        assert defaults[name] is not MISSING, name
        asked = prefix + name
        yield Option(
            part=part,
            name=name,
            asked=asked,
            flag=flags.get(name, f"--{asked.replace('_', '-')}"),
            kind=(kinds or {}).get(name) or _kind(hints[name]),
            default=defaults[name],
            doc=_DOCS.get(asked, docs.get(name, "")).replace("None", "null"),
        )


def _kind(hint: Any) -> Any:
    """A plain type, as narrow as JSON's readers are."""
    plain = next(one for one in (get_args(hint) or (hint,)) if one is not type(None))
    assert plain in (bool, int, float), f"{hint}: say in `kinds` what it may be"
    return _number(0, _MOST) if plain is int else plain


def _number(least: int, most: int) -> Any:
    return Annotated[int, Field(ge=least, le=most)]


def _one_of(choices: tuple[str, ...]) -> Any:
    return Literal[choices]  # pyright: ignore[reportInvalidTypeForm]


@cache
def docs_of(owner: type) -> Mapping[str, str]:
    """The strings under the fields of a class, by field; those that have none are left out."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for above, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name) and isinstance(below, ast.Expr):
            text = below.value.value if isinstance(below.value, ast.Constant) else None
            if isinstance(text, str):
                found[above.target.id] = " ".join(text.split())
    return found


_DOCS = {
    "model": "a name of GET /v1/models",
    "models": "several models that each restore every row that names none itself; empty: `model` alone",
    "fps": "frames a second of films, such as 25, 29.97 or 24000/1001; null keeps every frame and its time",
    "face_model": "what restores faces",
    "face_enhance": "restore faces by a second model",
    "size": "final width and height in pixels instead of `outscale`, see `fit`",
    "gpus": "accelerators to use; 0 means CPU workers; null means what there is",
    "workers": "CPU workers; null means one a core",
    "max_time_s": "seconds after which the run ends and leaves the rest",
    "max_failures": "stop when more rows than this have failed",
    "limit": "take only the first rows",
    "max_pixels_in": "larger sources are refused; no more than the farm's own limit",
    "max_pixels_out": "larger outputs are refused; no more than the farm's own limit",
}
"""of options of which a request may say less, or says otherwise, than the configuration"""
OPTIONS: tuple[Option, ...] = (
    *_options(
        "model",
        *("model", "models", "denoise", "outscale", "size", "fit", "max_side", "resize", "light", "tta"),
        *("keep_colour", "alpha", "precision", "kernel", "tile_px", "exact_px", "band_px", "batch"),
        kinds={
            "model": Model,
            "models": Annotated[list[Model], Field(max_length=8)],
            "size": Annotated[list[_number(1, 999_999)], Field(min_length=2, max_length=2)],
            "fit": _one_of(config.FITS),
            "resize": _one_of(config.RESIZES),
            "light": _one_of(config.LIGHTS),
            "alpha": _one_of(config.ALPHAS),
            "precision": _one_of(config.PRECISIONS),
            "kernel": _one_of(config.KERNELS),
            "batch": _number(0, 1024),
        },
    ),
    *_options(
        "face",
        *("enhance", "model", "strength", "only_center", "detector"),
        prefix="face_",
        kinds={"model": _one_of(FACE_MODELS), "detector": _one_of(FACE_DETECTORS)},
    ),
    *_options("fidelity", "niqe", "suspect", kinds={"suspect": _one_of(config.SUSPECTS)}),
    *_options(
        "output",
        *("format", "quality", "name", "stamp"),
        kinds={"format": _one_of(config.FORMATS), "name": Template},
        stamp="--no-stamp",
    ),
    *_options(
        "video",
        *("codec", "crf", "preset", "pix_fmt", "fps", "container", "segment_frames", "audio", "deinterlace"),
        *("salvage", "allow_damaged", "tag_colours", "encoder", "decoder"),
        kinds={
            "codec": _one_of(config.CODECS),
            "preset": Word,
            "pix_fmt": Word,
            "fps": Rate,
            "container": _one_of(config.FILM_CONTAINERS),
            "audio": _one_of(config.AUDIOS),
            "encoder": _one_of(config.ENCODERS),
            "decoder": _one_of(config.DECODERS),
        },
    ),
    *_options(
        "worker",
        *("gpus", "workers", "actors_per_gpu", "io_threads", "priority"),
        kinds={
            "gpus": _number(0, 4096),
            "workers": _number(1, 4096),
            "actors_per_gpu": _number(1, 16),
            "io_threads": _number(0, 64),
            "priority": _number(-1000, 1000),
        },
    ),
    *_options(
        "limits",
        *("max_pixels_in", "max_pixels_out", "limit", "pages"),
        kinds={
            "max_pixels_in": _number(1, config.LimitConfig().max_pixels_in),
            "max_pixels_out": _number(1, config.LimitConfig().max_pixels_out),
            "pages": _one_of(config.PAGES),
        },
        max_pixels_in="--max-pixels",
    ),
    *_options(
        "stop",
        *("max_time_s", "first", "max_failures", "retry_failed"),
        kinds={"first": _one_of(config.FIRSTS), "max_time_s": _number(1, _DAYS_100_S)},
        max_time_s="--max-time",
    ),
    *_options("", "verify_inputs", "verify_outputs"),
)
