"""Weight files: verified, read without running anything in them, onto the CPU.

`python -m sr_kernel.weights FILE` prints the `ModelSpec` of a file as one JSON line, for callers without torch.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from sr_kernel.archs import ARCHS, foreign
from sr_kernel.esrgan_names import modern_names
from sr_kernel.models import FILE_PREFIX, ModelSpec, radius_px, rrdb_align_px

_SCALE_OF_COLOURS = {3: 4, 12: 2, 48: 1}
"""RRDBNet: channels of the first convolution to scale"""
_MIN_TORCH = (2, 10)
"""before it `weights_only` could be got round"""
_MAX_BYTES = 4 << 30
"""no network of ours is near; a longer file is not read at all, nor one whose tensors would be larger"""
_MAX_TENSORS = 100_000
_MAX_PICKLE_BYTES = 64 << 20
"""of what says where in a .pth file which tensor lies; some hundred bytes a tensor"""
_WRAPPERS = ("params_ema", "params-ema", "params", "model_state_dict", "state_dict", "model", "net")
"""under which trainers keep the state dict, in the order in which they are looked for"""
_PREFIXES = ("module.", "netG.")
"""that wrappers of networks put before every key"""


class WeightsError(ValueError):
    """A weight file is not what it should be: damaged, of another network, hostile or not finite."""


def load_state(path: str | Path, spec: ModelSpec | None, first: str = "") -> dict[str, Tensor]:
    """The state dict of a weight file, in fp32 on the CPU.

    Where `spec` is given its size, its sha256 (each where known), its keys and shapes are checked, strictly. Of a file
    that holds several sets of weights the one named `first` is taken, else `params_ema`, else `params`. Raises
    WeightsError.
    """
    data = _read(Path(path))
    if spec is not None:
        _verify(data, spec, path)
    state = _weights_of(_parse(data, path), path, first)
    if spec is not None:
        _check_shapes(state, spec, path)
    _check_finite(state, path)
    return state


def describe_file(path: str | Path) -> ModelSpec:
    """What network a weight file holds, read from its keys' shapes; the name is `file:STEM`.

    Knows RRDBNet, also in ESRGAN's older key names, SRVGGNetCompact with PReLU in basicsr's, and, where spandrel is
    installed, what that knows. Raises WeightsError for others, and for weights that are not finite.
    """
    path = Path(path)
    data = _read(path)
    state = _weights_of(_parse(data, path), path)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    _check_finite(state, path)
    try:
        spec = _describe(shapes, path, data)
        _check_shapes(state, spec, path)
    except WeightsError as error:
        return _describe_foreign(state, path, data, error)
    return spec


def mix(a: Mapping[str, Tensor], b: Mapping[str, Tensor], dn: float) -> dict[str, Tensor]:
    """dn * a + (1 - dn) * b for every key: denoise strength as Real-ESRGAN defines it; 1 gives `a` alone.

    Raises WeightsError when the two are not weights of one network.
    """
    if not 0 <= dn <= 1:
        raise ValueError(f"denoise strength {dn} is not in 0..1")
    if {name: tensor.shape for name, tensor in a.items()} != {name: tensor.shape for name, tensor in b.items()}:
        raise WeightsError("weights: the model and its denoise partner are different networks; mix files of one")
    if dn == 1:
        return dict(a)
    return {name: dn * tensor + (1 - dn) * b[name] for name, tensor in a.items()}


def _read(path: Path) -> bytes:
    """The whole file: what is verified is what is parsed, whatever happens to the file meanwhile."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise WeightsError(f"weights: {path}: larger than {_MAX_BYTES} bytes; this is no weight file of ours")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"weights: {path}: cannot be read ({error.strerror}); check the path") from error


def _verify(data: bytes, spec: ModelSpec, path: str | Path) -> None:
    if spec.bytes and len(data) != spec.bytes:
        raise WeightsError(f"weights: {path}: has {len(data)} bytes where {spec.name} has {spec.bytes}; fetch it again")
    expected = spec.sha256 or spec.digest_start
    if not expected:
        return
    digest = hashlib.sha256(data).hexdigest()
    if not digest.startswith(expected):
        raise WeightsError(f"weights: {path}: sha256 is {digest}, not {spec.name}'s {expected}; fetch it again")


def _parse(data: bytes, path: str | Path) -> object:
    """What the file holds: safetensors, or a pickle of which only tensors and plain containers are accepted."""
    try:
        if Path(path).suffix == ".safetensors":
            from safetensors.torch import load

            return load(data)
        return unpickled(data, path)
    except WeightsError:
        raise
    except Exception as error:  # hostile or damaged bytes make the parser raise anything
        raise _no_weights(path, error) from error


