"""RunConfig and its parts: frozen, checked when made. Flags end here."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, time
from fractions import Fraction
from typing import Any

from farm import encoders
from farm.canary_config import CanaryConfig
from farm.checks import at_least, one_of
from farm.errors import UsageError
from farm.face import FACE_DETECTORS, FACE_MODELS
from farm.sample import (
    FORMS,
    OPERATIONS,
    DegradeOptions,
    FramesOptions,
    MetaInfoOptions,
    MultiscaleOptions,
    Options,
    PairsOptions,
    PrepareParams,
    StatsOptions,
    SubimagesOptions,
)
from sr_kernel.degrade.recipe import RECIPES, Recipe
from sr_kernel.degrade.recipe_toml import recipe_to_toml
from sr_kernel.models import BOX

FORMATS = ("same", "png", "jpg", "webp", "tiff", "avif")
PRECISIONS = ("auto", "fp32", "fp16", "bf16")
ALPHAS = ("model", "lanczos")
RESIZES = ("lanczos", "official")
FITS = ("contain", "cover", "stretch")
LIGHTS = ("gamma", "linear")
KERNELS = ("auto", "plain", "fused")
SUSPECTS = ("publish", "refuse")
PAGES = ("refuse", "first", "animation", "video")
CODECS = ("auto", *encoders.CODECS)
FILM_CONTAINERS = ("same", "mp4", "mkv", "mov", "webm", "sequence")
AUDIOS = ("copy", "transcode", "none")
ENCODERS = ("software", "nvenc")
DECODERS = ("software", "nvdec")
MANIFEST_FORMS = ("parquet", "csv", "jsonl", "txt")
MANIFEST_SORTS = ("path", "size", "priority")
SCAN_SORTS = ("path", "size", "mtime", "priority")
FIRSTS = ("manifest", "oldest", "priority")
NAME_FIELDS = ("stem", "model", "scale", "ext", "row")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which network restores, and how exactly."""

    model: str = BOX
    """a name of `farm models`, an official name, or the path of a .pth or .safetensors file"""
    models: tuple[str, ...] = ()
    """several models that each restore every row that names none itself; empty: `model` alone"""
    denoise: float | None = None
    """0..1; below 1 general-x4v3 is mixed with its denoise partner; None: what the model's row says"""
    outscale: float | None = None
    """final scale, any number in 0.25..16; None means the network's own"""
    size: tuple[int, int] | None = None
    """final width and height in pixels instead of a scale, see `fit`"""
    fit: str = "contain"
    """how `size` is met: the largest picture that lies within it, the smallest that covers it, or stretched to it"""
    max_side: int = 0
    """longest side that an output may have; 0: any. Larger ones are made smaller, in proportion"""
    resize: str = "lanczos"
    light: str = "gamma"
    """in what resampling averages: the samples as stored, or linear light (sRGB's curve undone and done again)"""
    tta: bool = False
    """mean over the eight flips and turns of each window: eight times the work"""
    keep_colour: bool = False
    """the source's low frequencies are kept, so that skin and paper do not shift"""
    alpha: str = "model"
    precision: str = "auto"
    kernel: str = "auto"
    """how networks run on a GPU: plain, or fused, for GPUs of capability 9; auto: fused where all GPUs of this machine
    can and no cluster is named"""
    tile_px: int = 0
    """largest kept size of a window, 16..4096 source pixels; 0 means 512 for compact networks on a GPU, else 256"""
    exact_px: int = 4_194_304
    """largest picture whose RRDB body is run whole, in source pixels"""
    band_px: int = 4_194_304
    """pictures above this are split into bands of at most half as many source pixels"""
    batch: int = 0
    """windows a forward pass; 0 means 8 on a GPU and 1 on a CPU"""
    weights_dir: str | None = None

    def __post_init__(self) -> None:
        one_of("resize", self.resize, RESIZES)
        one_of("alpha", self.alpha, ALPHAS)
        one_of("precision", self.precision, PRECISIONS)
        one_of("kernel", self.kernel, KERNELS)
        one_of("fit", self.fit, FITS)
        one_of("light", self.light, LIGHTS)
        if self.size is not None and (self.outscale is not None or min(self.size) < 1):
            found = "contradicts --outscale" if self.outscale is not None else f"{self.size} has an empty side"
            raise UsageError(f"--size: {found}; give a width and a height such as 3840x2160, and no scale")
        at_least("max_side", self.max_side, 0)
        if self.light == "linear" and self.resize == "official":
            raise UsageError(
                "--light: linear contradicts --resize official, which is upstream's arithmetic; leave one out"
            )
        if self.tile_px and not 16 <= self.tile_px <= 4096:
            raise UsageError(f"--tile-px: {self.tile_px} is not in 16..4096")
        if self.denoise is not None and not 0 <= self.denoise <= 1:
            raise UsageError(f"--denoise: {self.denoise} is not in 0..1")
        if self.outscale is not None and not 0.25 <= self.outscale <= 16:
            raise UsageError(f"--outscale: {self.outscale} is not in 0.25..16")
        at_least("exact_px", self.exact_px, 1)
        at_least("band_px", self.band_px, 1)
        at_least("batch", self.batch, 0)

    @property
    def asked(self) -> tuple[str, ...]:
        """The models that restore rows which name none."""
        return self.models or (self.model,)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceConfig:
    """Whether and how faces are restored by a second model."""

    enhance: bool = False
    model: str = FACE_MODELS[0]
    """one of FACE_MODELS, or the path of a .pth file of the same network"""
    strength: float = 1.0
    """0..1, blend of the pasted face"""
    only_center: bool = False
    detector: str = FACE_DETECTORS[0]
    parser: str = ""
    """path of a .pth file that parses faces instead of the release's; empty: the release's"""

    def __post_init__(self) -> None:
        if not self.model.endswith(".pth"):
            one_of("face_model", self.model, FACE_MODELS)
        if self.parser and not self.parser.endswith(".pth"):
            raise UsageError(f"--face-parser: {self.parser} is no .pth file")
        one_of("face_detector", self.detector, FACE_DETECTORS)
        if not 0 <= self.strength <= 1:
            raise UsageError(f"--face-strength: {self.strength} is not in 0..1")


