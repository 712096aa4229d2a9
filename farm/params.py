"""The parameters of what is restored: everything that decides its bytes, and how that is hashed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from hashlib import sha256

from farm.face import FaceParams
from farm.film import ALLOWANCES, FilmPlan, VideoParams
from farm.sample import PrepareParams

PIXEL_EPOCH = 1
"""Part of every identity. Raise it when a change of ours gives other bytes for the same parameters (a network, the
resampling, the alpha rule, an encoder setting, a libvips whose encoder writes differently), so that finished outputs
are made again instead of being taken for what the new code would have made."""
FILM_EPOCH = 2
"""Films have both: raise it when what a film is beside its pictures changes."""
FUSED_EPOCH = 1
"""What fused kernels make has this too: raise it when they give other bytes. None of the three is ever lowered."""
_NO_BYTES = frozenset({"max_pixels_in", "max_pixels_out", "niqe", "suspect", "salvage"})
"""Parameters that only refuse, or only measure: a picture made under one limit is the same under another. So it is with
`salvage` and the ALLOWANCES of films, of which the ledger remembers where they made a difference
(`farm.entries.suffices`), and of suspect outputs it remembers that they are (`farm.entries.suspect_stands`). What is
done without NIQE stays so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpscaleParams:
    """Everything that decides the bytes of one restored picture or film; hashed into the item's identity."""

    model: str
    """name in the table, or `file:NAME` for a weight file given by path"""
    model_sha256: str
    denoise: float
    """0..1, weight of the general model against its denoise partner; 1 means the model alone"""
    scale: int
    """the network's own scale"""
    halo_px: int
    align_px: int
    whole_body: bool
    outscale: float
    resize: str
    """lanczos (antialiased, before rounding) or official (Lanczos4, after rounding)"""
    alpha: str
    """model or lanczos: what restores the alpha channel"""
    precision: str
    """fp16, bf16 or fp32, for 8-bit sources"""
    precision_16bit: str
    """fp16, bf16 or fp32, for sources of more than 8 bits"""
    device_class: str
    """cuda or cpu; identity of bytes is promised within one class"""
    batch: int
    """windows a forward pass; fixed shape on a GPU, where short batches are filled up"""
    tile_px: int
    exact_px: int
    band_px: int
    """pictures with more source pixels than this are split into bands; part of the identity of bounded results"""
    format: str
    """png, jpg, webp, tiff or avif; of a film its container, of a sequence the format of its pictures"""
    quality: int
    """1..100 for jpg, webp and avif, where 100 means lossless for the last two; 0 for formats that have none"""
    stamp: bool
    """whether model, parameters and version are written into the output as XMP"""
    pages: str
    """first or refuse: what to do with a source of several pages or frames"""
    max_pixels_in: int
    max_pixels_out: int
    pixel_epoch: int
    """raised whenever the code would give other bytes for the same parameters"""
    video: VideoParams | None = None
    """of films only"""
    size: tuple[int, int] | None = None
    """asked width and height instead of `outscale`, which is then 0"""
    fit: str = "contain"
    """contain, cover or stretch: how `size` is met"""
    max_side: int = 0
    """longest side of the output; 0: any"""
    passes: int = 1
    """times at most that the network is run, one pass over what the one before made; see farm.target"""
    light: str = "gamma"
    """gamma or linear: in what resampling averages"""
    tta: bool = False
    """mean over eight flips and turns"""
    keep_colour: bool = False
    """low frequencies of the source are kept"""
    face: FaceParams | None = None
    kernel: str = "plain"
    """plain, or fused: kernels for GPUs of capability 9, in half precision"""
    niqe: bool = False
    """whether NIQE is computed; decides no byte"""
    suspect: str = "publish"
    """publish or refuse: what becomes of outputs that are not believable; decides no byte"""
    origin_px: int = 1
    """windows start at multiples of this"""
    salvage: bool = False
    """of pictures: publish what a cut or damaged file still holds; decides no byte of what is whole"""

    @property
    def allowances(self) -> tuple[str, ...]:
        """What the output may lack: of a picture `salvage` or nothing, of a film what it says itself."""
        if self.video is not None:
            return self.video.allowances
        return ("salvage",) if self.salvage else ()

    @property
    def lacks(self) -> tuple[str, ...]:
        """What an output may lack that was published only because of its allowances."""
        return self.allowances

    @property
    def resident(self) -> str:
        """Parts of equal ones can share a unit and a resident model."""
        return f"{self.model_sha256}/{self.denoise:g}/{self.kernel}"


Params = UpscaleParams | PrepareParams


def canonical_text(params: Params) -> str:
    """The parameters that decide bytes as JSON, fields sorted, without spaces: what is hashed."""
    if isinstance(params, PrepareParams):
        return json.dumps(asdict(params), sort_keys=True, separators=(",", ":"))
    # What has a default came later, and its default is what was before: outputs made without it stay done.
    plain = {field.name: field.default for field in fields(params)}
    deciding = {name: value for name, value in asdict(params).items() if name not in _NO_BYTES and value != plain[name]}
    if params.video is not None:
        deciding["video"] = {name: value for name, value in deciding["video"].items() if name not in ALLOWANCES}
    return json.dumps(deciding, sort_keys=True, separators=(",", ":"))


def params_hash(params: Params) -> str:
    """What an item with these parameters carries as its `params_hash`."""
    return text_digest(canonical_text(params))


def text_digest(text: str) -> str:
    """128 bits of SHA-256, in hexadecimal."""
    return sha256(text.encode()).hexdigest()[:32]


def restored_as_pictures(film: FilmPlan, params: UpscaleParams) -> bool:
    """Whether each frame of a film is restored as a picture is, for its alpha or faces: then nobody measures how much
    frames change."""
    return bool(film.source.alpha or params.face)