def unpickled(data: bytes, path: str | Path, most_bytes: int = _MAX_BYTES) -> object:
    """What a .pth file holds: tensors and plain containers, or WeightsError. Nothing in it is run, and no archive is
    unpacked to more than `most_bytes`."""
    found = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if found < _MIN_TORCH:
        raise WeightsError(
            f"weights: {path}: torch {torch.__version__} may run what is hidden in a .pth file; install torch >= "
            f"{'.'.join(map(str, _MIN_TORCH))}, or give a .safetensors file"
        )
    try:
        _check_archive(data, path, most_bytes)
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # hostile or damaged bytes make the parser raise anything
        raise _no_weights(path, error) from error


def _no_weights(path: str | Path, error: Exception) -> WeightsError:
    # Of the error only its type: torch advises to load such files unsafely.
    return WeightsError(
        f"weights: {path}: not a weight file, or one that holds more than tensors ({type(error).__name__});"
        " give a .safetensors file or a .pth file of tensors only"
    )


def _check_archive(data: bytes, path: str | Path, most_bytes: int) -> None:
    """Raises WeightsError for a zip file that would unpack to more than a weight file has."""
    if not data.startswith(b"PK"):
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    pickled = max((entry.file_size for entry in entries if entry.filename.endswith(".pkl")), default=0)
    if len(entries) > _MAX_TENSORS or unpacked > most_bytes or pickled > _MAX_PICKLE_BYTES:
        raise WeightsError(
            f"weights: {path}: unpacks to {len(entries)} entries of {unpacked} bytes; this is no weight file of ours"
        )


def _weights_of(loaded: object, path: str | Path, first: str = "") -> dict[str, Tensor]:
    """The state dict inside what was loaded, floats in fp32. A plain value, by which some files say what no shape
    does, becomes a tensor of one zero."""
    found = _unwrapped(loaded, first)
    if not isinstance(found, dict) or not found:
        raise WeightsError(f"weights: {path}: holds no state dict; give a file saved from a network")
    state: dict[str, Tensor] = {}
    for name, value in cast("dict[object, object]", found).items():
        if not isinstance(name, str) or not isinstance(value, Tensor | str | int | float | None):
            raise WeightsError(f"weights: {path}: {name!r} is no tensor of weights; give a file of weights only")
        if isinstance(value, Tensor) and (value.layout != torch.strided or value.is_meta or value.is_quantized):
            raise WeightsError(f"weights: {path}: {name!r} is no plain tensor; save the network's state dict as it is")
        state[name] = value if isinstance(value, Tensor) else torch.zeros(1)
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if len(state) > _MAX_TENSORS or size > _MAX_BYTES:
        raise WeightsError(
            f"weights: {path}: holds {len(state)} tensors of {size} bytes; this is no weight file of ours"
        )
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    modern = modern_names(state)
    return {
        modern.get(name, name): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


def _unwrapped(loaded: object, first: str) -> object:
    """What a trainer's file holds under the name of the weights; the file's own content where it has no such name."""
    if isinstance(loaded, dict):
        outer = cast("dict[object, object]", loaded)
        return next((outer[name] for name in (first, *_WRAPPERS) if isinstance(outer.get(name), dict)), outer)
    return loaded


def _check_finite(state: Mapping[str, Tensor], path: str | Path) -> None:
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"weights: {path}: {name} holds values that are not finite; fetch the file again")


def _check_shapes(state: Mapping[str, Tensor], spec: ModelSpec, path: str | Path) -> None:
    if spec.arch not in ARCHS:
        raise WeightsError(
            f"weights: {path}: {spec.name} ({spec.arch}) does not restore pictures; choose another model"
        )
    shapes = ARCHS[spec.arch].shapes
    if shapes is None:
        return  # its making checks them
    expected = shapes(spec)
    wrong = [
        f"{name} is {tuple(state[name].shape) if name in state else 'missing'}, not {shape}"
        for name, shape in expected.items()
        if name not in state or tuple(state[name].shape) != shape
    ]
    wrong += [f"{name} is unknown" for name in state if name not in expected]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise WeightsError(f"weights: {path}: does not fit {spec.name} ({spec.arch}): {wrong[0]}{more}")


def _describe(shapes: Mapping[str, tuple[int, ...]], path: Path, data: bytes) -> ModelSpec:
    if "conv_first.weight" in shapes and len(shapes["conv_first.weight"]) == 4:
        return _describe_rrdb(shapes, path, data)
    if "body.0.weight" in shapes and len(shapes["body.0.weight"]) == 4:
        return _describe_srvgg(shapes, path, data)
    raise WeightsError(
        f"weights: {path}: neither RRDBNet nor SRVGGNetCompact by its keys ({next(iter(shapes))}, ...);"
        " convert it to basicsr's names"
    )


