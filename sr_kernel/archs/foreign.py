"""Networks that were written elsewhere, through spandrel: which one a state dict is, what it asks for, how it is run.

This is the only user of spandrel, which is imported when the first such file is met: it is an optional extra, and takes
seconds to import. It is given tensors, never a path. What it says of a network is obeyed: sizes by reflection, as its
own call does, and half precision where it is supported.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr_kernel.models import SEES_ALL_PX, ModelSpec
from sr_kernel.tiles import Box

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor

    Descriptor = ImageModelDescriptor[nn.Module]

INSTALL = "pip install 'sr-farm[foreign]'"
_REFUSED: Mapping[str, str] = {
    "GFPGAN": "it restores aligned faces; use --face-enhance",
    "RestoreFormer": "it restores aligned faces; use --face-enhance",
    "LaMa": "it fills holes and needs a mask",
    "AuraSR": "it draws random noise for every picture, so that no two runs would give the same",
}
"""architectures that spandrel knows and that restore no picture alone, with the reason"""
_RADIUS_PX: Mapping[str, int] = {"SPAN": 22}
"""Exact context radius of architectures of 3x3 convolutions alone, whose tiles were proved independent by test. SPAN:
one convolution before and one after six blocks of three, and one that enlarges; one more to spare."""
_STEP_PX = 16
"""windows of networks that halve their features start at multiples of this: four times, as most do"""
_STEPS_PX: Mapping[str, int] = {"SCUNet": 64}
"""where it is known to be more: attention in windows of 8 at an eighth of the size"""
_LARGEST_STEP_PX = 128
_WINDOW_FIELDS = ("window_size", "win_size", "split_size", "stripe_size", "patch_size")
"""hyperparameters that say the sides of attention windows"""
_NO_BF16 = frozenset({"ATD", "DRCT", "FFTformer", "GRL", "HVICIDNet", "RGT", "Swin2SR", "SwinIR"})
"""spandrel says that they support it, but they raise: what they make anew for each size of picture is fp32, and only
for the size that they were trained with it is ready. HVICIDNet computes hues, of which bf16 leaves too little (37 dB
against fp32, where others have 50 to 60)."""
_TRIAL_PX = 80
"""no size of picture that a network was trained with: some have all they need of that one ready"""
_MARKS_SHOWN = 6


class ForeignError(ValueError):
    """A state dict is no network that can be run here; the message says why, in one sentence without a subject."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """What planning and running need to know of a network."""

    network: str
    """spandrel's name of the architecture"""
    scale: int
    align_px: int
    """sides of windows are multiples of this"""
    origin_px: int
    """windows start at multiples of this, so that attention windows lie as they do in the whole picture"""
    halo_px: int
    fp16: bool
    bf16: bool
    params: int
    flop_px: int
    """floating-point operations a source pixel, counted on a small picture"""


class ForeignNetwork:
    """A network of spandrel's with fixed weights, in one precision on one device; see `sr_kernel.archs.Network`."""

    def __init__(self, spec: ModelSpec, state: Mapping[str, Tensor], like: Tensor, *, trimmed: bool) -> None:  # noqa: ARG002
        """`like` gives device and precision. Raises ForeignError. Nothing is trimmed: layers are not ours to cut."""
        found = _load(state)
        if (found.architecture.id, found.scale) != (spec.network, spec.scale):
            raise ForeignError(f"is {found.architecture.id} x{found.scale}, not {spec.network} x{spec.scale}")
        if not _supports(found, like.dtype):
            raise ForeignError(f"is {spec.network}, which does not support {like.dtype}; use --precision fp32")
        self.scale = spec.scale
        self._found = found
        self._dtype = like.dtype
        self._call = _call_of(found)
        found.model.to(like.device, like.dtype)
        if spec.network in _RADIUS_PX:
            _steady(found.model)
        # One window after another, unless the network is made of convolutions: what attends may sum in another order
        # where the batch is another.
        self._together = like.device.type == "cuda" and spec.network in _RADIUS_PX

    def __call__(self, x: Tensor, keep: Box) -> Tensor:
        """As of `sr_kernel.archs.Network`."""
        if self._together:
            return self._run(x, keep)
        return torch.cat([self._run(x[index : index + 1], keep) for index in range(len(x))])

    def _run(self, x: Tensor, keep: Box) -> Tensor:
        scale = self.scale
        made = self._call(self._found.model, _padded(x.to(self._dtype), self._found))
        part = made[..., keep.y0 * scale : keep.y1 * scale, keep.x0 * scale : keep.x1 * scale]
        return part.permute(0, 2, 3, 1).float().contiguous()


