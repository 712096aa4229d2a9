"""Flags that say what is done with pictures and frames beyond the model's own work."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from farm.config import FITS, KERNELS, LIGHTS, SUSPECTS, FaceConfig, FidelityConfig
from farm.errors import UsageError
from farm.face import FACE_DETECTORS, FACE_MODELS

Command = TypeVar("Command", bound=Callable[..., Any])
MODEL_FIELDS = ("models", "size", "fit", "max_side", "light", "tta", "keep_colour", "kernel")
"""of ModelConfig, which are among `restore_options`"""


class Size(click.ParamType["tuple[int, int] | None"]):
    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int] | None:
        if value is None or isinstance(value, tuple):
            return value  # pyright: ignore[reportUnknownVariableType]
        found = re.fullmatch(r"(\d{1,6})[xX](\d{1,6})", str(value))
        if found is None:
            self.fail(f"{value!r} is no size such as 3840x2160", param, ctx)
        return int(found[1]), int(found[2])


def restore_options(command: Command) -> Command:
    """What `restore_fields`, `face_config` and `fidelity_config` take."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def restore_fields(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of ModelConfig."""
    if flags["models"] and not flags["models"].strip(", "):
        raise UsageError(f"--models: {flags['models']!r} names no model; see `farm models`")
    names = tuple(part.strip() for part in flags["models"].split(",") if part.strip())
    return {name: flags[name] for name in MODEL_FIELDS} | {"models": names}


def face_config(flags: Mapping[str, Any]) -> FaceConfig:
    return FaceConfig(
        enhance=flags["face_enhance"],
        model=flags["face_model"],
        strength=flags["face_strength"],
        only_center=flags["face_only_center"],
        detector=flags["face_detector"],
        parser=flags["face_parser"],
    )


def fidelity_config(flags: Mapping[str, Any]) -> FidelityConfig:
    return FidelityConfig(niqe=flags["niqe"], suspect=flags["suspect"])


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--models", default="", metavar="A,B,...", help="Several models, each of which restores every row."),
    click.option("--size", type=Size(), help="Final size instead of --outscale, such as 3840x2160."),
    click.option("--fit", type=click.Choice(FITS), default="contain", show_default=True, help="How --size is met."),
    click.option("--max-side", type=int, default=0, show_default=True, help="Longest side of outputs; 0: any."),
    click.option("--light", type=click.Choice(LIGHTS), default="gamma", show_default=True, help="Light of resampling."),
    click.option("--tta", is_flag=True, help="Mean over eight flips and turns: eight times the work."),
    click.option("--keep-colour", is_flag=True, help="Keep the source's low frequencies, so that colours stay."),
    click.option(
        "--kernel", type=click.Choice(KERNELS), default="auto", show_default=True, help="How networks run on a GPU."
    ),
    click.option("--face-enhance", is_flag=True, help="Restore faces with GFPGAN (extra `face`)."),
    click.option(
        "--face-model",
        default=FACE_MODELS[0],
        show_default=True,
        metavar="NAME|FILE",
        help=f"{' or '.join(FACE_MODELS)}, or a .pth file of the same network.",
    ),
    click.option("--face-strength", type=float, default=1.0, show_default=True, help="0 to 1, blend of the faces."),
    click.option("--face-only-center", is_flag=True, help="Only the face nearest to the middle."),
    click.option(
        "--face-detector",
        type=click.Choice(FACE_DETECTORS),
        default=FACE_DETECTORS[0],
        show_default=True,
        help="What finds faces.",
    ),
    click.option(
        "--face-parser", default="", metavar="FILE", help="Weights that parse faces instead of the release's."
    ),
    click.option("--niqe", is_flag=True, help="Compute NIQE of every picture."),
    click.option(
        "--suspect",
        type=click.Choice(SUSPECTS),
        default="publish",
        show_default=True,
        help="Outputs that are not believable, also in fp32.",
    ),
)
