"""Weight files of the networks that restore faces: seeded ones of the official shapes, and upstream's use of them.

Only detectors that were trained are of use: a seeded one finds faces everywhere.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sr_kernel.faces.basicsr_import import mend_torchvision
from sr_kernel.faces.detect import Detector
from sr_kernel.faces.networks import FaceFile, load_detector
from sr_kernel.faces.parse import Parser
from sr_kernel.faces.restore import Generator
from sr_kernel.faces.restorer import FaceFiles, FaceRestorer

from .outside import data_folder

DETECTOR_FILE = "detection_mobilenet0.25_Final.pth"
PARSER_FILE = "parsing_parsenet.pth"


@dataclass(frozen=True, kw_only=True)
class SeededFaces:
    """A folder with GFPGAN, a parser and a real detector, under the names that facexlib looks for."""

    folder: Path
    gfpgan: Path

    @property
    def parser(self) -> Path:
        return self.folder / PARSER_FILE

    @property
    def files(self) -> FaceFiles:
        return FaceFiles(
            model=face_file(self.gfpgan),
            detector=face_file(self.folder / DETECTOR_FILE),
            detector_kind="mobile0.25",
            parser=face_file(self.parser),
        )


def face_file(path: Path) -> FaceFile:
    return FaceFile(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def save_seeded(folder: Path, seed: int = 3) -> SeededFaces:
    """Seeded files of the official shapes, and the real small detector."""
    torch.save({"params_ema": new_gfpgan(seed=seed).state_dict()}, folder / "GFPGANv1.3.pth")
    torch.save(new_parser(seed=seed).state_dict(), folder / PARSER_FILE)
    os.symlink(data_folder() / "weights" / DETECTOR_FILE, folder / DETECTOR_FILE)
    return SeededFaces(folder=folder, gfpgan=folder / "GFPGANv1.3.pth")


def new_gfpgan(*, narrow: float = 1, seed: int = 3) -> nn.Module:
    """The network of GFPGAN v1.3, or a narrower one that is as fast as tests need it.

    Every layer adds noise, whose weights are 0 in a network that nobody has trained: here they are not.
    """
    mend_torchvision()
    torch.manual_seed(seed)
    network = importlib.import_module("gfpgan.archs.gfpganv1_clean_arch").GFPGANv1Clean(
        out_size=512,
        num_style_feat=512,
        channel_multiplier=2,
        fix_decoder=False,
        input_is_latent=True,
        different_w=True,
        narrow=narrow,
        sft_half=True,
    )
    noises = [p for name, p in network.named_parameters() if "style_conv" in name and p.shape == (1,)]
    assert len(noises) == 15
    with torch.no_grad():
        for weight in noises:
            weight.fill_(0.1)
    return network.eval()


def new_parser(*, channels: tuple[int, int] = (32, 256), seed: int = 3) -> nn.Module:
    """A parser that names several parts of a face: of one that is merely seeded one class wins everywhere.

    The release has 32 to 256 channels, and 64 behind its first layer.
    """
    torch.manual_seed(seed)
    parser = importlib.import_module("facexlib.parsing.parsenet").ParseNet(
        in_size=512, out_size=512, parsing_ch=19, base_ch=min(64, channels[1]), ch_range=list(channels)
    )
    parser.eval()
    with torch.no_grad():
        coarse = torch.rand(1, 3, 8, 8) * 2 - 1
        means = parser(nn.functional.interpolate(coarse, 512, mode="bilinear"))[0].mean((0, 2, 3))
        parser.out_mask_conv.conv2d.bias -= means
    return parser


def small_restorer(detector_file: Path | None = None) -> FaceRestorer:
    """With the real small detector and narrow seeded networks."""
    at = torch.device("cpu")
    path = detector_file or data_folder() / "weights" / DETECTOR_FILE
    detector = Detector(load_detector(face_file(path), "mobile0.25", at), at)
    return FaceRestorer(detector, Generator(new_gfpgan(narrow=1 / 16), at), Parser(new_parser(channels=(4, 8)), at), at)


class Upstream:
    """gfpgan's GFPGANer with the same files, a small detector and the noise of the file."""

    def __init__(self, seeded: SeededFaces) -> None:
        mend_torchvision()
        helper = importlib.import_module("facexlib.utils.face_restoration_helper").FaceRestoreHelper
        made = importlib.import_module("gfpgan.utils").GFPGANer
        self.gfpganer: Any = made.__new__(made)
        network = new_gfpgan()
        network.load_state_dict(torch.load(seeded.gfpgan, weights_only=True)["params_ema"])
        network.eval()

        def quiet(x: torch.Tensor, **options: Any) -> Any:
            return network(x, **options, randomize_noise=False)

        self.gfpganer.gfpgan = quiet
        self.gfpganer.device = torch.device("cpu")
        self.gfpganer.face_helper = helper(
            1,
            face_size=512,
            det_model="retinaface_mobile0.25",
            use_parse=True,
            device=torch.device("cpu"),
            model_rootpath=str(seeded.folder),
        )

    def enhance(
        self, bgr: NDArray[Any], background: NDArray[Any], scale: float, *, only_center: bool = False
    ) -> tuple[list[NDArray[Any]], list[NDArray[Any]], NDArray[Any]]:
        """Crops, restored faces and the picture, all BGR."""

        class Given:
            def enhance(self, _: NDArray[Any], outscale: float) -> tuple[NDArray[Any], None]:
                return background, None

        self.gfpganer.upscale = scale
        self.gfpganer.bg_upsampler = Given()
        self.gfpganer.face_helper.set_upscale_factor(scale)
        return self.gfpganer.enhance(bgr, only_center_face=only_center)


def bgr(rgb: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(rgb[:, :, ::-1])
