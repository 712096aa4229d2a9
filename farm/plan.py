"""From a row and what its store says about it to a WorkItem: output and identity. Pure: no I/O, no clock.

Everything that decides the bytes of an output is decided here, once, from the configuration and the source; nothing
from a worker, its free memory or the number of workers enters. Equal inputs give equal items on any machine of one
device class, which is what lets a second run know what is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib import metadata
from typing import TYPE_CHECKING

from farm import __version__
from farm import params as parameters
from farm.blocks import UPSCALE, version_word
from farm.config import ModelConfig, RunConfig
from farm.errors import ErrorKind, ItemError, ManifestError, UsageError
from farm.face import FaceParams
from farm.kinds import (
    ANIMATION_EXTENSIONS,
    CONTAINERS,
    EXTENSION_FORMATS,
    FILM_FORMATS,
    MediaKind,
    extension_of,
    is_sequence,
)
from farm.output_path import MAX_NAME_BYTES, SEQUENCE_INDEX, below_root, check_template, record_path
from farm.params import Params, UpscaleParams, canonical_text, text_digest
from farm.records import FileStat, ManifestRow, WorkItem
from farm.resolver import PlannedModel, Resolver, alias_outscale
from farm.sizes import guess_px, refuse_size
from farm.target import asked as asked_size
from sr_kernel.models import MODELS, has_fused_kernels

if TYPE_CHECKING:
    from sr_kernel.models import ModelSpec

IDENTITY_EPOCH = 1
"""Raised when ids are hashed from other things, or otherwise: a ledger of another epoch is refused"""
TASKS: Mapping[MediaKind, str] = {MediaKind.IMAGE: "upscale_image", MediaKind.VIDEO: "upscale_video"}
"""who restores what; all else that a row may ask for is `PREPARE`'s"""
PREPARE = "prepare"
SHARD_ROWS = 50_000
"""rows of the manifest that share a shard of the ledger"""
_RECIPES_KEPT = 1024
"""a manifest may ask for another outscale in every row"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recipe:
    """What rows with the same kind, model, outscale, denoise and format share."""

    task: str
    params: Params
    params_hash: str
    identity: str
    """task and canonical text of the parameters, as they stand in what an item's id is hashed from"""

    @property
    def scale_label(self) -> str:
        return asked_size(self.params)

    @property
    def model_label(self) -> str:
        return self.params.model.rpartition(":")[2].replace("/", "_")

    @property
    def allowances(self) -> tuple[str, ...]:
        """What an output may lack."""
        return self.params.allowances


