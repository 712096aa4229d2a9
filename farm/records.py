"""Every value that flows: ManifestRow -> WorkItem -> Unit of Parts -> Outcome -> LedgerEntry.

All are frozen and picklable, hold standard-library types only, and do no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from farm.errors import ErrorKind, ItemError
from farm.film import NOTHING_KNOWN, FilmPlan, SegmentReport, Span
from farm.kinds import MediaKind
from farm.params import Params, UpscaleParams
from farm.sample import PrepareParams
from sr_kernel.fidelity import PixelStats
from sr_kernel.passes import NO_PASSES, PassFigures


class ItemStatus(str, Enum):
    """How a row ended."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What one row asks for instead of the run's configuration; None means: as the run says."""

    output: str | None = None
    """path below the output root, with extension"""
    model: str | None = None
    outscale: float | None = None
    denoise: float | None = None
    """0..1, for models that have a denoise partner"""
    format: str | None = None
    """png, jpg, webp, tiff, avif or same"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One row of a manifest, exactly as the file has it, checked."""

    index: int
    """position in the manifest, from 0"""
    source_url: str
    """absolute URL or absolute local path of the source"""
    relative_path: str
    """source below the manifest's root, with forward slashes; decides the name of the output"""
    kind: MediaKind = MediaKind.IMAGE
    sha256: str | None = None
    etag: str | None = None
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    overrides: Overrides = Overrides()
    task: str = "upscale"
    """what is asked for, a name of farm.manifest.columns"""
    priority: int = 0
    """higher ones come first within their shard"""
    tags: tuple[str, ...] = ()
    """the user's own words; they decide nothing"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRow:
    """A row that is not even looked at, such as a path that leaves the root; it ends as a failed row."""

    index: int
    """position in the manifest, from 0"""
    source: str
    """as the manifest has it, made printable"""
    error: ItemError


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStat:
    """What a store says about one object without reading it."""

    url: str
    bytes: int
    mtime_ns: int | None = None
    etag: str | None = None

    @property
    def version(self) -> str:
        """Changes when the content may have: the etag where the store has one, else size and mtime."""
        return f"etag:{self.etag}" if self.etag else f"stat:{self.bytes}:{self.mtime_ns}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """One row with everything resolved. Tasks cannot set ids: `item_id` is made in farm.plan."""

    item_id: str
    """hash of source URL and version, task, parameters, model, pixel epoch and output URL"""
    shard: int
    row: ManifestRow
    task: str
    """name of a task in farm.tasks"""
    params: Params
    params_hash: str
    source_version: str
    output_url: str
    cost_px: int
    """estimated source pixels; a guess from the file's size until a worker has read the header"""

    @property
    def upscale(self) -> UpscaleParams:
        """The parameters of what a network restores."""
        if not isinstance(self.params, UpscaleParams):
            raise ValueError(f"{self.item_id} is a {self.task}, which no network restores")
        return self.params

    @property
    def prepare(self) -> PrepareParams:
        """The parameters of what becomes training data."""
        if not isinstance(self.params, PrepareParams):
            raise ValueError(f"{self.item_id} is a {self.task}, which makes no training data")
        return self.params

    @property
    def is_pack(self) -> bool:
        """Whether it stands for many sources, of which some may fail without it."""
        return self.row.kind is MediaKind.PACK


