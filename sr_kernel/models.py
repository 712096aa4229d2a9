"""The table of known models: one row a model, other programs' names of them, and how rows are found. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Literal

Arch = Literal["rrdb", "srvgg", "unet", "vgg", "gfpgan", "retinaface", "parsenet", "foreign"]
Role = Literal["restore", "train", "face"]

BODY_PX_BYTES: Mapping[str, int] = MappingProxyType({"fp32": 1600, "half": 800})
"""bytes a source pixel that an RRDB body of 64 features holds at its widest"""
CANVAS_PX_BYTES = 12
"""bytes an output pixel of an RRDB network whose whole output is held, for turns or kept colours"""
BOX = "box"
"""the model whose file ships with this package"""
DATA_FOLDER = Path(__file__).parent / "data"
"""where that file lies"""
FILE_PREFIX = "file:"
"""of the names of models that are given as weight files"""
_RELEASES = "https://github.com/xinntao/Real-ESRGAN/releases/download/"
_GFPGAN = "https://github.com/TencentARC/GFPGAN/releases/download/"
_FACEXLIB = "https://github.com/xinntao/facexlib/releases/download/"
_LICENCE = "BSD-3-Clause"
SEES_ALL_PX = 1 << 20
"""halo of networks that see all of what they are given: attention, means"""
_TAIL_RADIUS_PX = 2
"""context of the RRDB tail in pixels of the body: two nearest x2, four 3x3 convolutions"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model: which network it is, and the file that holds its weights."""

    name: str
    """the farm's name, or `file:STEM` for a weight file given by path"""
    official: str
    """name of the release; the stem of its file"""
    arch: Arch
    """unet: a discriminator; vgg: features that training compares; the last three find, restore and parse faces"""
    scale: int
    """1, 2, 3, 4, ...: side of the output over side of the input"""
    features: int
    """channels of the hidden layers"""
    blocks: int
    """RRDB blocks, or hidden convolutions of SRVGGNetCompact"""
    growth: int
    """channels that each convolution of an RRDB dense block adds; 0 for other networks"""
    halo_px: int
    """exact context radius in source pixels: what lies further away cannot change a pixel"""
    align_px: int
    """sides of the input must be multiples of this (pixel-unshuffle); smaller inputs are reflected"""
    whole_body: bool
    """the body is run on the whole picture where that fits"""
    file: str
    url: str
    """where the release file lies; empty where no release has it, and for a file given by path"""
    bytes: int
    """size of the file; 0 when not known"""
    sha256: str
    """hex digest of the file; empty when not known"""
    digest_start: str = ""
    """first hex digits of the digest, as the name of the release file says them, where no more is known"""
    licence: str
    confirmed: bool
    """the digest was seen in more than one independent source"""
    partner: str | None = None
    """name of the model that `denoise` below 1 mixes in"""
    denoise: float = 1.0
    """strength where none is asked for; 0.5 of general-x4v3 is upstream's default"""
    role: Role = "restore"
    """what the file is good for: to restore pictures, to train with, or as a part of restoring faces"""
    network: str = ""
    """of foreign rows: spandrel's name of the architecture"""
    origin_px: int = 1
    """windows start at multiples of this: the sides of a transformer's attention windows"""
    fp16: bool = True
    """whether the network can be computed in this precision"""
    bf16: bool = True
    params: int = 0
    """parameters, and"""
    flop_px: int = 0
    """operations a source pixel; of foreign networks, which no formula of ours counts"""

    @property
    def train_only(self) -> bool:
        return self.role == "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """What another program calls a model, and the scale that it means by that."""

    name: str
    model: str
    """name of the model's row"""
    outscale: float | None = None
    """final scale where nobody asks for one; None: the model's own"""


def radius_px(arch: Arch, blocks: int, align_px: int) -> int:
    """Exact context radius in source pixels.

    SRVGG: one pixel a 3x3 convolution, of which there are `blocks` + 2. RRDB: 15 convolutions a block, one before and
    one after the body, and the tail; times `align_px` where the body works on unshuffled pixels.
    """
    if arch == "srvgg":
        return blocks + 2
    return (15 * blocks + 2 + _TAIL_RADIUS_PX) * align_px


def has_fused_kernels(spec: ModelSpec) -> bool:
    """Whether `sr_kernel.fused` has kernels for a network: those of the family have the sizes that it is made for."""
    if spec.arch == "srvgg":
        return spec.features == 64 and 3 * spec.scale**2 <= 64
    return spec.arch == "rrdb" and spec.features == 64 and spec.growth == 32 and spec.blocks > 0


