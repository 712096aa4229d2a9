"""What a training starts from: files, models of the table, or nothing. `farm models fetch` fetches, this room never."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from farm.errors import ModelError, UsageError
from farm.fetch import ensure_file, folders, locate, verify
from farm.training.config import TrainConfig, is_weight_file
from sr_kernel.models import MODELS, find_model
from sr_kernel.train.lpips import Lpips
from sr_kernel.train.networks import weight_shapes
from sr_kernel.train.plan import NetworkPlan
from sr_kernel.train.state import Start
from sr_kernel.weights import WeightsError, load_state

NONE = "none"
ALEXNET = MODELS["alexnet"]
"""what LPIPS compares with"""
_LINEAR = "weights/v0.1/alex.pth"
"""what LPIPS counts, in the package lpips"""
_OFFICIAL = NetworkPlan()
"""RRDBNet x4, the only network whose published start is known"""


def start_of(config: TrainConfig) -> str:
    """What the network starts from; where nobody says, as published: from ESRGAN, then from stage net. Other networks
    start stage net fresh.

    Raises ModelError for stage gan of such a network, whose stage net only who trains it can name.
    """
    if config.start:
        return config.start
    stage = config.plan.stage
    if config.plan.network == _OFFICIAL:
        return "esrgan-df2kost" if stage == "net" else "net-x4plus"
    if stage == "net":
        return NONE
    raise ModelError(
        "train: stage gan goes on from stage net, which of this network is not published; name its weights by "
        "--from FILE, or start from random ones by --from none"
    )


def start_in_words(config: TrainConfig) -> str:
    """What a training that begins is said to start from. Raises ModelError as `start_of` does."""
    network = f"starts from {_in_words(start_of(config))}"
    if config.plan.stage == "net":
        return network
    return f"{network}, its discriminator from {_in_words(config.opponent or NONE)}"


def _in_words(named: str) -> str:
    return "random weights" if named == NONE else named


def load_start(
    config: TrainConfig,
    weights_dir: str | None = None,
    *,
    resumed: bool = False,
    said: Callable[[str], None] | None = None,
) -> Start:
    """The weights of a configuration, on the CPU: averaged ones where a file has them, but for those of the network
    where `start_key` names others. A training that is resumed has all but those of VGG19 already. `said` hears what
    does not fit, where that is allowed.

    Raises ModelError, which says how to get what is missing.
    """
    network = average = None
    if not resumed:
        average = network = _begun(config, weights_dir, "", said)
        if config.start_key:
            network = _begun(config, weights_dir, config.start_key, None)
    opponent = None
    if config.plan.stage == "gan" and not resumed:
        opponent = _load(config.opponent or NONE, weights_dir, "--net-d none")
    vgg = _load(config.perceptual, weights_dir, "--perceptual none") if config.plan.losses.perceptual else None
    return Start(network=network, average=average, opponent=opponent, vgg=vgg, whole=config.strict)


def _begun(
    config: TrainConfig, weights_dir: str | None, first: str, said: Callable[[str], None] | None
) -> dict[str, Tensor] | None:
    """What a network begins with; None for random weights."""
    found = _load(start_of(config), weights_dir, "--from none", first)
    return found if found is None or config.strict else _fitting(config, found, said)


def _fitting(config: TrainConfig, found: dict[str, Tensor], said: Callable[[str], None] | None) -> dict[str, Tensor]:
    """What the network has under the same name in the same shape. Raises ModelError where that is nothing."""
    wanted = weight_shapes(config.plan.network)
    fits = {name: one for name, one in found.items() if wanted.get(name) == one.shape}
    if not fits:
        raise ModelError(f"model {start_of(config)}: no tensor of it fits the network; name weights of its kind")
    if said is not None and len(fits) < max(len(found), len(wanted)):
        said(
            f"of {len(found)} tensors of {start_of(config)} {len(found) - len(fits)} do not fit and are left; "
            f"{len(wanted) - len(fits)} of the network's {len(wanted)} are random"
        )
    return fits


def _load(named: str, weights_dir: str | None, without: str, first: str = "") -> dict[str, Tensor] | None:
    if named == NONE:
        return None
    try:
        return load_state(_path(named, weights_dir, without), None, first)
    except WeightsError as error:
        raise ModelError(str(error)) from error


def _path(named: str, weights_dir: str | None, without: str) -> Path:
    if is_weight_file(named):
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


def load_lpips(named: str, weights_dir: str | None, said: Callable[[str], None]) -> Lpips | None:
    """The measure of a validation, on the CPU; None where it is not wanted, or where `auto` has found something
    missing, which is said then.

    Raises UsageError without the package lpips and ModelError without AlexNet where it is asked for, and ModelError for
    weights that are not right.
    """
    if named == NONE:
        return None
    linear = _linear_of_lpips()
    path = ensure_file(named) if is_weight_file(named) else locate(ALEXNET, weights_dir)
    if linear is None:
        missing = UsageError(
            "the package lpips is not installed; pip install --no-deps lpips (only its weights are read)"
        )
    elif path is None:
        looked = ", ".join(str(folder) for folder in folders(weights_dir))
        missing = ModelError(f"{ALEXNET.file} is not in {looked}; fetch it with `farm models fetch {ALEXNET.name}`")
    else:
        if not is_weight_file(named):
            verify(ALEXNET, path)
        return _lpips_of(path, linear)
    if named == "auto":
        said(f"validation goes without LPIPS: {missing}")
        return None
    raise type(missing)(f"validation.lpips: {missing}, or set it to none")


def _lpips_of(alexnet: Path, linear: Path) -> Lpips:
    try:
        return Lpips(load_state(alexnet, None), load_state(linear, None))
    except ValueError as error:
        raise ModelError(f"validation.lpips: {error}") from error


def _linear_of_lpips() -> Path | None:
    """The file of the package, which itself is not imported: it would bring torchvision, which would fetch AlexNet."""
    found = importlib.util.find_spec("lpips")
    paths = [Path(folder, _LINEAR) for folder in (found and found.submodule_search_locations) or ()]
    return next((path for path in paths if path.is_file()), None)
