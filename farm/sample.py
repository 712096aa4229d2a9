"""What flows when training data is made: sources in packs, the samples of each, and what is asked of an operation.

`SourceRow -> SourceReport of Samples of Members -> one row in sources/, one a sample in samples/`. All are frozen and
picklable, hold standard-library types only, and do no I/O.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from types import MappingProxyType

from farm.checks import at_least, one_of
from farm.errors import UsageError
from farm.kinds import MediaKind

Scalar = bool | int | float | str | None
"""what a column of a record may hold"""
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_MARKED = re.compile(r"-[0-9a-f]{8}$")
"""what a digest at the end of a key looks like: names that end so get one too, so that none can be forged"""
_KEY_CHARS = 400
"""of a whole key: LMDB's end at 511 bytes"""
_SEGMENT_CHARS = 200
"""of a key; 55 are left for what tells samples apart and for extensions"""
FORMS = ("tree", "tar", "lmdb", "parquet")
"""how samples are kept: files in folders, WebDataset shards, LMDB as basicsr reads it, Parquet with the files inside"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """One source of a pack: a row of the manifest that has been named and asked after."""

    url: str
    relative_path: str
    """below the manifest's root: by this name its samples are drawn"""
    key: str
    """what its samples are named by: a path with forward slashes, without extension, of letters, digits and _ - only"""
    kind: MediaKind = MediaKind.IMAGE
    version: str = ""
    """`FileStat.version`, or `sha256:` and the digest that the manifest says; empty where nobody could say"""
    sha256: str | None = None
    bytes: int | None = None
    lq_url: str | None = None
    """of a pair: the low-quality picture"""
    lq_version: str = ""
    refusal: tuple[str, str] = ("", "")
    """ErrorKind and message of a row that is not even looked at; empty for all others"""
    skip: str = ""
    """the rule by which a row is left out before it is looked at; empty for all others"""


_DEFAULTS = {one.name: one.default for one in fields(SourceRow)}