class PartKind(str, Enum):
    """What a worker does for one part."""

    PICTURE = "picture"
    """the whole item: read, restore, publish; answers Split when the picture must be cut"""
    BAND = "band"
    """some rows of tiles of a large picture, or some samples of a pack, kept under OUT/.farm until the join"""
    FILM = "film"
    """read a film's packets and answer Split"""
    SEGMENT = "segment"
    """some frames of a film, restored and encoded once, kept under OUT/.farm until the join"""
    JOIN = "join"
    """all bands of a picture or a pack, or all segments of a film with its sound and everything else, put together"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A finished band or segment that waits for its join."""

    index: int
    extent: tuple[int, int]
    """half-open range of output rows, of output frames, or of a pack's samples"""
    url: str
    sha256: str
    bytes: int
    stats: PixelStats
    report: SegmentReport = NOTHING_KNOWN
    precision: str = ""
    """what it was restored in, see `Done.precision`"""
    warning: str = ""
    """what is to be said of what it becomes a part of"""
    failure: tuple[ErrorKind, str] | None = None
    """of a pack's samples that could not be made, why; then there is no file"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The smallest thing that is retried, struck or quarantined."""

    item: WorkItem
    kind: PartKind
    index: int = 0
    """number of the band or segment; 0 for all others"""
    grid_rows: tuple[int, int] | None = None
    """half-open range of grid rows of the picture's plan, or of a pack's samples, for a band"""
    size: tuple[int, int] | None = None
    """upright source width and height of a picture, once known"""
    film: FilmPlan | None = None
    """for a segment and for the join of a film"""
    span: Span | None = None
    """for a segment"""
    version: str = ""
    """of a picture's source, as its first part saw it"""
    pieces: tuple[Piece, ...] = ()
    """what a join puts together, in order"""
    out_pts: tuple[int, ...] = ()
    """for the join of a film: timestamps of all its frames, in ticks of its `out_base`"""
    cost_px: int = 0

    @property
    def part_id(self) -> str:
        return "/".join((self.item.item_id, self.kind, str(self.index)))  # often asked for: a kind's `value` is slow


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What one call to a worker carries: parts of one model, 2 to 10 s of work together."""

    unit_id: int
    parts: tuple[Part, ...]
    alone: bool = False
    """true after a death: one part, nothing else in flight on its worker, a further death is a strike"""
    batch_limit: int | None = None
    """largest batch allowed, after a death by memory"""

    @property
    def cost_px(self) -> int:
        return sum(part.cost_px for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSeconds:
    """Where the time of a part went, in seconds of wall clock."""

    read: float = 0.0
    decode: float = 0.0
    wait: float = 0.0
    """queued for the network"""
    infer: float = 0.0
    encode: float = 0.0
    write: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A part succeeded; its result is published."""

    part_id: str
    url: str
    sha256: str
    bytes: int
    width: int
    height: int
    source_px: int
    mode: str
    """exact or bounded"""
    precision: str
    """fp16, bf16 or fp32; several joined by + where some pieces or frames overflowed and were tried again in fp32"""
    stats: PixelStats
    seconds: StageSeconds
    node: str
    worker: str
    extent: tuple[int, int] | None = None
    """of a band its output rows, of a segment its output frames, half-open"""
    warning: str | None = None
    frames: int = 0
    """of a film or a segment"""
    report: SegmentReport = NOTHING_KNOWN
    """of a film or a segment"""
    lacking: bool = False
    """published only because the parameters allow that something of the source is lost"""
    source_sha256: str = ""
    """of the source's content, where all of it was at hand"""
    niqe: float | None = None
    """of a whole picture, where it was asked for"""
    suspect: str = ""
    """names of the figures that are beyond belief, with spaces between"""
    source_bytes: int = 0
    """of the source, or of those of a pack, that it was made from"""
    passes: PassFigures = NO_PASSES
    """of this worker since its last `Done`, whichever parts they were for"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A picture or a film must be cut: how."""

    part_id: str
    size: tuple[int, int]
    """upright source width and height in pixels"""
    node: str
    worker: str
    bands: tuple[tuple[int, int], ...] = ()
    """half-open ranges of grid rows; a pure function of the size and the parameters"""
    version: str = ""
    """of a picture's source (`FileStat.version`): its bands and its join are of that one alone"""
    film: FilmPlan | None = None
    spans: tuple[Span, ...] = ()
    """of a film; a pure function of its packets and the parameters"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A part failed; failure is a value."""

    part_id: str
    kind: ErrorKind
    message: str
    node: str
    worker: str
    attempt: int = 1
    is_final: bool = False
    """another try in the same run would fail too"""
    suspect: str = ""
    """as of Done, for an output that was refused only because the run wants suspect ones refused"""

    @property
    def retryable(self) -> bool:
        return self.kind.retryable and not self.is_final


Outcome = Done | Split | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One line of the ledger: how an item, or a band that waits for its join, ended."""

    key: str
    """item_id, or part_id for a band"""
    shard: int
    row: int
    source: str
    output: str
    status: ItemStatus
    error: str = ""
    """ErrorKind value, or empty"""
    message: str = ""
    sha256: str = ""
    bytes: int = 0
    width: int = 0
    height: int = 0
    source_px: int = 0
    model: str = ""
    model_sha256: str = ""
    scale: str = ""
    """what was asked for, 3.5 or 3840x2160: also what another program's name of a model means"""
    mode: str = ""
    precision: str = ""
    fidelity: float = 0.0
    consistency: float | None = None
    """this and the next five: properties of PixelStats, docs/fidelity.md; None for what has none, or was made before
    they were known"""
    colour: float | None = None
    off: float | None = None
    stripes: float | None = None
    lattice: float | None = None
    seam: float | None = None
    niqe: float | None = None
    suspect: str = ""
    """names of the figures that are beyond belief; of a failed item those it was refused for"""
    source_version: str = ""
    params_hash: str = ""
    attempts: int = 0
    infer_s: float = 0.0
    """accelerator seconds"""
    total_s: float = 0.0
    read_s: float | None = None
    """this and the next four: the other stages, see StageSeconds, with those of all its pieces that the same run made;
    None for what failed, or was made before they were kept"""
    decode_s: float | None = None
    wait_s: float | None = None
    encode_s: float | None = None
    write_s: float | None = None
    node: str = ""
    worker: str = ""
    finished_unix: float = 0.0
    extent: tuple[int, int] | None = None
    """of a band its output rows, of a segment its output frames, half-open; None for items"""
    stats: PixelStats | None = None
    """for a band or a segment"""
    report: SegmentReport | None = None
    """for a segment"""
    frames: int = 0
    """of a film"""
    flicker: float | None = 0.0
    """of a film: change between restored frames by change between source frames, both at the source's size, over all
    pairs of frames that follow each other in one segment; None where that was not measured (alpha, faces)"""
    worst_seconds: str = ""
    """of a film: where the restored frames flicker most, as SECOND:SCORE, worst first"""
    source_sha256: str = ""
    """of the source's content, where whoever restored it had all of it at hand"""
    allowances: tuple[str, ...] = ()
    """of farm.film.ALLOWANCES: those under which a film failed, or without which what was published would not be;
    empty for what is whole"""
    noted_unix: float = 0.0
    """when the entry was written again for a row that had moved; 0 for one that was written when it ended"""
    run: str = ""
    schema: int = 6

    @property
    def asserted_unix(self) -> float:
        """When this was last known to be so: of two entries the later one counts."""
        return max(self.finished_unix, self.noted_unix)
