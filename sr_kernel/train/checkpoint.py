"""A state as bytes and back: everything that the following iterations depend on, so that the curve goes on as it would.

Nothing of a step is drawn at random: which samples a batch holds is a function of the iteration. The generators' states
are kept for networks that will draw, and so that a checkpoint says all.
"""

from __future__ import annotations

import io
from typing import Any, cast

import torch

from sr_kernel.train.state import TrainState

SCHEMA = 1


class CheckpointError(ValueError):
    """Bytes that are no checkpoint, or one of another training."""


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

    Raises CheckpointError: no checkpoint, of a later version, or of a training with another fingerprint.
    """
    content = read_checkpoint(data, where)
    if content["fingerprint"] != fingerprint:
        raise CheckpointError(
            f"checkpoint: {where}: was made under another configuration; restore that, or train into another folder"
        )
    state.iteration = content["iteration"]
    state.network.load_state_dict(content["network"])
    state.optimiser.load_state_dict(content["optimiser"])
    state.scaler.load_state_dict(content["scaler"])
    torch.set_rng_state(content["random"])
    if state.plan.ema:
        state.average.load_state_dict(content["average"])
    if state.opponent is not None:
        state.opponent.network.load_state_dict(content["opponent"])
        state.opponent.optimiser.load_state_dict(content["opponent_optimiser"])
    if state.device.type == "cuda" and "random_cuda" in content:
        torch.cuda.set_rng_state(content["random_cuda"], state.device)


def read_checkpoint(data: bytes, where: str) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU; nothing in it is run. Raises CheckpointError."""
    try:
        loaded: object = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the parser raise anything
        kind = type(error).__name__
        raise CheckpointError(f"checkpoint: {where}: cannot be read ({kind}); delete it, or restore it") from error
    content = cast("dict[str, Any]", loaded) if isinstance(loaded, dict) else {}
    if content.get("schema") != SCHEMA:
        raise CheckpointError(
            f"checkpoint: {where}: of version {content.get('schema')}, not {SCHEMA}; go on with the farm that made it"
        )
    return content