def _describe_foreign(state: Mapping[str, Tensor], path: Path, data: bytes, ours: WeightsError) -> ModelSpec:
    """The spec of a network that is none of ours; `ours` says why it is not."""
    try:
        found = foreign.describe(state)
    except foreign.ForeignError as error:
        if _looks_like_ours(state):
            raise ours from error
        raise WeightsError(f"weights: {path}: {error}") from error
    spec = _file_spec(path, data, arch="srvgg", scale=found.scale, features=0, blocks=0, growth=0)
    return replace(
        spec,
        arch="foreign",
        network=found.network,
        align_px=found.align_px,
        origin_px=found.origin_px,
        halo_px=found.halo_px,
        fp16=found.fp16,
        bf16=found.bf16,
        params=found.params,
        flop_px=found.flop_px,
    )


def _looks_like_ours(state: Mapping[str, Tensor]) -> bool:
    """Whether the keys are RRDBNet's or SRVGGNetCompact's, so that what is wrong is better said of these."""
    return "body.0.rdb1.conv1.weight" in state or "body.0.weight" in state


def _check_count(layers: int, shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """A number in a name costs nothing: no table of what should be there is made before the tensors could be."""
    if layers > len(shapes):
        raise WeightsError(
            f"weights: {path}: its names count {layers} layers and it holds {len(shapes)} tensors; fetch the file again"
        )


def _describe_rrdb(shapes: Mapping[str, tuple[int, ...]], path: Path, data: bytes) -> ModelSpec:
    if len(shapes["conv_first.weight"]) != 4 or len(shapes.get("body.0.rdb1.conv1.weight", (0,) * 4)) != 4:
        raise WeightsError(f"weights: {path}: an RRDBNet whose convolutions are no convolutions; fetch the file again")
    features, colours = shapes["conv_first.weight"][:2]
    numbers = [int(match[1]) for name in shapes if (match := re.match(r"body\.(\d+)\.rdb1\.conv1\.weight$", name))]
    if colours not in _SCALE_OF_COLOURS or not numbers:
        raise WeightsError(f"weights: {path}: an RRDBNet of {colours} input channels is not x4, x2 or x1 of RGB")
    scale, blocks = _SCALE_OF_COLOURS[colours], max(numbers) + 1
    _check_count(blocks, shapes, path)
    growth = shapes["body.0.rdb1.conv1.weight"][0] if "body.0.rdb1.conv1.weight" in shapes else 0
    return _file_spec(path, data, arch="rrdb", scale=scale, features=features, blocks=blocks, growth=growth)


def _describe_srvgg(shapes: Mapping[str, tuple[int, ...]], path: Path, data: bytes) -> ModelSpec:
    last = max(int(match[1]) for name in shapes if (match := re.match(r"body\.(\d+)\.weight$", name)))
    _check_count(last // 2, shapes, path)
    if len(shapes[f"body.{last}.weight"]) != 4 or len(shapes["body.0.weight"]) != 4:
        raise WeightsError(f"weights: {path}: an SRVGGNetCompact that does not end in a convolution; not known")
    out = shapes[f"body.{last}.weight"][0]
    scale = next((side for side in range(1, 17) if 3 * side * side == out), 0)
    if last >= 4 and "body.1.weight" not in shapes:
        raise WeightsError(
            f"weights: {path}: an SRVGGNetCompact without PReLU's slopes: it does not say whether it was trained"
            " with ReLU or LeakyReLU; give it slopes as docs/foreign-weights.md says"
        )
    if last < 2 or last % 2 or not scale:
        raise WeightsError(f"weights: {path}: an SRVGGNetCompact of {out} output channels or without PReLU; not known")
    features = shapes["body.0.weight"][0]
    return _file_spec(path, data, arch="srvgg", scale=scale, features=features, blocks=last // 2 - 1, growth=0)


def _file_spec(path: Path, data: bytes, *, arch: str, scale: int, features: int, blocks: int, growth: int) -> ModelSpec:
    rrdb = arch == "rrdb"
    align = rrdb_align_px(scale) if rrdb else 1
    return ModelSpec(
        name=f"{FILE_PREFIX}{path.stem}",
        official=path.stem,
        arch="rrdb" if rrdb else "srvgg",
        scale=scale,
        features=features,
        blocks=blocks,
        growth=growth,
        halo_px=radius_px("rrdb" if rrdb else "srvgg", blocks, align),
        align_px=align,
        whole_body=rrdb,
        file=path.name,
        url="",
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        licence="unknown",
        confirmed=False,
    )


def main(arguments: list[str]) -> int:
    """Prints the ModelSpec of the one file named as one JSON line; 0, or 78 with a sentence on standard error."""
    if len(arguments) != 1:
        print("usage: python -m sr_kernel.weights FILE", file=sys.stderr)
        return 2
    try:
        print(json.dumps(asdict(describe_file(arguments[0]))))
    except WeightsError as error:
        print(error, file=sys.stderr)
        return 78
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