def pack_line(row: SourceRow) -> bytes:
    """A line of a pack's file: JSON of what is not said by default, always the same for equal rows."""
    values = {name: value for name, value in asdict(row).items() if value != _DEFAULTS.get(name)}
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def read_pack(data: bytes) -> tuple[SourceRow, ...]:
    """The rows of a pack's file. Raises ValueError for what is none."""
    rows: list[SourceRow] = []
    for line in data.splitlines():
        values = json.loads(line)
        values["kind"] = MediaKind(values.get("kind", MediaKind.IMAGE.value))
        values["refusal"] = tuple(values.get("refusal", ("", "")))
        rows.append(SourceRow(**values))
    return tuple(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of a sample."""

    role: str
    """gt, gt_usm or lq of a pair, image of anything else; the folder it lies in, and its column"""
    extension: str
    """png, jpg, ... without dot"""
    data: bytes
    width: int
    height: int
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What is made of a source: one picture, or the pictures of one pair."""

    key: str
    """the source's key and what tells its samples apart; unique in the output"""
    members: tuple[Member, ...]
    record: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    """what was drawn, where it was cut, ...: the operation's `sample_columns`"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """How a source ended. Rows in = done + skipped + failed."""

    row: SourceRow
    status: str
    """done, skipped or failed"""
    reason: str = ""
    """of skipped the rule (too_small, duplicate_row, ...), of failed the ErrorKind"""
    message: str = ""
    rules: tuple[str, ...] = ()
    """what was done to a source that is no plain 8-bit RGB picture: gray_expanded, alpha_dropped, ...; counted"""
    samples: tuple[Sample, ...] = ()
    record: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    """what was found out of the source: the operation's `source_columns`"""
    passing: bool = False
    """failed for a reason that may be over tomorrow: the next run tries the source's pack again"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What an operation answers of one source; it raises ItemError for one that fails."""

    samples: tuple[Sample, ...] = ()
    rules: tuple[str, ...] = ()
    record: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    skipped: str = ""
    """the rule by which nothing is made of it"""
    message: str = ""
    """of a skipped one, for a person"""


# -- what is asked of each operation -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DegradeOptions:
    """Pairs of a good crop and what a drawn degradation makes of it."""

    recipe: str
    """as TOML, all values written out (`sr_kernel.degrade.recipe_toml`)"""
    gt_px: int = 400
    lq_px: int = 100
    """sides of the crop and of what is made of it, as the recipe says"""
    per_image: int = 1
    seed: int = 0
    jpeg: str = "diff"
    """diff: by arithmetic, as the reference; codec: by real JPEG bytes"""
    small: str = "reflect"
    """reflect or skip: sources smaller than the crop"""
    usm: bool = True
    """whether the sharpened crop is kept too"""

    def __post_init__(self) -> None:
        at_least("per_image", self.per_image, 1)
        at_least("seed", self.seed, 0)
        if self.seed >= 1 << 63:
            raise UsageError(f"--seed: {self.seed} does not fit 63 bits")
        one_of("jpeg", self.jpeg, ("diff", "codec"))
        one_of("small", self.small, ("reflect", "skip"))

    @property
    def roles(self) -> tuple[str, ...]:
        """Members of each sample, in order."""
        return ("gt", "gt_usm", "lq") if self.usm else ("gt", "lq")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubimagesOptions:
    """Overlapping crops, as upstream's extract_subimages.py cuts them."""

    crop_px: int = 480
    step_px: int = 240
    thresh_px: int = 0
    """a last crop is cut at the border where more than so many pixels would be left over"""

    def __post_init__(self) -> None:
        at_least("crop", self.crop_px, 1)
        at_least("step", self.step_px, 1)
        at_least("thresh", self.thresh_px, 0)

    @property
    def roles(self) -> tuple[str, ...]:
        """Members of each sample."""
        return ("image",)


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiscaleOptions:
    """Smaller versions of each picture, as upstream's generate_multiscale_DF2K.py makes them."""

    scales: tuple[float, ...] = (0.75, 0.5, 1 / 3)
    shortest_px: int = 400
    """shortest edge of the last version; sources that are smaller already have none"""

    def __post_init__(self) -> None:
        if not all(0 < scale <= 1 for scale in self.scales):
            raise UsageError(f"--scales: {self.scales} are not all above 0 and up to 1")
        at_least("shortest", self.shortest_px, 0)

    @property
    def roles(self) -> tuple[str, ...]:
        """Members of each sample."""
        return ("image",)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsOptions:
    """What each picture is: size, channels, sharpness, JPEG quality, digests by which duplicates are found."""

    near_bits: int = 3
    """perceptual hashes that differ in at most so many of their 64 bits are near duplicates"""

    def __post_init__(self) -> None:
        if not 0 <= self.near_bits <= 3:
            raise UsageError(f"--near-bits: {self.near_bits} is not in 0..3")

    @property
    def roles(self) -> tuple[str, ...]:
        """Members of each sample."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MetaInfoOptions:
    """A list of pictures for upstream's readers."""

    check: bool = False
    """decode every file"""

    @property
    def roles(self) -> tuple[str, ...]:
        """Members of each sample."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsOptions:
    """A list of pairs for upstream's readers, from a manifest with the columns source and lq."""

    scale: int = 0
    """how much larger the good picture must be; 0: any whole number, the same for all"""
    check: bool = True
    """read both headers and compare the sizes"""

    @property
    def roles(self) -> tuple[str, ...]:
        """Members of each sample."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesOptions:
    """Single pictures of films."""

    pick: str = "every"
    """every: each n-th frame; scene: the first of each scene; sharpest: the sharpest of each n frames"""
    every: int = 30
    scene_change: float = 0.3
    """share of a frame's histogram that changes where a scene begins, 0..1"""
    most: int = 0
    """frames of a film that are kept at most; 0: all that are picked"""

    def __post_init__(self) -> None:
        one_of("pick", self.pick, ("every", "scene", "sharpest"))
        at_least("every", self.every, 1)
        at_least("most", self.most, 0)
        if not 0 < self.scene_change <= 1:
            raise UsageError(f"--scene-change: {self.scene_change} is not above 0 and up to 1")

    @property
    def roles(self) -> tuple[str, ...]:
        """Members of each sample."""
        return ("image",)


Options = (
    DegradeOptions
    | SubimagesOptions
    | MultiscaleOptions
    | StatsOptions
    | MetaInfoOptions
    | PairsOptions
    | FramesOptions
)
OPERATIONS: Mapping[str, type[Options]] = MappingProxyType(
    {
        "degrade": DegradeOptions,
        "subimages": SubimagesOptions,
        "multiscale": MultiscaleOptions,
        "stats": StatsOptions,
        "meta-info": MetaInfoOptions,
        "pairs": PairsOptions,
        "frames": FramesOptions,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareParams:
    """Everything that decides the bytes of one pack's output; hashed into its item's identity."""

    operation: str
    options: Options
    form: str
    """one of FORMS"""
    device_class: str
    """cuda or cpu; identity of bytes is promised within one class"""
    max_pixels_in: int
    pixel_epoch: int
    """raised whenever the code would give other bytes for the same parameters"""
    roles: tuple[str, ...]
    """members of each sample, in order; empty where an operation makes none"""

    @property
    def model(self) -> str:
        """Stands where items of a network have its name: rates are learned by it, results show it."""
        return self.operation

    @property
    def model_sha256(self) -> str:
        return ""

    @property
    def resident(self) -> str:
        """Parts of equal ones share a unit."""
        return self.operation

    @property
    def allowances(self) -> tuple[str, ...]:
        """Nothing may be lacking."""
        return ()

    @property
    def lacks(self) -> tuple[str, ...]:
        """What a pack lacks that was published without sources that could not be read today."""
        return ("unread",)


def safe_key(relative_path: str) -> str:
    """What the samples of a source are named by: its path without extension, letters, digits, `_`, `-` and slashes.

    Upstream's readers split names at dots, spaces and ", ". A path that had to be changed, is longer than file systems
    hold with what is added, or ends as if it had been, gets a digest of the whole, so that two of them stay apart.
    """
    folder, slash, name = relative_path.rpartition("/")
    stem = name.rpartition(".")[0] or name
    path = f"{folder}{slash}{stem}"
    safe = "/".join(_UNSAFE.sub("_", segment)[:_SEGMENT_CHARS] or "_" for segment in path.split("/"))
    if len(safe) > _KEY_CHARS:
        safe = safe[:_KEY_CHARS].rstrip("/")
    return safe if safe == path and not _MARKED.search(path) else f"{safe}-{path_mark(relative_path)}"


def path_mark(relative_path: str) -> str:
    """32 bits of a path's digest, in hexadecimal."""
    return sha256(relative_path.encode("utf-8", "surrogateescape")).hexdigest()[:8]
