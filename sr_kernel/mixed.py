"""Weights mixed of two files: made once on a machine, kept in a folder, verified whenever they are read."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

from sr_kernel.models import ModelSpec
from sr_kernel.weights import load_state, mix

_EPOCH = 1
"""raised when the same two files would be mixed to something else"""
_DIGEST_BYTES = 32


def mixed_state(
    one: tuple[ModelSpec, Path], other: tuple[ModelSpec | None, Path], dn: float, cache: Path | None
) -> dict[str, Tensor]:
    """`sr_kernel.weights.mix` of the weights of two files, each checked against its row where there is one.

    What was mixed lies in `cache`, by the digests of both files and the strength; a copy that is damaged is made
    again, and a folder that cannot be written costs the mixing, nothing else. Raises WeightsError.
    """
    kept = cache / f"{_key(one, other, dn)}.mixed" if cache is not None else None
    state = _read(kept) if kept is not None else None
    if state is None:
        state = mix(load_state(one[1], one[0]), load_state(other[1], other[0]), dn)
        if kept is not None:
            with suppress(OSError):
                _write(kept, state)
    return state


def _key(one: tuple[ModelSpec, Path], other: tuple[ModelSpec | None, Path], dn: float) -> str:
    digests = [_digest(spec, path) for spec, path in (one, other)]
    return hashlib.sha256(f"{_EPOCH}/{'/'.join(digests)}/{dn!r}".encode()).hexdigest()[:32]


def _digest(spec: ModelSpec | None, path: Path) -> str:
    """Of the file that `load_state` would take, which is the row's own wherever a row says it."""
    if spec is not None and spec.sha256:
        return spec.sha256
    with suppress(OSError):  # what cannot be read is said by whoever loads it
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return ""


def _read(path: Path) -> dict[str, Tensor] | None:
    """The state, or None for what is not there or is not what was written."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, body = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    return load(body) if hashlib.sha256(body).digest() == digest else None


def _write(path: Path, state: Mapping[str, Tensor]) -> None:
    """In one step, so that whoever reads meanwhile finds nothing or all of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = save({name: tensor.contiguous() for name, tensor in state.items()})
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".mixed-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(body).digest() + body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise
