"""A state as bytes and back: everything that the following iterations depend on, so that the curve goes on as it would.

Nothing of a step is drawn at random: which samples a batch holds is a function of the iteration. The generators' states
are kept for networks that will draw, and so that a checkpoint says all.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from sr_kernel.train.state import TrainState
from sr_kernel.weights import WeightsError, unpickled

SCHEMA = 1
_SPARE_BYTES = 64 << 20
"""for names, places and all that is no weight"""
_MOMENTS = ("exp_avg", "exp_avg_sq")
"""what Adam keeps of each weight"""


class CheckpointError(ValueError):
    """Bytes that are no checkpoint, or one of another training."""


class DamagedError(CheckpointError):
    """Bytes that may have been a checkpoint of this training, of which an earlier one may be whole."""


def save_state(state: TrainState, fingerprint: str) -> bytes:
    """`fingerprint`: of all that decides the curve, for `restore_state` to compare."""
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "fingerprint": fingerprint,
        "iteration": state.iteration,
        "network": state.network.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "scaler": state.scaler.state_dict(),
        "random": torch.get_rng_state(),
    }
    if state.plan.ema:
        content["average"] = state.average.state_dict()
    if state.opponent is not None:
        content["opponent"] = state.opponent.network.state_dict()
        content["opponent_optimiser"] = state.opponent.optimiser.state_dict()
    if state.device.type == "cuda":
        content["random_cuda"] = torch.cuda.get_rng_state(state.device)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def restore_state(state: TrainState, data: bytes, fingerprint: str, where: str) -> None:
    """Put a fresh state of the same plan to where `save_state` was; `where` names the bytes in messages.

    Raises CheckpointError: of a later version, or of a training with another fingerprint; DamagedError: no checkpoint,
    or not a whole one. The state may be half of it then, and another call puts all of it right.
    """
    content = read_checkpoint(data, where, most_bytes(state))
    if content.get("fingerprint") != fingerprint:
        raise CheckpointError(
            f"checkpoint: {where}: was made under another configuration, or of other pairs; restore these, or train "
            "into another folder"
        )
    try:
        _put(state, content)
    except Exception as error:  # what does not fit makes torch raise anything
        kind = type(error).__name__
        raise DamagedError(f"checkpoint: {where}: lacks what it should hold ({kind}); delete it") from error


def _put(state: TrainState, content: Mapping[str, Any]) -> None:
    state.iteration = int(content["iteration"])
    state.network.load_state_dict(content["network"])
    _put_optimiser(state.optimiser, content["optimiser"])
    state.scaler.load_state_dict(content["scaler"])
    torch.set_rng_state(content["random"])
    if state.plan.ema:
        state.average.load_state_dict(content["average"])
    if state.opponent is not None:
        state.opponent.network.load_state_dict(content["opponent"])
        _put_optimiser(state.opponent.optimiser, content["opponent_optimiser"])
    if state.device.type == "cuda" and "random_cuda" in content:
        torch.cuda.set_rng_state(content["random_cuda"], state.device)


def _put_optimiser(optimiser: torch.optim.Adam, kept: dict[str, Any]) -> None:
    optimiser.load_state_dict(kept)
    for weight, moments in optimiser.state.items():
        if any(moments[name].shape != weight.shape for name in _MOMENTS):
            raise ValueError("moments of another shape than their weight")


def most_bytes(state: TrainState) -> int:
    """What a checkpoint of this state takes at the most: weights, their average and two moments of each."""
    networks = [state.network] if state.opponent is None else [state.network, state.opponent.network]
    return 4 * sum(map(_bytes_of, networks)) + _SPARE_BYTES


def _bytes_of(network: nn.Module) -> int:
    return sum(one.numel() * one.element_size() for one in network.state_dict().values())


def read_checkpoint(data: bytes, where: str, most: int) -> dict[str, Any]:
    """What a checkpoint of at most so many bytes holds, on the CPU; nothing in it is run. Raises CheckpointError."""
    if len(data) > most:
        raise CheckpointError(too_large(where))
    try:
        loaded = unpickled(data, where, most) if data.startswith(b"PK") else None
    except WeightsError as error:
        if error.__cause__ is None:  # too old a torch, or too much in it
            raise CheckpointError(str(error)) from error
        kind = type(error.__cause__).__name__
        raise DamagedError(
            f"checkpoint: {where}: cannot be read, or holds more than tensors ({kind}); delete it, or restore it"
        ) from error
    if not isinstance(loaded, dict):
        raise DamagedError(f"checkpoint: {where}: cannot be read: it is none of farm train; delete it")
    content = cast("dict[str, Any]", loaded)
    if sum(one.numel() * one.element_size() for one in _tensors(content)) > most:
        raise CheckpointError(too_large(where))
    if content.get("schema") != SCHEMA:
        raise CheckpointError(
            f"checkpoint: {where}: of version {content.get('schema')}, not {SCHEMA}; go on with the farm that made it"
        )
    return content


def too_large(where: str) -> str:
    """What is said of bytes that are not read."""
    return (
        f"checkpoint: {where}: is larger than any of this configuration; restore the one that made it, or train into "
        "another folder"
    )


def _tensors(held: object) -> Iterator[Tensor]:
    """All tensors in plain containers, each as often as it is held."""
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, dict):
        for one in cast("dict[object, object]", held).values():
            yield from _tensors(one)
    elif isinstance(held, (list, tuple)):
        for one in cast("list[object]", held):
            yield from _tensors(one)