def rrdb_align_px(scale: int) -> int:
    """Side of the pixel block that RRDBNet unshuffles into channels: its tail always enlarges four times."""
    return {4: 1, 2: 2, 1: 4}[scale]


def _rrdb(name: str, tail: str, *, scale: int, blocks: int, size: int, sha256: str) -> ModelSpec:
    align = rrdb_align_px(scale)
    return ModelSpec(
        name=name,
        official=PurePath(tail).stem,
        arch="rrdb",
        scale=scale,
        features=64,
        blocks=blocks,
        growth=32,
        halo_px=radius_px("rrdb", blocks, align),
        align_px=align,
        whole_body=True,
        file=PurePath(tail).name,
        url=_RELEASES + tail,
        bytes=size,
        sha256=sha256,
        licence=_LICENCE,
        confirmed=True,
    )


def _srvgg(name: str, tail: str, *, convs: int, size: int, sha256: str, partner: str | None = None) -> ModelSpec:
    return ModelSpec(
        name=name,
        official=PurePath(tail).stem,
        arch="srvgg",
        scale=4,
        features=64,
        blocks=convs,
        growth=0,
        halo_px=radius_px("srvgg", convs, 1),
        align_px=1,
        whole_body=False,
        file=PurePath(tail).name,
        url=_RELEASES + tail,
        bytes=size,
        sha256=sha256,
        licence=_LICENCE,
        confirmed=True,
        partner=partner,
        denoise=0.5 if partner else 1.0,
    )


def _part(
    name: str, url: str, arch: Arch, role: Role, *, size: int = 0, sha256: str = "", licence: str = _LICENCE
) -> ModelSpec:
    """A file that no picture is restored with alone."""
    return ModelSpec(
        name=name,
        official=PurePath(url).stem,
        arch=arch,
        scale=1,
        features=0,
        blocks=0,
        growth=0,
        halo_px=0,
        align_px=1,
        whole_body=False,
        file=PurePath(url).name,
        url=url,
        bytes=size,
        sha256=sha256,
        licence=licence,
        confirmed=bool(sha256),
        role=role,
    )


_ROWS = (
    replace(
        _srvgg(
            BOX,
            "box.safetensors",
            convs=10,
            size=924_704,
            sha256="856f9262f5dfadbecc1f00f4888a6c4044cd2b9dd6d5981bd9c9a20e8ad1ad64",
        ),
        features=48,
        url="",
        licence="Apache-2.0",
    ),
    _rrdb(
        "x4plus",
        "v0.1.0/RealESRGAN_x4plus.pth",
        scale=4,
        blocks=23,
        size=67_040_989,
        sha256="4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
    ),
    _rrdb(
        "net-x4plus",
        "v0.1.1/RealESRNet_x4plus.pth",
        scale=4,
        blocks=23,
        size=67_040_989,
        sha256="a820b9bde89a874d7599d545567308ce6c128fc8754a53208eda016d40aa81df",
    ),
    _rrdb(
        "x2plus",
        "v0.2.1/RealESRGAN_x2plus.pth",
        scale=2,
        blocks=23,
        size=67_061_725,
        sha256="49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
    ),
    _rrdb(
        "x4plus-anime",
        "v0.2.2.4/RealESRGAN_x4plus_anime_6B.pth",
        scale=4,
        blocks=6,
        size=17_938_799,
        sha256="f872d837d3c90ed2e05227bed711af5671a6fd1c9f7d7e91c911a61f155e99da",
    ),
    _srvgg(
        "animevideov3",
        "v0.2.5.0/realesr-animevideov3.pth",
        convs=16,
        size=2_504_012,
        sha256="b8a8376811077954d82ca3fcf476f1ac3da3e8a68a4f4d71363008000a18b75d",
    ),
    _srvgg(
        "general-x4v3",
        "v0.2.5.0/realesr-general-x4v3.pth",
        convs=32,
        size=4_885_111,
        sha256="8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292",
        partner="general-wdn-x4v3",
    ),
    _srvgg(
        "general-wdn-x4v3",
        "v0.2.5.0/realesr-general-wdn-x4v3.pth",
        convs=32,
        size=4_885_111,
        sha256="1641f8c4464b9f097c9fdda5589273713f67cf59f3d909e0bd688f0cee269dca",
    ),
    replace(
        _rrdb("esrgan-x4", "RRDB_ESRGAN_x4.pth", scale=4, blocks=23, size=0, sha256=""),
        url="",  # its authors give it from folders of their own; its keys have ESRGAN's older names
        licence="Apache-2.0",
        confirmed=False,
    ),
    replace(
        _rrdb(
            "esrgan-df2kost",
            "v0.1.1/ESRGAN_SRx4_DF2KOST_official-ff704c30.pth",
            scale=4,
            blocks=23,
            size=0,
            sha256="",
        ),
        digest_start="ff704c30",
        confirmed=False,
        role="train",
    ),
    replace(_part("x4plus-netd", _RELEASES + "v0.2.2.3/RealESRGAN_x4plus_netD.pth", "unet", "train"), features=64),
    replace(_part("x2plus-netd", _RELEASES + "v0.2.2.3/RealESRGAN_x2plus_netD.pth", "unet", "train"), features=64),
    _part(
        "vgg19",
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        "vgg",
        "train",
        size=574_673_361,
        sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
    ),
    _part(
        "alexnet",
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "vgg",
        "train",
        size=244_408_911,
        sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        licence="BSD-3-Clause",
    ),
    _part(
        "gfpgan-1.3",
        _GFPGAN + "v1.3.0/GFPGANv1.3.pth",
        "gfpgan",
        "face",
        size=348_632_874,
        sha256="c953a88f2727c85c3d9ae72e2bd4846bbaf59fe6972ad94130e23e7017524a70",
        licence="Apache-2.0",
    ),
    _part(
        "gfpgan-1.4",
        _GFPGAN + "v1.3.0/GFPGANv1.4.pth",
        "gfpgan",
        "face",
        size=348_632_874,
        sha256="e2cd4703ab14f4d01fd1383a8a8b266f9a5833dacee8e6a79d3bf21a1b6be5ad",
        licence="Apache-2.0",
    ),
    _part(
        "face-detector-resnet50",
        _FACEXLIB + "v0.1.0/detection_Resnet50_Final.pth",
        "retinaface",
        "face",
        size=109_497_761,
        sha256="6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
        licence="MIT",
    ),
    # No digest: copies of the same size with two different ones are about.
    _part(
        "face-detector-mobile0.25",
        _FACEXLIB + "v0.1.0/detection_mobilenet0.25_Final.pth",
        "retinaface",
        "face",
        size=1_789_735,
        licence="MIT",
    ),
    _part(
        "face-parser",
        _FACEXLIB + "v0.2.2/parsing_parsenet.pth",
        "parsenet",
        "face",
        size=85_331_193,
        sha256="3d558d8d0e42c20224f13cf5a29c79eba2d59913419f945545d8cf7b72920de2",
        licence="MIT",
    ),
)