@dataclass(frozen=True, slots=True, kw_only=True)
class FidelityConfig:
    """What is measured of outputs, and what becomes of those that are not believable."""

    niqe: bool = False
    """compute NIQE of every picture, which costs about as much as encoding it"""
    suspect: str = "publish"
    """outputs below a floor, after a second try in fp32: published with a mark, or refused"""

    def __post_init__(self) -> None:
        one_of("suspect", self.suspect, SUSPECTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputConfig:
    """Where outputs go and what they are."""

    out: str | None = None
    """output root; None means farm-out/ beside the manifest"""
    format: str = "same"
    quality: int = 95
    name: str = "{stem}_{scale}x.{ext}"
    stamp: bool = True
    """write model, parameters and farm version into each output as XMP"""

    def __post_init__(self) -> None:
        one_of("format", self.format, FORMATS)
        if not 1 <= self.quality <= 100:
            raise UsageError(f"--quality: {self.quality} is not in 1..100")
        if "/" in self.name or "\\" in self.name:
            raise UsageError(f"--name: {self.name!r} holds a path separator; the input's tree is kept by itself")
        try:
            made = self.name.format(**dict.fromkeys(NAME_FIELDS, "x"))
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            allowed = ", ".join(f"{{{name}}}" for name in NAME_FIELDS)
            raise UsageError(f"--name: {self.name!r} is not a template of {allowed} ({error})") from error
        if not made or made.startswith("."):
            raise UsageError(f"--name: {self.name!r} gives hidden or empty names")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoConfig:
    """What films become."""

    codec: str = "auto"
    """auto: the source's family where it can be encoded, else h264"""
    crf: int | None = None
    """0..63, lower is better and larger; None: the codec's default"""
    preset: str | None = None
    """of the encoder, such as slow; None: the codec's default"""
    pix_fmt: str = "auto"
    """FFmpeg's name of a pixel format; auto keeps depth and chroma"""
    fps: Fraction | None = None
    """frames a second to repeat or leave out frames for; None keeps every frame and its time. Of a numbered sequence
    its rate, 24 unless given"""
    container: str = "same"
    segment_frames: int = 48
    """frames of a segment at most, 2..10000; decides where lossy films have keyframes, so it is part of the identity"""
    audio: str = "copy"
    deinterlace: bool = False
    salvage: bool = False
    """publish what a cut file still holds, a picture or a film, and of a picture that is damaged within"""
    allow_damaged: bool = False
    """publish although frames were damaged, and list them"""
    tag_colours: bool = False
    """write the matrix that was assumed where the source names none: players guess by size, and restoring changes it"""
    encoder: str = "software"
    """software, or nvenc: the GPU's own encoder"""
    decoder: str = "software"
    """software, or nvdec: the GPU's own decoder, which gives the same pixels"""

    def __post_init__(self) -> None:
        one_of("codec", self.codec, CODECS)
        one_of("container", self.container, FILM_CONTAINERS)
        one_of("audio", self.audio, AUDIOS)
        one_of("encoder", self.encoder, ENCODERS)
        one_of("decoder", self.decoder, DECODERS)
        if self.crf is not None and not 0 <= self.crf <= 63:
            raise UsageError(f"--crf: {self.crf} is not in 0..63")
        if not 2 <= self.segment_frames <= 10_000:
            raise UsageError(f"--segment-frames: {self.segment_frames} is not in 2..10000")
        if self.fps is not None and not Fraction(1, 100) <= self.fps <= 1000:
            raise UsageError(f"--fps: {self.fps} is not in 0.01..1000")
        self._check_codec()

    def _check_codec(self) -> None:
        """Raises UsageError for what no film at all could be encoded as; what depends on a film fails with the film."""
        asked = encoders.Asked(
            codec=self.codec,
            container=self.container,
            encoder=self.encoder,
            crf=self.crf,
            preset=self.preset or "",
            pix_fmt=self.pix_fmt,
        )
        if misfit := encoders.contradiction(asked):
            raise UsageError(f"{misfit.option}: {misfit.found}; {misfit.advice}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """How many workers there are and where they run."""

    gpus: int | None = None
    """accelerators to use; 0 means CPU actors; None (auto) means what there is"""
    workers: int | None = None
    """CPU actors; None means one a core"""
    gpu_ids: tuple[int, ...] = ()
    actors_per_gpu: int = 1
    io_threads: int = 0
    """threads of an actor that read, decode, encode and write; 0: as many as its device feeds, see `farm.worker`"""
    address: str | None = None
    """Ray cluster; None means RAY_ADDRESS, else an embedded one"""
    insecure: bool = False
    """use a cluster although it authenticates nobody and can be reached from elsewhere"""
    dashboard: bool = False
    """serve Ray's dashboard while an embedded Ray runs, on loopback; wants the extra `dashboard`"""
    wait_gpus_s: float = 900.0
    """to wait for a cluster's places while no other run of the farm has some there or gets some before"""
    min_gpus: int = 0
    priority: int = 0
    """among the runs that share a cluster: those with a higher one get their workers first"""
    pin_cores: bool | None = None
    """one core a CPU actor; None means: when there are as many actors as cores"""
    metrics_port: int | None = None
    """where Prometheus finds the metrics of an embedded run, on loopback; None: nowhere that is known before"""

    def __post_init__(self) -> None:
        at_least("gpus", self.gpus or 0, 0)
        if self.workers is not None:
            at_least("workers", self.workers, 1)
            if self.gpus:
                raise UsageError("--workers: counts CPU actors and contradicts --gpus; use --actors-per-gpu")
        at_least("actors_per_gpu", self.actors_per_gpu, 1)
        at_least("io_threads", self.io_threads, 0)
        at_least("wait_gpus", self.wait_gpus_s, 0)
        if self.metrics_port is not None and not 1024 <= self.metrics_port <= 65535:
            raise UsageError(f"--metrics-port: {self.metrics_port} is none of 1024 to 65535")
        if self.gpu_ids and self.gpus not in (None, len(self.gpu_ids)):
            raise UsageError(f"--gpu-ids: names {len(self.gpu_ids)} GPUs but --gpus says {self.gpus}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitConfig:
    """What is refused, and how much of the manifest is taken."""

    max_pixels_in: int = 512_000_000
    max_pixels_out: int = 8_200_000_000
    limit: int | None = None
    """take only the first rows"""
    pages: str = "refuse"
    """pictures of several pages or frames: refuse them, take the first, or treat GIF, WebP and APNG as animated
    pictures (animation) or as films (video)"""

    def __post_init__(self) -> None:
        one_of("pages", self.pages, PAGES)
        at_least("max_pixels", self.max_pixels_in, 1)
        at_least("max_pixels_out", self.max_pixels_out, 1)
        if self.limit is not None:
            at_least("limit", self.limit, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopConfig:
    """When a run ends before all is done, and what it does until then."""

    until: datetime | time | None = None
    """local time: a day's, then the next one to come, or a day and a time"""
    max_time_s: float | None = None
    """seconds from the start of the command; of this and `until` the earlier one counts"""
    first: str = "manifest"
    """what comes first: rows as the manifest has them, the oldest sources, or shards with the highest `priority`"""
    max_failures: int | None = None
    """stop when more rows than this have failed in this run"""
    max_failures_percent: float | None = None
    """the same, in percent of the manifest's rows"""
    retry_failed: bool = False
    """try rows again that failed before for a reason that their content decides"""

    def __post_init__(self) -> None:
        one_of("first", self.first, FIRSTS)
        if self.max_time_s is not None and not 0 < self.max_time_s < float("inf"):
            raise UsageError(f"--max-time: {self.max_time_s} is no number of seconds above 0")
        if self.max_failures is not None:
            at_least("max_failures", self.max_failures, 0)
            if self.max_failures_percent is not None:
                raise UsageError("--max-failures: a number and a percentage contradict each other; give one")
        if self.max_failures_percent is not None and not 0 <= self.max_failures_percent <= 100:
            raise UsageError(f"--max-failures: {self.max_failures_percent}% is not in 0..100%")


def degrade_options(recipe: Recipe, **others: Any) -> DegradeOptions:
    """Pairs by a recipe; `others` are the options' other fields."""
    return DegradeOptions(recipe=recipe_to_toml(recipe), gt_px=recipe.gt_size, lq_px=recipe.lq_size, **others)


def _x4plus_pairs() -> DegradeOptions:
    return degrade_options(RECIPES["x4plus"])


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareConfig:
    """How training data is made of rows that ask for it."""

    packs: str = ""
    """an operation whose packs the rows of the manifest are; empty where rows are media"""
    form: str = "tree"
    """how the samples of packs are kept"""
    degrade: DegradeOptions = field(default_factory=_x4plus_pairs)
    subimages: SubimagesOptions = field(default_factory=SubimagesOptions)
    multiscale: MultiscaleOptions = field(default_factory=MultiscaleOptions)
    frames: FramesOptions = field(default_factory=FramesOptions)
    stats: StatsOptions = field(default_factory=StatsOptions)
    meta_info: MetaInfoOptions = field(default_factory=MetaInfoOptions)
    pairs: PairsOptions = field(default_factory=PairsOptions)

    def __post_init__(self) -> None:
        one_of("form", self.form, FORMS)
        if self.packs:
            one_of("packs", self.packs, tuple(OPERATIONS))

    def options(self, operation: str) -> Options:
        """What is asked of an operation."""
        return getattr(self, operation.replace("-", "_"))

    def params(self, operation: str, *, device_class: str, max_pixels_in: int, pixel_epoch: int) -> PrepareParams:
        """Everything that decides the bytes of what an operation makes."""
        options = self.options(operation)
        return PrepareParams(
            operation=operation,
            options=options,
            form=self.form if self.packs else "tree",
            device_class=device_class,
            max_pixels_in=max_pixels_in,
            pixel_epoch=pixel_epoch,
            roles=options.roles,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """One run: what goes in, which model, what comes out, who works."""

    manifest: str
    """a manifest file, a folder, a glob, one picture or one film"""
    root: str | None = None
    """what relative paths of the manifest start from; None means the manifest's own folder"""
    model: ModelConfig = field(default_factory=ModelConfig)
    face: FaceConfig = field(default_factory=FaceConfig)
    fidelity: FidelityConfig = field(default_factory=FidelityConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    video: VideoConfig = field(default_factory=VideoConfig)
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    limits: LimitConfig = field(default_factory=LimitConfig)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    stop: StopConfig = field(default_factory=StopConfig)
    canary: CanaryConfig = field(default_factory=CanaryConfig)
    verify_inputs: bool = False
    """read every source that is done and compare its digest, instead of trusting sizes, times and etags"""
    verify_outputs: bool = False
    """read every output that is done and compare its digest, instead of trusting its size"""
    dry_run: bool = False
    quiet: bool = False
    json: bool = False
    """tell what happens as lines of JSON on stdout, and people nothing but errors (docs/dashboard.md)"""