class Planner:
    """Resolves rows for one run.

    `models` answers with the model of every name that the configuration or a row uses; `out` is the output root as an
    absolute local path, links resolved, or a URL; `device_class` is cuda or cpu; `cpu_bf16` says whether the CPUs that
    work have bfloat16 of their own (None: as this machine); `fused`: what `--kernel auto` means on GPUs; `face` says
    what is asked of faces.
    """

    def __init__(
        self,
        config: RunConfig,
        models: Mapping[str, PlannedModel],
        out: str,
        device_class: str,
        *,
        cpu_bf16: bool | None = None,
        fused: bool = False,
        face: FaceParams | None = None,
    ) -> None:
        check_template(config.output, config.video.container)
        self.out = out.rstrip("/")
        self._config = config
        self._models = models
        self._asked = config.model.asked
        _check_denoise(config.model, [model.spec for _, model in self._of_command])
        _check_kernel(config.model, [model.spec for _, model in self._of_command])
        self._resolver = Resolver(config, device_class, cpu_bf16=cpu_bf16, fused=fused, face=face)
        self._recipes: dict[tuple[str, float | None, float | None, str, MediaKind], Recipe] = {}
        self._operations: dict[str, Recipe] = {}

    @property
    def device_class(self) -> str:
        """cuda or cpu: what items are planned for."""
        return self._resolver.device_class

    @property
    def face(self) -> FaceParams | None:
        """What is asked of faces."""
        return self._resolver.face

    @property
    def name_template(self) -> str:
        """Of the outputs' file names."""
        return self._config.output.name

    @property
    def fingerprint(self) -> str:
        """Equal for planners that make the same items, and refuse the same rows, of the same manifest."""
        config = self._config
        asked = [(model.spec.name, model.sha256, alias_outscale(name)) for name, model in self._of_command]
        deciding = (
            replace(config.model, model="", models=(), weights_dir=None),
            replace(config.output, out=None),
            config.video,
            config.prepare,
            replace(config.limits, limit=None),
            config.fidelity.suspect,
            (asked, sorted(MODELS.items()), self._resolver.fingerprint, self.out),
            (
                parameters.PIXEL_EPOCH,
                parameters.FILM_EPOCH,
                parameters.FUSED_EPOCH,
                IDENTITY_EPOCH,
                __version__,
                metadata.version("av"),
            ),
        )
        return text_digest(repr(deciding))

    @property
    def _of_command(self) -> list[tuple[str, PlannedModel]]:
        return [(name, self._models[name]) for name in self._asked]

    def output_url(self, row: ManifestRow) -> str:
        """Where the output of a row goes: below `out`, the tree of the sources mirrored.

        Raises ItemError (unsafe_path) for a path that would leave `out`; ManifestError for a model nobody knows.
        """
        wanted = record_path(row) if row.task != UPSCALE else row.overrides.output
        if wanted is None:
            folder, _, name = row.relative_path.rpartition("/")
            made = self._name(row, name)
            wanted = f"{folder}/{made}" if folder else made
            if self._format(row) == "sequence":
                wanted = f"{wanted.removesuffix('.sequence')}/{SEQUENCE_INDEX}"
        return f"{self.out}/{below_root(wanted, row.source_url)}"

    def plan(self, row: ManifestRow, stat: FileStat) -> WorkItem:
        """The item of a row. Raises ItemError: unsafe_path, or too_large when the manifest already says the size."""
        recipe = self.recipe(row)
        output_url = self.output_url(row)
        version = source_version(row, stat)
        item_id = make_id(row.source_url, version, recipe, output_url)
        return self.item(row, recipe, output_url, version=version, item_id=item_id, nbytes=stat.bytes)

    def item(
        self, row: ManifestRow, recipe: Recipe, output_url: str, *, version: str, item_id: str, nbytes: int
    ) -> WorkItem:
        """plan() for who knows already what it would ask for; `nbytes`: size of the source."""
        if output_url == row.source_url or (row.kind is MediaKind.VIDEO and row.task == UPSCALE):
            self._check_own_input(row, output_url)
        item = WorkItem(
            item_id=item_id,
            shard=row.index // SHARD_ROWS,
            row=row,
            task=recipe.task,
            params=recipe.params,
            params_hash=recipe.params_hash,
            source_version=version,
            output_url=output_url,
            cost_px=guess_px(row.source_url, row.kind, nbytes, (row.width, row.height)),
        )
        if row.width and row.height and row.kind is MediaKind.IMAGE and row.task == UPSCALE:
            refusal = refuse_size(item, row.width, row.height)
            if refusal:
                raise refusal
        return item

    def _check_own_input(self, row: ManifestRow, output_url: str) -> None:
        """No output is its own source; the pictures of a sequence do not go where their sources lie."""
        advice = "choose another --out or --name"
        if output_url == row.source_url:
            raise ItemError(ErrorKind.UNSAFE_PATH, row.source_url, "is its own output", advice)
        folder = output_url.rpartition("/")[0]
        if self._format(row) == "sequence" and folder == row.source_url.rpartition("/")[0]:
            found = f"its pictures would go to {folder}, where the source lies"
            raise ItemError(ErrorKind.UNSAFE_PATH, row.source_url, found, advice)

    def _name(self, row: ManifestRow, source_name: str) -> str:
        """The output's file name; a stem too long for a file system is cut and keeps a digest of the whole."""
        recipe = self.recipe(row)
        stem = source_name.rpartition(".")[0] or source_name
        if row.kind is MediaKind.VIDEO and is_sequence(source_name):
            stem = stem.partition("%")[0].rstrip("_-. ") or "frames"
        fields = {
            "model": recipe.model_label,
            "scale": recipe.scale_label,
            "ext": self._format(row),
            "row": str(row.index),
        }
        template = self._config.output.name
        if isinstance(recipe.params, UpscaleParams) and recipe.params.size:
            template = template.replace("{scale}x", "{scale}")  # 3840x2160 is no factor
        name = template.format(stem=stem, **fields)
        self._check_says_format(name, row)
        excess = len(name.encode()) - MAX_NAME_BYTES
        if excess <= 0:
            return name
        mark = f"~{text_digest(source_name)[:8]}"
        kept = stem.encode()[: max(0, len(stem.encode()) - excess - len(mark))].decode(errors="ignore")
        return template.format(stem=kept + mark, **fields)

    def _check_says_format(self, name: str, row: ManifestRow) -> None:
        """A template with an extension of its own fits pictures or films, not both."""
        known = FILM_FORMATS if row.kind is MediaKind.VIDEO else EXTENSION_FORMATS
        if not self._config.output.name.endswith(".{ext}") and known.get(extension_of(name)) != self._format(row):
            raise UsageError(
                f"--name: {self._config.output.name!r} would name row {row.index}, which becomes {self._format(row)},"
                f" {name!r}; end it with .{{ext}}"
            )

    def recipe(self, row: ManifestRow) -> Recipe:
        """What the row shares with others. Raises ManifestError for a model nobody knows."""
        if row.task != UPSCALE:
            return self._operation(row.task)
        asked = row.overrides
        key = (asked.model or self._config.model.model, asked.outscale, asked.denoise, self._format(row), row.kind)
        recipe = self._recipes.get(key)
        if recipe is None:
            try:
                model = self._models[key[0]]
            except KeyError as error:
                found = f"row {row.index}, column model: {key[0]!r} is not a model for {row.source_url}"
                raise ManifestError(f"manifest: {found} ({error.args[0]}); `farm models` lists them") from error
            if key[0] not in self._asked or not any(one.spec.partner for _, one in self._of_command):
                _check_rows_denoise(row, model.spec)
            if len(self._recipes) >= _RECIPES_KEPT:
                self._recipes.clear()
            params = self._resolver.params(key[0], model, asked, key[3], row.kind)
            recipe = self._recipes[key] = _recipe(TASKS[row.kind], params)
        return recipe

    def _operation(self, name: str) -> Recipe:
        """What rows share that become training data."""
        recipe = self._operations.get(name)
        if recipe is None:
            params = self._config.prepare.params(
                name,
                device_class=self._resolver.device_class,
                max_pixels_in=self._config.limits.max_pixels_in,
                pixel_epoch=parameters.PIXEL_EPOCH,
            )
            recipe = self._operations[name] = _recipe(PREPARE, params)
        return recipe

    def _format(self, row: ManifestRow) -> str:
        """The format of a picture, or the container of a film."""
        if row.kind is MediaKind.VIDEO:
            return self._container(row)
        if row.overrides.output is not None:  # its extension is the last word; the manifest checked it
            return EXTENSION_FORMATS.get(extension_of(row.overrides.output), "png")
        asked = row.overrides.format or self._config.output.format
        return EXTENSION_FORMATS.get(extension_of(row.relative_path), "png") if asked == "same" else asked

    def _container(self, row: ManifestRow) -> str:
        if row.overrides.output is not None:
            return FILM_FORMATS.get(extension_of(row.overrides.output), "mkv")
        asked = row.overrides.format or self._config.video.container
        if asked != "same":
            return asked
        extension = extension_of(row.relative_path)
        if is_sequence(row.relative_path):
            return "sequence"
        if extension in ANIMATION_EXTENSIONS:
            return ANIMATION_EXTENSIONS[extension] if self._config.limits.pages != "video" else "mp4"
        return CONTAINERS.get(extension, "mkv")


