"""From what the user calls a model to what it is. The driver must not import torch: it asks another process."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import sr_kernel
from farm.errors import ModelError
from farm.fetch.weight import Progress, cache_folder, ensure, ensure_file, locate, parse_remote, sha256_of
from sr_kernel.models import ALIASES, FILE_PREFIX, MODELS, Alias, ModelSpec, find_model

SUFFIXES = (".pth", ".safetensors")
RESTORING = tuple(spec.name for spec in MODELS.values() if spec.role == "restore")
"""names of the table's models that restore pictures"""
_DESCRIBE_S = 300
_DESCRIPTION_EPOCH = 2
"""raised when the same file would be described differently"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModel:
    """A model, known well enough to plan with."""

    spec: ModelSpec
    path: str | None
    """its weight file, or that file's URL with its digest; None for a release file that still has to be fetched"""
    sha256: str
    """of the weight file; part of the identity of what it makes. Empty for a file that nobody knows a digest of and
    that is not here"""
    alias: Alias | None = None
    """the name of another program's that it was asked for by"""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know who asked for it: what an alias means, and a digest that nobody confirms."""
        said: list[str] = []
        if self.alias is not None:
            scale = f" with outscale {self.alias.outscale:g}" if self.alias.outscale else ""
            said.append(f"{self.alias.name} means {self.alias.model}{scale}")
        if not self.spec.confirmed and not self.spec.name.startswith(FILE_PREFIX):
            found = f"its file here has {self.sha256}" if self.sha256 else "it is not here"
            said.append(f"{self.spec.name}: no source confirms the sha256 of {self.spec.file}; {found}")
        return tuple(said)


def resolve(model: str, weights_dir: str | None = None) -> ResolvedModel:
    """A model by its short name, its official name, or the path or URL of a .pth or .safetensors file.

    Names of other programs' are understood too (`ALIASES`). Files are described by their keys' shapes, in a
    subprocess; a file on disk goes before a release file of that name. On an object store it is
    `s3://BUCKET/NAME.pth#sha256=HEX`, fetched when it is first described.
    Raises ModelError for an unknown name, and for a file that is missing or holds no network of ours.
    """
    remote = parse_remote(model)
    if remote is not None:
        if Path(remote.url).suffix not in SUFFIXES:
            raise ModelError(f"model {model}: weights are {' or '.join(SUFFIXES)} files; correct the URL")
        spec = _describe(model, Path(remote.url).stem, remote.sha256)
        return ResolvedModel(spec=spec, path=model, sha256=remote.sha256)
    path = Path(model).expanduser()
    spec = find_model(model)
    if path.suffix in SUFFIXES and (spec is None or path.is_file()):
        return _resolve_file(path)
    if spec is None:
        near = difflib.get_close_matches(model, [*MODELS, *ALIASES], n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ModelError(
            f"model {model}: not known; {hint}known are {', '.join(RESTORING)}, or name a .pth or .safetensors file"
        )
    found = locate(spec, weights_dir)
    digest = spec.sha256 or (_sha256_of(found) if found else "")
    return ResolvedModel(spec=spec, path=str(found) if found else None, sha256=digest, alias=ALIASES.get(model))


def obtain(
    model: ResolvedModel, weights_dir: str | None = None, progress: Progress | None = None, *, unverified: bool = False
) -> Path:
    """The weight file of a resolved model, here. `unverified`: as `ensure`. Raises ModelError, DiskError."""
    if model.path and model.spec.name.startswith(FILE_PREFIX):
        return ensure_file(model.path, progress)
    return ensure(model.spec, weights_dir, progress, unverified=unverified)


def _sha256_of(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise ModelError(
            f"model {path}: {error.strerror}; check the path, or name one of {', '.join(RESTORING)}"
        ) from error


def _resolve_file(path: Path) -> ResolvedModel:
    if path.exists() and not path.is_file():
        raise ModelError(f"model {path}: is no file; give the path of a {' or '.join(SUFFIXES)} file")
    digest = _sha256_of(path)
    absolute = os.path.abspath(path)  # a link keeps its name: what it leads to may be called by its digest
    return ResolvedModel(spec=_describe(absolute, path.stem, digest), path=absolute, sha256=digest)


@lru_cache(maxsize=64)
def _describe(source: str, stem: str, sha256: str) -> ModelSpec:
    """What a weight file, given by path or URL, holds.

    Remembered in the user's cache, so that a run with nothing to do fetches nothing and loads no torch.
    """
    key = hashlib.sha256(f"{_DESCRIPTION_EPOCH}/{sha256}/{stem}".encode()).hexdigest()
    remembered = cache_folder("models") / f"{key}.json"
    with suppress(OSError, ValueError, TypeError):  # whatever is wrong with it, it can be made again
        return ModelSpec(**json.loads(remembered.read_bytes()))
    answer = _ask(str(ensure_file(source)))
    with suppress(OSError):  # a cache that cannot be written costs seconds, nothing else
        remembered.parent.mkdir(parents=True, exist_ok=True)
        partial = remembered.with_suffix(f".{os.getpid()}")
        partial.write_text(answer, encoding="utf-8")
        partial.replace(remembered)
    return ModelSpec(**json.loads(answer))


def _ask(path: str) -> str:
    """The description of a weight file as one line of JSON, from a process that may load torch."""
    # The folder that our own sr_kernel comes from, whatever the current one holds.
    home = str(Path(sr_kernel.__file__ or "").resolve().parent.parent)
    paths = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "sr_kernel.weights", path]
    try:
        answer = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_DESCRIBE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"model {path}: reading it took over {_DESCRIBE_S} s; is the disk well?") from error
    if answer.returncode:
        last = (answer.stderr.strip().splitlines() or [f"the reader ended with {answer.returncode}"])[-1]
        raise ModelError(f"model {path}: {last}")
    return answer.stdout
