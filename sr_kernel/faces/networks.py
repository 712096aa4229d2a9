"""The three networks, made of weight files that the caller names: facexlib's own way would fetch them itself."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from sr_kernel.faces.basicsr_import import mend_torchvision
from sr_kernel.weights import WeightsError, unpickled

FACE_PX = 512
"""side of an aligned face"""
_DATA_PARALLEL = "module."
"""before every name in files that were saved from several GPUs"""

DetectorKind = Literal["resnet50", "mobile0.25"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceFile:
    """A local weight file and its digest."""

    path: Path
    sha256: str


def load_gfpgan(file: FaceFile, device: torch.device) -> nn.Module:
    """GFPGAN v1.3 or v1.4, which are one network. Raises WeightsError."""
    mend_torchvision()
    arch = importlib.import_module("gfpgan.archs.gfpganv1_clean_arch")
    made = arch.GFPGANv1Clean(
        out_size=FACE_PX,
        num_style_feat=512,
        channel_multiplier=2,
        decoder_load_path=None,
        fix_decoder=False,
        num_mlp=8,
        input_is_latent=True,
        different_w=True,
        narrow=1,
        sft_half=True,
    )
    return _filled(made, file, "GFPGAN v1.3 or v1.4", device)


def load_detector(file: FaceFile, kind: DetectorKind, device: torch.device) -> Any:
    """facexlib's RetinaFace. Raises WeightsError."""
    arch, cpu = importlib.import_module("facexlib.detection.retinaface"), torch.device("cpu")
    made = arch.RetinaFace(network_name=kind, device=cpu)  # to `device` with its weights; told nothing, it takes a GPU
    return _filled(made, file, f"RetinaFace ({kind})", device)


def load_parser(file: FaceFile, device: torch.device) -> nn.Module:
    """facexlib's ParseNet of 19 classes. Raises WeightsError."""
    arch = importlib.import_module("facexlib.parsing.parsenet")
    made = arch.ParseNet(in_size=FACE_PX, out_size=FACE_PX, parsing_ch=19)
    return _filled(made, file, "ParseNet", device)


def _filled(network: nn.Module, file: FaceFile, what: str, device: torch.device) -> nn.Module:
    state = _load_state(file)
    wanted = {name: tensor.shape for name, tensor in network.state_dict().items()}
    found = {name: tensor.shape for name, tensor in state.items()}
    if wanted != found:
        wrong = next(iter(sorted(dict(wanted.items() ^ found.items()))))
        raise WeightsError(f"weights: {file.path}: not the weights of {what} (see {wrong}); give another file")
    network.load_state_dict(state, strict=True)
    return network.eval().requires_grad_(False).to(device)


def _load_state(file: FaceFile) -> dict[str, Tensor]:
    """What the file holds, on the CPU: counters stay integers, all else is finite."""
    try:
        data = file.path.read_bytes()
    except OSError as error:
        raise WeightsError(f"weights: {file.path}: cannot be read ({error.strerror}); check the path") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != file.sha256:
        raise WeightsError(f"weights: {file.path}: sha256 is {digest}, not {file.sha256}; fetch it again")
    loaded = unpickled(data, file.path)
    state: dict[str, Tensor] = {}
    for name, tensor in _inner(loaded).items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise WeightsError(f"weights: {file.path}: {name!r} is no tensor of weights; give a file of weights only")
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"weights: {file.path}: {name} holds values that are not finite; fetch the file again")
        state[name.removeprefix(_DATA_PARALLEL)] = tensor
    return state


def _inner(loaded: object) -> dict[object, object]:
    """The state dict inside what was loaded; empty for what is none."""
    if not isinstance(loaded, dict):
        return {}
    outer = cast("dict[object, object]", loaded)
    found = outer.get("params_ema", outer.get("params", outer))
    return cast("dict[object, object]", found) if isinstance(found, dict) else {}