def make_id(source_url: str, version: str, recipe: Recipe, output_url: str) -> str:
    """The id of an item. A change of what is hashed makes every ledger worthless: raise IDENTITY_EPOCH with it."""
    return sha256(f"{source_url}\0{version}{recipe.identity}{output_url}".encode()).hexdigest()[:32]


def _recipe(task: str, params: Params) -> Recipe:
    text = canonical_text(params)
    identity = f"\0{task}\0{text}\0"
    return Recipe(task=task, params=params, params_hash=text_digest(text), identity=identity)


def source_version(row: ManifestRow, stat: FileStat) -> str:
    """What changes when the content does: the manifest's sha256, else its etag, else the store's word."""
    return version_word(row) or stat.version


def _check_denoise(config: ModelConfig, specs: Sequence[ModelSpec]) -> None:
    """Of several models one at least must have a partner; the others are as they are."""
    if config.denoise is not None and config.denoise < 1 and not any(spec.partner for spec in specs):
        names = " and ".join(spec.name for spec in specs)
        has = "has" if len(specs) == 1 else "have"
        raise UsageError(f"--denoise: {names} {has} no denoise partner; use it with general-x4v3")


def _check_kernel(config: ModelConfig, specs: Sequence[ModelSpec]) -> None:
    """As of denoise: one at least must have fused kernels; the others, and those of rows, run in plain ones."""
    if config.kernel == "fused" and not any(map(has_fused_kernels, specs)):
        names = " and ".join(spec.name for spec in specs)
        have = "has no fused kernels" if len(specs) == 1 else "have no fused kernels"
        raise UsageError(f"--kernel: {names} {have}; use auto or plain, or a model of Real-ESRGAN's such as x4plus")


def _check_rows_denoise(row: ManifestRow, spec: ModelSpec) -> None:
    asked = row.overrides.denoise
    if asked is not None and asked < 1 and not spec.partner:
        found = f"row {row.index}, column denoise: {asked:g}, but {spec.name} has no denoise partner"
        raise ManifestError(f"manifest: {found}; use general-x4v3 in its column model")
