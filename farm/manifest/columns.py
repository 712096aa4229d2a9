"""The columns of a manifest and what their values mean; in prose: `manifests/SCHEMA.md`.

Each column has a parser: what a file holds (text from CSV, numbers and lists from JSONL and Parquet) in, the value that
a row carries out, ValueError for what means nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import cast

from farm.blocks import UPSCALE
from farm.config import FILM_CONTAINERS, FORMATS
from farm.kinds import EXTENSION_FORMATS, FILM_FORMATS, MEDIA, MediaKind, extension_of

IGNORED_PREFIX = "x_"
"""columns of the user's own; every other unknown name is taken for a typing mistake"""
DATA_TASKS = ("degrade", "subimages", "multiscale", "frames")
"""tasks that make training data of a row"""
MAX_TAGS = 1000
"""tags of one row"""
MAX_TAG_CHARS = 256
_ALL_FORMATS = (*FORMATS, *(name for name in FILM_CONTAINERS if name not in FORMATS))
_ALL_EXTENSIONS = {**EXTENSION_FORMATS, **FILM_FORMATS}
_INTEGER = re.compile(r"-?\d{1,18}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NO_MODEL = re.compile(r"[/\\\0]|\.(pth|pt|safetensors)$")
_KINDS: Mapping[str, MediaKind] = {kind.value: kind for kind in MEDIA}
_FLAGS: Mapping[object, bool] = {"true": True, "1": True, 1: True, "false": False, "0": False, 0: False}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is not text")
    return value


def _integer(value: object, found: str) -> int:
    """Also as text (CSV) or as a whole float (what a missing value makes of an integer column elsewhere)."""
    if (isinstance(value, str) and _INTEGER.fullmatch(value.strip())) or (
        isinstance(value, float) and value.is_integer()
    ):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(found)
    return value


def _whole(value: object) -> int:
    found = "is not a whole number from 0 up"
    if (count := _integer(value, found)) < 0:
        raise ValueError(found)
    return count


def _side(value: object) -> int:
    if not 1 <= (side := _whole(value)) < 2**31:
        raise ValueError("is not a size in pixels")
    return side


def _priority(value: object) -> int:
    if not -(2**31) <= (priority := _integer(value, "is not a whole number")) < 2**31:
        raise ValueError("is not in -2147483648..2147483647")
    return priority


def _number(value: object, least: float, most: float) -> float:
    try:
        number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not least <= number <= most:
        raise ValueError(f"is not a number in {least:g}..{most:g}")
    return number


def _outscale(value: object) -> float:
    return _number(value, 0.25, 16)


def _denoise(value: object) -> float:
    return _number(value, 0, 1)


def _sha256(value: object) -> str:
    digest = _text(value).strip().lower()
    if not _SHA256.fullmatch(digest):
        raise ValueError("is not 64 hexadecimal digits")
    return digest


def _format(value: object) -> str:
    if value not in _ALL_FORMATS:
        raise ValueError(f"is not one of {', '.join(_ALL_FORMATS)}")
    return _text(value)


def _kind(value: object) -> MediaKind:
    kind = _KINDS.get(_text(value))
    if kind is None:
        raise ValueError(f"is not one of {', '.join(_KINDS)}")
    return kind


def _task(value: object) -> str:
    if value != UPSCALE and value not in DATA_TASKS:
        raise ValueError(f"is not one of {', '.join((UPSCALE, *DATA_TASKS))}")
    return _text(value)


def _face(value: object) -> bool:
    flag = _FLAGS.get(value.strip().lower() if isinstance(value, str) else value) if _is_plain(value) else None
    if flag is None:
        raise ValueError("is neither true nor false")
    return flag


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, int, float))


def _model(value: object) -> str:
    if _NO_MODEL.search(_text(value)):
        raise ValueError("is a path; a manifest names models of `farm models`, a weight file is given with --model")
    return _text(value)


def _output(value: object) -> str:
    if extension_of(_text(value)) not in _ALL_EXTENSIONS:
        raise ValueError(f"does not end in an extension that can be written ({', '.join(_ALL_EXTENSIONS)})")
    return _text(value)


def _tags(value: object) -> tuple[str, ...]:
    """Words from a list, or from text with commas between them; each once, in order."""
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, (list, tuple)):
        raise ValueError("is neither text nor a list of text")
    tags: dict[str, None] = {}
    for word in cast("list[object] | tuple[object, ...]", words):
        if not isinstance(word, str):
            raise ValueError("is neither text nor a list of text")
        if len(word) > MAX_TAG_CHARS:
            raise ValueError(f"holds a tag of more than {MAX_TAG_CHARS} characters")
        if "," in word:
            raise ValueError("holds a tag with a comma, which separates tags elsewhere")
        if tag := word.strip():
            tags[tag] = None
    if len(tags) > MAX_TAGS:
        raise ValueError(f"is more than {MAX_TAGS} tags")
    return tuple(tags)


SOURCE, LQ, TASK, FACE = "source", "lq", "task", "face"
COLUMNS: Mapping[str, Callable[[object], object]] = {
    SOURCE: _text,
    LQ: _text,
    TASK: _task,
    "kind": _kind,
    "sha256": _sha256,
    "etag": _text,
    "bytes": _whole,
    "width": _side,
    "height": _side,
    "output": _output,
    "model": _model,
    "outscale": _outscale,
    "denoise": _denoise,
    FACE: _face,
    "format": _format,
    "priority": _priority,
    "tags": _tags,
}
"""Every column that means something, in the order in which manifests are written."""
OVERRIDES = ("output", "model", "outscale", "denoise", "format")
"""Columns that replace what the run says"""


def refuse_later(name: str, value: object) -> str | None:
    """Why no run of this version does what a parsed value asks for, or None."""
    if name == FACE and value:
        return "is not built yet in this version"
    if name == LQ:
        return "is the second picture of a pair of training data; upscaling takes one path a row, so leave it out"
    return None


def is_unset(value: object) -> bool:
    """Whether a field says nothing: null, empty text, or the NaN that stands where a number is missing."""
    return value is None or value == "" or value != value