def describe(state: Mapping[str, Tensor]) -> Foreign:
    """What network a state dict is. It is run on a small gradient.

    Raises ForeignError for keys that nobody knows, and for a network that restores no picture, is damaged, or draws
    random numbers.
    """
    found = _load(state)
    network, rules = found.architecture.id, found.size_requirements
    exact = network in _RADIUS_PX
    return Foreign(
        network=network,
        scale=found.scale,
        align_px=rules.multiple_of,
        origin_px=rules.multiple_of if exact else _origin_px(found),
        halo_px=_RADIUS_PX.get(network, SEES_ALL_PX),
        fp16=found.supports_half,
        bf16=found.supports_bfloat16 and network not in _NO_BF16,
        params=sum(parameter.numel() for parameter in found.model.parameters()),
        flop_px=_try_out(found),
    )


def known_networks() -> tuple[str, ...]:
    """The architectures that can be run, by spandrel's names. Raises ForeignError where it is not installed."""
    return tuple(
        sorted(row.architecture.id for row in _spandrel().MAIN_REGISTRY if row.architecture.id not in _REFUSED)
    )


def _spandrel() -> Any:
    try:
        import spandrel
    except ImportError as error:
        raise ForeignError(
            f"is none of our own networks, and reading others needs spandrel ({error}); install it: {INSTALL}"
        ) from error
    except (RuntimeError, AttributeError) as error:  # torchvision does, where it was built for another torch
        raise ForeignError(
            f"is none of our own networks, and spandrel cannot be imported ({error}); is torchvision that of torch?"
        ) from error
    return spandrel


def _load(state: Mapping[str, Tensor]) -> Descriptor:
    """The network with its weights, in fp32 on the CPU, ready for inference."""
    spandrel = _spandrel()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers that are empty and of older torch, while modules are made
            found = spandrel.MAIN_REGISTRY.load(dict(state))
    except spandrel.UnsupportedModelError as error:
        raise ForeignError(_unknown(state)) from error
    except Exception as error:  # the keys matched, but what they hold is of other shapes: anything may be raised
        raise ForeignError(
            f"looks like a network that spandrel knows but does not load: {_first_line(error)}"
        ) from error
    _check_restores(found)
    found.eval()
    _merge(found.model)
    return cast("Descriptor", found)


def _check_restores(found: Any) -> None:
    """Raises ForeignError unless three channels go in and three come out, and nothing else is needed."""
    network = found.architecture.id
    if network in _REFUSED or found.purpose not in ("SR", "Restoration"):
        raise ForeignError(f"is {network}: {_REFUSED.get(network, f'its purpose is {found.purpose}')}")
    if (found.input_channels, found.output_channels) != (3, 3):
        raise ForeignError(
            f"is {network} of {found.input_channels} channels to {found.output_channels};"
            " networks that take RGB and give RGB can be run"
        )


def _merge(model: nn.Module) -> None:
    """Merges the branches of SPAN's convolutions once and in fp32, which it does itself before every pass."""
    for module in model.modules():
        update = getattr(module, "update_params", None)
        if callable(update):
            update()
            module.update_params = _nothing  # pyright: ignore[reportArgumentType]


def _nothing() -> None:
    """Instead of a method that has nothing left to do."""


def _steady(model: nn.Module) -> None:
    """Makes the convolutions independent of the window's size, see `_SteadyConv`."""
    for module in model.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = _SteadyConv


