"""What a training starts from: files, models of the table, or nothing. `farm models fetch` fetches, this room never."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from farm.errors import ModelError
from farm.fetch import ensure_file, folders, locate, verify
from farm.kinds import extension_of
from farm.training.config import TrainConfig
from farm.training.read import WEIGHT_FILES
from sr_kernel.models import find_model
from sr_kernel.train.plan import NetworkPlan
from sr_kernel.train.state import Start
from sr_kernel.weights import WeightsError, load_state

NONE = "none"
_OFFICIAL = NetworkPlan()
"""RRDBNet x4, the only network whose published start is known"""


def start_of(config: TrainConfig) -> str:
    """What the network starts from; where nobody says, as published: from ESRGAN, then from stage net."""
    if config.start:
        return config.start
    if config.plan.network != _OFFICIAL:
        return NONE
    return "esrgan-df2kost" if config.plan.stage == "net" else "net-x4plus"


def load_start(config: TrainConfig, weights_dir: str | None = None, *, resumed: bool = False) -> Start:
    """The weights of a configuration, on the CPU: averaged ones where a file has them. A training that is resumed has
    all but those of VGG19 already.

    Raises ModelError, which says how to get what is missing.
    """
    network = None if resumed else _load(start_of(config), weights_dir, "--from none")
    opponent = None
    if config.plan.stage == "gan" and not resumed:
        opponent = _load(config.opponent or NONE, weights_dir, "--net-d none")
    vgg = _load(config.perceptual, weights_dir, "--perceptual none") if config.plan.losses.perceptual else None
    return Start(network=network, average=network, opponent=opponent, vgg=vgg)


def _load(named: str, weights_dir: str | None, without: str) -> dict[str, Tensor] | None:
    if named == NONE:
        return None
    try:
        return load_state(_path(named, weights_dir, without), None)
    except WeightsError as error:
        raise ModelError(str(error)) from error


def _path(named: str, weights_dir: str | None, without: str) -> Path:
    if extension_of(named.partition("#")[0]) in WEIGHT_FILES:
        return ensure_file(named)
    spec = find_model(named)
    if spec is None:
        raise ModelError(f"model {named}: is neither a file nor known; see `farm models`")
    path = locate(spec, weights_dir)
    if path is None:
        looked = ", ".join(str(folder) for folder in folders(weights_dir))
        raise ModelError(
            f"model {spec.name}: {spec.file} is not in {looked}; fetch it with `farm models fetch {spec.name}`, "
            f"or train without it: {without}"
        )
    verify(spec, path)
    return path