_ALIASES = (
    # realesrgan-ncnn-vulkan, whose files of animevideov3 are one network a scale
    Alias(name="realesr-animevideov3-x2", model="animevideov3", outscale=2),
    Alias(name="realesr-animevideov3-x3", model="animevideov3", outscale=3),
    Alias(name="realesr-animevideov3-x4", model="animevideov3", outscale=4),
    Alias(name="realesrgan-x4plus", model="x4plus"),
    Alias(name="realesrgan-x4plus-anime", model="x4plus-anime"),
    Alias(name="realesrnet-x4plus", model="net-x4plus"),
    Alias(name="realesrgan-x2plus", model="x2plus"),
)

MODELS: Mapping[str, ModelSpec] = MappingProxyType({row.name: row for row in _ROWS})
"""every known model by the farm's name, in the order in which a list shows them"""


ALIASES: Mapping[str, Alias] = MappingProxyType({alias.name: alias for alias in _ALIASES})
"""what other programs call models, by that name"""


def find_model(name: str) -> ModelSpec | None:
    """The row of a farm name, an official name, the name of a release file, or an alias; None when there is none."""
    if name in MODELS:
        return MODELS[name]
    if name in ALIASES:
        return MODELS[ALIASES[name].model]
    return next((row for row in _ROWS if name in (row.official, row.file)), None)


def flop_per_px(spec: ModelSpec) -> int:
    """Floating-point operations a source pixel: two for each product of every 3x3 convolution.

    SRVGG: convolutions at the source's size. RRDB: five a dense block, three blocks an RRDB, and a tail of two
    convolutions at twice and three at four times the body's size, which is the source's over `align_px`.
    """
    if spec.flop_px:
        return spec.flop_px
    f = spec.features
    if spec.arch == "srvgg":
        return 18 * (3 * f + spec.blocks * f * f + f * 3 * spec.scale**2)
    g = spec.growth
    dense = sum((f + i * g) * (g if i < 4 else f) for i in range(5))
    unshuffled = 3 * spec.align_px**2
    body = unshuffled * f + 3 * spec.blocks * dense + f * f
    tail = 4 * f * f + 16 * (f * f + f * f + 3 * f)
    return 18 * (body + tail) // spec.align_px**2