class _SteadyConv(nn.Conv2d):
    """A convolution that is computed by oneDNN on a CPU, whatever its size; see `sr_kernel.archs.layer.Conv`."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        padding = self.padding
        if input.device.type != "cpu" or isinstance(padding, str) or not torch.backends.mkldnn.is_available():
            return super().forward(input)
        return torch.mkldnn_convolution(input, self.weight, self.bias, padding, self.stride, self.dilation, self.groups)


def _supports(found: Descriptor, dtype: torch.dtype) -> bool:
    return {
        torch.float16: found.supports_half,
        torch.bfloat16: found.supports_bfloat16 and found.architecture.id not in _NO_BF16,
    }.get(dtype, True)


def _call_of(found: Descriptor) -> Callable[[nn.Module, Tensor], Tensor]:
    """How the network is called. spandrel's own call clamps, which turns infinity into white: that is to be seen."""
    return vars(found)["_call_fn"]


def _padded(x: Tensor, found: Descriptor) -> Tensor:
    """A copy of x (N, 3, H, W), extended to the right and downwards to what the network asks for, as spandrel does it.

    Reflected, and repeated beyond what a reflection gives. A copy, because RCAN works in its input.
    """
    height, width = x.shape[-2:]
    right, below = found.size_requirements.get_padding(width, height)
    x = x.clone(memory_format=torch.contiguous_format)
    if right or below:
        mirrored = min(right, width - 1), min(below, height - 1)
        x = F.pad(x, (0, mirrored[0], 0, mirrored[1]), "reflect")
        x = F.pad(x, (0, right - mirrored[0], 0, below - mirrored[1]), "replicate")
    return x


def _origin_px(found: Descriptor) -> int:
    """What windows start at multiples of: all sides of attention windows, and what the features are halved by."""
    step = math.lcm(_STEPS_PX.get(found.architecture.id, _STEP_PX), found.size_requirements.multiple_of)
    made = cast("Mapping[str, object]", getattr(found.model, "hyperparameters", {}))
    for field in _WINDOW_FIELDS:
        value = made.get(field, 1)
        for side in cast("list[object]", value) if isinstance(value, (list, tuple)) else [value]:
            if isinstance(side, int) and side > 0 and math.lcm(step, side) <= _LARGEST_STEP_PX:
                step = math.lcm(step, side)
    return step


def _try_out(found: Descriptor) -> int:
    """Operations a source pixel, counted on a gradient; ForeignError where the network does not do what it says."""
    from torch.utils.flop_counter import FlopCounterMode  # a tenth of a second that other networks need not wait

    network = found.architecture.id
    ramp = torch.linspace(0, 1, 3 * _TRIAL_PX**2).view(1, 3, _TRIAL_PX, _TRIAL_PX)
    height, width = _padded(ramp, found).shape[-2:]
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first = _call_of(found)(found.model, _padded(ramp, found))
        with torch.no_grad():
            second = _call_of(found)(found.model, _padded(ramp, found))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:  # parts of it do not fit each other
        raise ForeignError(f"is {network}, which does not run: {_first_line(error)}") from error
    expected = (1, 3, height * found.scale, width * found.scale)
    if tuple(first.shape) != expected:
        raise ForeignError(f"is {network}, which gives {tuple(first.shape)} instead of {expected}")
    if not torch.equal(first.nan_to_num(), second.nan_to_num()):
        raise ForeignError(f"is {network}, which gives another picture each time; outputs could not be made again")
    return max(1, counter.get_total_flops() // (height * width))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _unknown(state: Mapping[str, Tensor]) -> str:
    """What was found and what would be known."""
    names = ", ".join(list(state)[:_MARKS_SHOWN])
    more = ", ..." if len(state) > _MARKS_SHOWN else ""
    values = sum(tensor.numel() for tensor in state.values())
    trained_with = (
        "; spectral norm is what discriminators have, which restore nothing"
        if any(name.endswith(("weight_orig", "weight_u")) for name in state)
        else ""
    )
    return (
        f"holds {len(state)} tensors of {values} values ({names}{more}), no network that is known{trained_with};"
        f" known are RRDBNet, SRVGGNetCompact, {', '.join(known_networks())}"
    )
