"""Trained weights in the forms that others read: official keys, on the CPU, in fp32."""

from __future__ import annotations

import copy
import io
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sr_kernel.train.state import TrainState


class ExportError(ValueError):
    """What is asked for cannot be made: a package is not installed, or it cannot write this network."""


def to_pth(state: TrainState) -> bytes:
    """As upstream saves its generator: `params`, and `params_ema` where an average is kept."""
    content = {"params": _plain(state.network)}
    if state.plan.ema:
        content["params_ema"] = _plain(state.average)
    return _saved(content)


def opponent_to_pth(state: TrainState) -> bytes:
    """As upstream saves netD. Raises ValueError for a state of stage net, which has none."""
    if state.opponent is None:
        raise ValueError("export: stage net trains no discriminator")
    return _saved({"params": _plain(state.opponent.network)})


def to_safetensors(state: TrainState) -> bytes:
    """The averaged weights, or the only ones."""
    from safetensors.torch import save

    return save(_plain(state.average))


def to_onnx(state: TrainState) -> bytes:
    """The averaged network: input `input` (N, 3, H, W) in 0..1 -> `output`; N, H and W are free.

    Raises ExportError without the package onnx, and where torch cannot write the network down.
    """
    if find_spec("onnx") is None:
        raise ExportError("export: ONNX needs the package onnx; pip install 'sr-farm[onnx]'")
    network = copy.deepcopy(state.average).cpu().float().eval()
    network.requires_grad_(False)
    free = {0: "n", 2: "h", 3: "w"}
    options: dict[str, Any] = {
        "input_names": ["input"],
        "output_names": ["output"],
        "dynamic_axes": {"input": free, "output": free},
        "opset_version": 17,
        "dynamo": False,
    }
    with tempfile.TemporaryDirectory(prefix="farm-onnx-") as folder:
        path = Path(folder) / "network.onnx"
        try:
            torch.onnx.export(network, (torch.zeros(1, 3, 32, 32),), str(path), **options)
        except torch.onnx.errors.OnnxExporterError as error:
            (found, *_) = str(error).splitlines() or [type(error).__name__]
            raise ExportError(f"export: ONNX: {found}; train without it") from error
        return path.read_bytes()


def _plain(network: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}


def _saved(content: dict[str, dict[str, Tensor]]) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
