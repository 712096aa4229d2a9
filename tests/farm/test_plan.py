"""Identity, names and limits of what is planned."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm import collide, params, plan, spill, storage
from farm.blocks import block_of
from farm.config import FidelityConfig, LimitConfig, ModelConfig, OutputConfig, RunConfig, VideoConfig
from farm.entries import suffices
from farm.errors import ErrorKind, ItemError, ManifestError, UsageError
from farm.face import FaceParams
from farm.film import ALLOWANCES, VideoParams
from farm.kinds import MediaKind, kind_of
from farm.manifest import read_manifest
from farm.names import Namer
from farm.params import UpscaleParams
from farm.records import FileStat, ItemStatus, LedgerEntry, ManifestRow, Overrides, RefusedRow, WorkItem
from farm.sizes import refuse_size
from sr_kernel.models import BOX, MODELS, ModelSpec

OUT = "/data/out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What planning needs of a model."""

    spec: ModelSpec
    sha256: str


NAMES = (*(name for name in MODELS if name != BOX), BOX)
"""the box last: digests of the others are what they were before there was one"""
BOOK = {name: Model(spec=MODELS[name], sha256=f"{at:064x}") for at, name in enumerate(NAMES)}


def restored(**asked: Any) -> ModelConfig:
    """By x4plus where no model is asked for."""
    return ModelConfig(**({"model": "x4plus"} | asked))


def config(
    model: ModelConfig | None = None, output: OutputConfig | None = None, limits: LimitConfig | None = None
) -> RunConfig:
    return RunConfig(
        manifest="m.csv",
        model=model or restored(),
        output=output or OutputConfig(),
        limits=limits or LimitConfig(),
    )


def planner(made: RunConfig | None = None, *, out: str = OUT, device: str = "cpu", bf16: bool = True) -> plan.Planner:
    return plan.Planner(made or config(), BOOK, out, device, cpu_bf16=bf16)


def row(source: str = "a.png", index: int = 0, **overrides: object) -> ManifestRow:
    return ManifestRow(
        index=index,
        source_url=f"/data/in/{source}",
        relative_path=source,
        overrides=Overrides(**overrides),  # pyright: ignore[reportArgumentType]
    )


def check_outputs(read: Callable[[], Iterable[ManifestRow | RefusedRow]], made: plan.Planner) -> None:
    """As a survey checks its rows."""
    namer = Namer(made)
    with collide.Collisions(namer) as collisions:
        block = block_of(read(), 0)
        collisions.add(block.urls, namer.names(block).outputs)
        collisions.check(lambda: [block_of(read(), 0)])


def planned(one: ManifestRow | None = None, made: RunConfig | None = None, **how: object) -> WorkItem:
    asked = one or row()
    stat = FileStat(url=asked.source_url, bytes=1000, mtime_ns=5)
    return planner(made, **how).plan(asked, stat)  # pyright: ignore[reportArgumentType]


# -- identity ----------------------------------------------------------------------------------------------------------


def test_equal_inputs_give_equal_items_wherever_the_row_stands() -> None:
    assert planned() == planned()
    assert planned().item_id == planned(row(index=70_000)).item_id
    assert (planned().shard, planned(row(index=70_000)).shard) == (0, 1)


def test_whatever_decides_bytes_is_part_of_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = [
        planned(),
        planned(row("b.png")),
        planned(replace(row(), sha256="a" * 64)),
        planned(replace(row(), etag="a")),
        planned(row(model="animevideov3")),
        planned(row(outscale=3.5)),
        planned(row(format="webp")),
        planned(row(output="b.png")),
        planned(out="/data/out2"),
        planned(device="cuda"),
        planned(bf16=False),
        planned(made=config(restored(tile_px=128))),
        planned(made=config(restored(batch=2))),
        planned(made=config(restored(exact_px=1))),
        planned(made=config(restored(band_px=1))),
        planned(row(outscale=3.5), made=config(restored(resize="official"))),
        planned(made=config(restored(alpha="lanczos"))),
        planned(row(format="webp"), made=config(output=OutputConfig(quality=90))),
        planned(made=config(output=OutputConfig(stamp=False))),
        planned(made=config(limits=LimitConfig(pages="first"))),
    ]
    monkeypatch.setattr(params, "PIXEL_EPOCH", params.PIXEL_EPOCH + 1)
    changed.append(planned())
    BOOK_CHANGED = {**BOOK, "x4plus": replace(BOOK["x4plus"], sha256="f" * 64)}
    stat = FileStat(url="/data/in/a.png", bytes=1000, mtime_ns=5)
    monkeypatch.undo()
    changed.append(plan.Planner(config(), BOOK_CHANGED, OUT, "cpu", cpu_bf16=True).plan(row(), stat))
    changed.append(planner().plan(row(), replace(stat, bytes=1001)))
    changed.append(planner().plan(row(), replace(stat, mtime_ns=6)))
    changed.append(planner().plan(row(), replace(stat, etag="b")))
    assert len({item.item_id for item in changed}) == len(changed)
    for without_effect in (restored(resize="official"), restored()):
        same = planned(made=config(without_effect, output=OutputConfig(quality=90)))
        assert same.item_id == planned().item_id, "a png has no quality, and what is not resized no way of resizing"


def film(source: str = "a.mp4", **overrides: object) -> ManifestRow:
    return replace(row(source, **overrides), kind=MediaKind.VIDEO)


def planned_film(one: ManifestRow | None = None, **options: object) -> WorkItem:
    made = replace(config(), video=VideoConfig(**options))  # pyright: ignore[reportArgumentType]
    return planned(one or film(), made)


def test_whatever_decides_a_films_bytes_is_part_of_its_identity() -> None:
    options: dict[str, object] = {
        **{"container": "mkv", "codec": "hevc", "crf": 20, "preset": "slow", "pix_fmt": "yuv444p"},
        **{"fps": Fraction(25), "segment_frames": 24, "audio": "none", "deinterlace": True},
        **{"encoder": "nvenc", "tag_colours": True},
    }
    assert {*options, *ALLOWANCES, "encoder_threads", "codecs"} == {field.name for field in fields(VideoParams)}
    changed = [planned_film(), *(planned_film(**{name: value}) for name, value in options.items())]
    assert len({item.item_id for item in changed}) == len(changed)
    assert planned_film(decoder="nvdec").item_id == planned_film().item_id, "decoders agree bit for bit"
    assert planned(made=replace(config(), video=VideoConfig(crf=20))).item_id == planned().item_id


@pytest.mark.parametrize(
    ("source", "options", "output"),
    [
        ("d/a.mp4", {}, "d/a_4x.mp4"),
        ("a.MOV", {}, "a_4x.mov"),
        ("a.avi", {}, "a_4x.mkv"),
        ("a.mp4", {"container": "webm"}, "a_4x.webm"),
        ("a.mp4", {"container": "sequence"}, "a_4x/frames.json"),
        ("d/frame%08d.png", {}, "d/frame_4x/frames.json"),
        ("d/frame%08d.png", {"container": "mp4"}, "d/frame_4x.mp4"),
        ("a.gif", {}, "a_4x.gif"),
    ],
)
def test_a_film_keeps_its_container_where_it_can_be_written(
    source: str, options: dict[str, object], output: str
) -> None:
    assert planned_film(film(source), **options).output_url == f"{OUT}/{output}"


@pytest.mark.parametrize("name", ALLOWANCES)
def test_what_a_film_may_lack_does_not_make_a_whole_one_another(name: str) -> None:
    allowing = planned_film(**{name: True})
    assert (allowing.item_id, allowing.params_hash) == (planned_film().item_id, planned_film().params_hash)
    assert allowing.params.allowances == (name,)


NOTHING, SALVAGE, DAMAGED, BOTH = (), ("salvage",), ("allow_damaged",), ("salvage", "allow_damaged")


@pytest.mark.parametrize(
    ("status", "then", "now", "holds"),
    [
        ("done", NOTHING, NOTHING, True),
        ("done", NOTHING, BOTH, True),  # whole, and looser flags: nothing to do
        ("done", SALVAGE, SALVAGE, True),
        ("done", SALVAGE, BOTH, True),
        ("done", SALVAGE, NOTHING, False),  # something is lost, and that is allowed no more
        ("done", BOTH, SALVAGE, False),
        ("done", SALVAGE, DAMAGED, False),
        ("failed", NOTHING, NOTHING, True),
        ("failed", NOTHING, SALVAGE, False),  # looser flags: worth another try
        ("failed", SALVAGE, BOTH, False),
        ("failed", SALVAGE, DAMAGED, False),
        ("failed", BOTH, NOTHING, True),  # failed where more was allowed
    ],
)
def test_what_the_ledger_says_holds_for_whoever_allows_as_much(
    status: str, then: tuple[str, ...], now: tuple[str, ...], holds: bool
) -> None:
    entry = LedgerEntry(key="k", shard=0, row=0, source="s", output="o", status=ItemStatus(status), allowances=then)
    assert suffices(entry, planned_film(**dict.fromkeys(now, True)).params) is holds


LATER: dict[str, object] = {
    "size": (64, 48),
    "fit": "cover",
    "max_side": 100,
    "passes": 2,
    "light": "linear",
    "tta": True,
    "keep_colour": True,
    "face": FaceParams(
        model="gfpgan-1.3",
        model_sha256="a" * 64,
        detector="resnet50",
        detector_sha256="b" * 64,
        parser_sha256="c" * 64,
        strength=1.0,
        only_center=False,
    ),
    "kernel": "fused",
    "origin_px": 16,
}
"""parameters that came after the first release of ids, which are hashed only when they ask for something"""


NO_BYTES = {"max_pixels_in": 1, "max_pixels_out": 1, "niqe": True, "suspect": "refuse", "salvage": True}
"""what only refuses or measures, with another value"""


def test_parameters_hash_covers_every_field_but_what_only_refuses_or_measures() -> None:
    item = planned()
    for field in fields(UpscaleParams):
        left_out = field.name in LATER or field.name in NO_BYTES or field.name == "video"
        assert (f'"{field.name}":' in params.canonical_text(item.params)) != left_out
    for name, other in LATER.items():
        assert f'"{name}":' in params.canonical_text(replace(item.upscale, **{name: other}))
    for name, other in NO_BYTES.items():
        assert params.canonical_text(replace(item.upscale, **{name: other})) == params.canonical_text(item.params)
    assert planned(row("b.png")).params_hash == item.params_hash
    assert planned(row(format="tiff")).params_hash != item.params_hash


def test_what_fused_kernels_made_before_is_made_again_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def ids(kernel: str, precision: str, name: str) -> str:
        made = config(restored(model="x4plus", kernel=kernel, precision=precision))
        asked = (film if name.endswith(".mp4") else row)(name)
        return plan.Planner(made, BOOK, OUT, "cuda", fused=True).plan(asked, FileStat(url="", bytes=1000)).item_id

    asked = [(k, p, n) for k in ("plain", "fused") for p in ("fp32", "fp16") for n in ("a.png", "a.mp4")]
    before = [ids(*one) for one in asked]
    monkeypatch.setattr(params, "FUSED_EPOCH", params.FUSED_EPOCH + 1)
    changed = [one for one, item_id in zip(asked, before, strict=True) if ids(*one) != item_id]
    assert changed == [("fused", "fp16", "a.png"), ("fused", "fp16", "a.mp4")]


def test_a_flag_that_refuses_suspect_outputs_opens_shards_that_are_done_and_niqe_does_not() -> None:
    as_ever = planner().fingerprint
    assert planner(replace(config(), fidelity=FidelityConfig(suspect="refuse"))).fingerprint != as_ever
    assert planner(replace(config(), fidelity=FidelityConfig(niqe=True))).fingerprint == as_ever


def test_limits_that_only_refuse_do_not_make_finished_work_void() -> None:
    raised = config(limits=LimitConfig(max_pixels_in=10**9, max_pixels_out=10**10))
    assert planned(made=raised).item_id == planned().item_id


def test_the_manifests_word_on_the_version_comes_first() -> None:
    both = replace(row(), sha256="a" * 64, etag="tag")
    assert planned(both).source_version == f"sha256:{'a' * 64}"
    assert planned(replace(both, sha256=None)).source_version == "etag:tag"
    assert planned().source_version == "stat:1000:5"
    assert planner().plan(row(), FileStat(url="", bytes=1, etag="e")).source_version == "etag:e"


@pytest.mark.parametrize(
    ("asked", "device", "bf16", "precision", "precision_16bit"),
    [
        ("auto", "cuda", False, "fp16", "fp32"),
        ("auto", "cpu", True, "bf16", "fp32"),
        ("auto", "cpu", False, "fp32", "fp32"),
        ("fp32", "cuda", False, "fp32", "fp32"),
        ("fp16", "cuda", False, "fp16", "fp16"),
        ("bf16", "cpu", False, "bf16", "bf16"),
    ],
)
def test_precision_is_resolved_once(asked: str, device: str, bf16: bool, precision: str, precision_16bit: str) -> None:
    params = planned(made=config(restored(precision=asked)), device=device, bf16=bf16).params
    assert (params.precision, params.precision_16bit) == (precision, precision_16bit)


@pytest.mark.parametrize(
    ("asked", "device", "fp16", "bf16", "precision", "precision_16bit"),
    [
        ("auto", "cuda", False, True, "fp32", "fp32"),
        ("fp16", "cuda", False, True, "fp32", "fp32"),
        ("bf16", "cuda", False, True, "bf16", "bf16"),
        ("auto", "cpu", True, False, "fp32", "fp32"),
        ("bf16", "cpu", True, False, "fp32", "fp32"),
        ("auto", "cuda", True, False, "fp16", "fp32"),
    ],
)
def test_a_network_is_computed_in_a_precision_that_it_supports(
    asked: str, device: str, fp16: bool, bf16: bool, precision: str, precision_16bit: str
) -> None:
    model = replace(BOOK["x4plus"], spec=replace(MODELS["x4plus"], fp16=fp16, bf16=bf16))
    book = {**BOOK, "x4plus": model}
    made = plan.Planner(config(restored(precision=asked)), book, OUT, device, cpu_bf16=True)
    stat = FileStat(url="/data/in/a.png", bytes=1000, mtime_ns=5)
    params = made.plan(row(), stat).upscale
    assert (params.precision, params.precision_16bit) == (precision, precision_16bit)
    other = made.plan(row(model="animevideov3"), stat).upscale
    assert other.precision == ("fp16" if asked == "auto" and device == "cuda" else "bf16" if asked == "auto" else asked)


def test_half_precision_on_a_cpu_is_refused() -> None:
    with pytest.raises(UsageError, match="fp16 on a CPU"):
        planner(config(restored(precision="fp16")))


def test_bf16_is_refused_where_torch_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.resolver.cpu_runs_bf16", lambda: False)
    with pytest.raises(UsageError, match="no bf16 on this machine"):
        plan.Planner(config(restored(precision="bf16")), BOOK, OUT, "cpu")


def test_rows_override_the_run_and_the_run_the_model() -> None:
    assert planned().params.outscale == 4.0
    assert planned(row(model="x2plus")).params.outscale == 2.0
    assert planned(made=config(restored(outscale=3.5))).params.outscale == 3.5
    assert planned(row(outscale=2), config(restored(outscale=3.5))).params.outscale == 2.0
    assert [planned(device=device).params.batch for device in ("cuda", "cpu")] == [8, 1]
    assert planned(made=config(restored(batch=3)), device="cuda").params.batch == 3


@pytest.mark.parametrize(
    ("model", "device", "tile_px"),
    [
        ("animevideov3", "cuda", 512),
        ("general-x4v3", "cuda", 512),
        ("x4plus", "cuda", 256),
        ("animevideov3", "cpu", 256),
        ("x4plus", "cpu", 256),
    ],
)
def test_a_window_is_as_large_as_the_device_and_the_network_want(model: str, device: str, tile_px: int) -> None:
    assert planned(made=config(restored(model=model)), device=device).params.tile_px == tile_px
    assert planned(made=config(restored(model=model, tile_px=96)), device=device).params.tile_px == 96


def test_denoise_belongs_to_models_that_have_a_partner() -> None:
    denoised = config(restored(model="general-x4v3", denoise=0.5))
    assert planned(made=denoised).params.denoise == 0.5
    assert planned(row(model="x4plus"), denoised).params.denoise == 1.0
    with pytest.raises(UsageError, match="no denoise partner"):
        planner(config(restored(denoise=0.5)))


def test_a_row_asks_for_its_own_strength_of_denoising() -> None:
    general = config(restored(model="general-x4v3", denoise=0.5))
    found = [planned(row(**asked), general) for asked in ({}, {"denoise": 0.25}, {"denoise": 0.0}, {"denoise": 1.0})]
    assert [item.params.denoise for item in found] == [0.5, 0.25, 0.0, 1.0]
    assert len({item.item_id for item in found}) == len({item.params_hash for item in found}) == 4
    assert planned(row(denoise=0.5), general).item_id == found[0].item_id, "what the run says anyway changes nothing"
    assert planned(row(model="general-x4v3", denoise=0.5)).params.denoise == 0.5


def test_a_row_whose_model_has_no_denoise_partner_is_named() -> None:
    assert planned(row(denoise=1.0)).params.denoise == 1.0
    with pytest.raises(ManifestError, match=r"row 3, column denoise: 0\.5, but x4plus has no denoise partner"):
        planned(row(index=3, denoise=0.5))


def test_another_programs_name_means_its_scale_where_nobody_asks_for_one() -> None:
    book = {**BOOK, "realesr-animevideov3-x2": BOOK["animevideov3"]}

    def scale(asked: ModelConfig, **overrides: object) -> float:
        made = plan.Planner(config(asked), book, OUT, "cpu", cpu_bf16=True)
        return made.plan(row(**overrides), FileStat(url="", bytes=1000)).upscale.outscale

    alias = restored(model="realesr-animevideov3-x2")
    assert scale(alias) == 2
    assert scale(replace(alias, outscale=3)) == 3
    assert scale(alias, outscale=1.5) == 1.5
    assert scale(alias, model="x4plus") == 4
    assert scale(restored(), model="realesr-animevideov3-x2") == 2
    prints = {
        plan.Planner(config(model), book, OUT, "cpu", cpu_bf16=True).fingerprint
        for model in (alias, replace(alias, outscale=3), restored(model="animevideov3"))
    }
    assert len(prints) == 3, "a done mark of one scale must not stand for another"


def test_of_several_models_those_without_a_denoise_partner_are_as_they_are() -> None:
    several = restored(model="x4plus", models=("x4plus", "general-x4v3"), denoise=0.25)
    assert planned(row(model="x4plus"), config(several)).upscale.denoise == 1.0
    assert planned(row(model="general-x4v3"), config(several)).upscale.denoise == 0.25
    with pytest.raises(UsageError, match="x4plus and x2plus have no denoise partner"):
        planner(config(replace(several, models=("x4plus", "x2plus"))))


def test_fused_kernels_that_no_model_of_a_command_has_are_refused() -> None:
    fused = restored(model="x4plus", kernel="fused")
    made = plan.Planner(config(fused), BOOK, OUT, "cuda", fused=True)
    assert made.plan(row(), FileStat(url="", bytes=1000)).upscale.kernel == "fused"
    box = replace(fused, model=BOX)
    with pytest.raises(UsageError, match=r"--kernel: box has no fused kernels; use auto or plain"):
        plan.Planner(config(box), BOOK, OUT, "cuda", fused=True)
    auto = plan.Planner(config(replace(box, kernel="auto")), BOOK, OUT, "cuda", fused=True)
    assert auto.plan(row(), FileStat(url="", bytes=1000)).upscale.kernel == "plain"
    several = replace(fused, models=("x4plus", BOX))
    made = plan.Planner(config(several), BOOK, OUT, "cuda", fused=True)
    kernels = [made.plan(row(model=name), FileStat(url="", bytes=1000)).upscale.kernel for name in several.models]
    assert kernels == ["fused", "plain"]


def test_a_model_nobody_knows_names_its_row() -> None:
    with pytest.raises(ManifestError, match="row 7, column model: 'x5plus' is not a model"):
        planned(row(index=7, model="x5plus"))


def test_a_run_or_a_row_asks_for_a_size() -> None:
    sized = config(restored(size=(3840, 2160), fit="cover", max_side=3000))
    params = planned(made=sized).upscale
    assert (params.outscale, params.size, params.fit, params.max_side) == (0.0, (3840, 2160), "cover", 3000)
    assert planned(row(outscale=2), sized).upscale.size is None, "a row's own scale counts"
    ids = [planned(made=config(restored(**asked))).item_id for asked in SIZES]
    assert len(set(ids)) == len(ids)
    for contradiction in (
        {"size": (1, 1), "outscale": 2.0},
        {"size": (0, 1)},
        {"light": "linear", "resize": "official"},
    ):
        with pytest.raises(UsageError):
            restored(**contradiction)


SIZES: list[dict[str, Any]] = [
    {},
    {"size": (64, 48)},
    {"size": (64, 48), "fit": "cover"},
    {"size": (64, 48), "resize": "official"},
    {"size": (64, 48), "light": "linear"},
    {"max_side": 100},
    {"max_side": 100, "light": "linear"},
    {"max_side": 100, "resize": "official"},
    {"outscale": 2.0},
    {"outscale": 2.0, "light": "linear"},
    {"outscale": 16.0},
    {"outscale": 16.0, "resize": "official"},
]


def test_passes_are_those_of_the_model_unless_one_reaches_the_target_or_upstream_is_asked_for() -> None:
    for model, most in (("x4plus", 2), ("x2plus", 4)):
        scale = MODELS[model].scale
        for outscale, passes in ((None, 1), (0.5, 1), (scale, 1), (scale + 0.1, most), (16.0, most)):
            asked = restored(model=model, outscale=outscale)
            assert planned(made=config(asked)).upscale.passes == passes
            assert planned(made=config(replace(asked, resize="official"))).upscale.passes == 1
        assert planned(made=config(restored(model=model, size=(1, 1)))).upscale.passes == most


def test_what_is_not_resampled_has_no_light() -> None:
    assert planned(made=config(restored(light="linear"))).item_id == planned().item_id
    one = planned(film(), config(restored(light="linear")))
    assert one.upscale.light == "linear", "chroma may want other sides than the network's"


# -- outputs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "output", "name", "overrides", "made"),
    [
        ("a.png", "same", None, {}, "a_4x.png"),
        ("b/c/a.JPEG", "same", None, {}, "b/c/a_4x.jpg"),
        ("a.tif", "same", None, {}, "a_4x.tiff"),
        ("a.gif", "same", None, {}, "a_4x.png"),
        ("noextension", "same", None, {}, "noextension_4x.png"),
        ("a.b.png", "webp", None, {}, "a.b_4x.webp"),
        ("a.png", "same", None, {"outscale": 3.5}, "a_3.5x.png"),
        ("a.png", "same", None, {"outscale": 16.0}, "a_16x.png"),
        ("a.png", "same", None, {"outscale": 2.0, "format": "avif"}, "a_2x.avif"),
        ("a.png", "same", "{row}-{model}-{stem}.{ext}", {}, "0-x4plus-a.png"),
        ("a.png", "jpg", "{stem}.jpeg", {}, "a.jpeg"),
        ("b/a.png", "same", None, {"output": "x//./y.webp"}, "x/y.webp"),
        ("-a b%20#?é.png", "same", None, {}, "-a b%20#?é_4x.png"),
        ("new\nline{stem}.png", "same", None, {}, "new\nline{stem}_4x.png"),
    ],
)
def test_outputs_mirror_the_tree_and_follow_the_template(
    source: str, output: str, name: str | None, overrides: dict[str, object], made: str
) -> None:
    asked = OutputConfig(format=output, **({"name": name} if name else {}))
    item = planned(row(source, **overrides), config(output=asked))
    assert item.output_url == f"{OUT}/{made}"
    assert item.params.format == {"jpeg": "jpg"}.get(made.rpartition(".")[2], made.rpartition(".")[2])


@pytest.mark.parametrize(
    ("name", "made"),
    [
        (OutputConfig().name, "a_3840x2160.png"),
        ("{scale}-{stem}.{ext}", "3840x2160-a.png"),
        ("{stem}_{scale}xy.{ext}", "a_3840x2160y.png"),
    ],
)
def test_a_size_stands_in_the_name_where_a_scale_would(name: str, made: str) -> None:
    asked = config(restored(size=(3840, 2160)), OutputConfig(name=name))
    assert planned(made=asked).output_url == f"{OUT}/{made}"


@pytest.mark.parametrize("name", ["{stem}", "{stem}.png", "{stem}.gif"])
def test_names_that_would_lie_about_the_format_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="does not say the format"):
        planner(config(output=OutputConfig(name=name)))


@pytest.mark.parametrize("letter", ["x", "é", "漢", "𝄞"])
def test_the_longest_names_are_cut_and_stay_apart(letter: str) -> None:
    long = letter * (240 // len(letter.encode())) + "tail567890"
    names = [f"{long}.png", f"{long}.jpg", f"{long[:-1]}y.png"]
    made = [planned(row(name), config(output=OutputConfig(format="png"))).output_url for name in names]
    assert len(set(made)) == 3
    assert all(len(url.rpartition("/")[2].encode()) <= 255 for url in made)


@pytest.mark.parametrize(
    "output",
    [
        "../a.png",
        "a/../../b.png",
        "/etc/a.png",
        "s3://other/a.png",
        "a\0.png",
        "x/../a.png",
        ".farm/a.png",
        "a/.farm/b.png",
    ],
)
def test_outputs_outside_the_root_fail_their_row(output: str) -> None:
    with pytest.raises(ItemError) as caught:
        planned(row(output=output))
    assert caught.value.kind is ErrorKind.UNSAFE_PATH


@given(st.text(st.sampled_from("./\\:%a\0 ~-"), min_size=1, max_size=20))
def test_no_output_leaves_the_root(output: str) -> None:
    try:
        url = planner().output_url(row(output=f"{output}.png"))
    except ItemError:
        return
    assert url.startswith(f"{OUT}/")
    assert not {"..", "", ".", ".farm"} & set(url[len(OUT) + 1 :].split("/"))


def test_an_input_is_never_an_output() -> None:
    own = config(output=OutputConfig(name="{stem}.{ext}"))
    with pytest.raises(ItemError, match="is its own output"):
        planned(made=own, out="/data/in")
    with pytest.raises(ManifestError, match=r"is the input of row 0 \(inputs are never overwritten\)"):
        check([row()], planner(own, out="/data/in"))
    with pytest.raises(ManifestError, match=r"row 1.* is the input of row 0"):
        check([row("a_4x.png"), row("A.png", 1)], planner(out="/data/in"))


# -- collisions --------------------------------------------------------------------------------------------------------


def check(rows: Iterable[ManifestRow | RefusedRow], made: plan.Planner | None = None) -> None:
    listed = list(rows)
    check_outputs(lambda: listed, made or planner())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a.gif", "a.png"),
        ("a.jpg", "a.jpeg"),
        ("a.png", "A.png"),
        ("dir/a.png", "DIR/a.png"),
        ("caf\u00e9.png", "cafe\u0301.png"),
        ("stra\u00dfe.png", "STRASSE.png"),
        ("a.png", "a.png"),
    ],
)
def test_colliding_names_are_found_and_both_are_named(first: str, second: str) -> None:
    with pytest.raises(ManifestError) as caught:
        check([row("z.png"), row(first, 1), row(second, 2)])
    message = str(caught.value)
    assert "rows 1 and 2" in message
    assert f"/data/in/{first}" in message
    assert f"/data/in/{second}" in message
    assert "--name '{stem}_{row}_{scale}x.{ext}' or an output column" in message


def test_how_many_more_collide_is_said() -> None:
    with pytest.raises(ManifestError, match=r"\(3 more collide\)"):
        check([row(f"{at % 4}.png", at) for at in range(8)])
    with pytest.raises(ManifestError, match=r"more than 1000 others"):
        check([row("a.png", at) for at in range(5000)])


def test_different_names_refused_rows_and_failing_rows_pass() -> None:
    error = ItemError(ErrorKind.UNSAFE_PATH, "../a", "holds `..`", "name a file")
    bad = [row(output="../a.png"), row(output="../a.png"), RefusedRow(index=0, source="a", error=error)]
    check([row("a.png"), row("a.jpg"), row("b/a.png"), row(outscale=2), *bad])


def test_the_row_number_in_the_name_settles_every_collision() -> None:
    named = planner(config(output=OutputConfig(name="{stem}_{row}_{scale}x.{ext}")))
    check([row("a.png", at) for at in range(100)], named)


def test_digests_that_only_look_equal_are_no_collision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collide, "_short", lambda _text: 1)
    check([row("a.png"), row("b.png")], planner(out="/data"))


# -- sizes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file_format", "size", "refused"),
    [
        ("webp", (4095, 10), None),
        ("webp", (10, 4096), "webp holds at most 16383"),
        ("jpg", (16375, 10), None),
        ("jpg", (16376, 10), "jpg holds at most 65500"),
        ("avif", (4096, 1), None),
        ("avif", (4097, 1), "avif holds at most 16384"),
        ("png", (17_000, 30_000), None),
        ("png", (20_000, 25_601), "limit 512000000"),
    ],
)
def test_what_a_format_or_the_limits_cannot_hold_is_refused(
    file_format: str, size: tuple[int, int], refused: str | None
) -> None:
    error = refuse_size(planned(row(format=file_format)), *size)
    if refused is None:
        assert error is None
        return
    assert error is not None
    assert error.kind is ErrorKind.TOO_LARGE
    assert refused in str(error)
    with pytest.raises(ItemError, match=refused):
        planned(replace(row(format=file_format), width=size[0], height=size[1]))


def test_what_would_become_too_large_is_refused() -> None:
    error = refuse_size(planned(row(format="tiff", outscale=8)), 12_000, 12_000)
    assert "12000 x 12000 at 8x makes 96000 x 96000, 9216000000 pixels (limit 8200000000)" in str(error)


def test_cost_is_the_pixels_if_the_manifest_says_them_and_a_guess_if_not() -> None:
    assert planned(replace(row(), width=30, height=20)).cost_px == 600
    assert planned(row("a.png")).cost_px < planned(row("a.jpg")).cost_px
    assert planner().plan(row(), FileStat(url="", bytes=0)).cost_px == 1


def test_ten_thousand_local_rows_are_read_statted_and_planned_at_once(tmp_path: Path) -> None:
    """R10 leaves 5 s for all of a second run; planning takes about half a second of them on an idle core."""
    for folder in range(100):
        (tmp_path / str(folder)).mkdir()
        for name in range(100):
            (tmp_path / str(folder) / f"{name}.jpg").touch()
    made = planner(out=str(tmp_path / "farm-out"))
    read: Callable[[], list[ManifestRow | RefusedRow]] = lambda: list(read_manifest(str(tmp_path)))  # noqa: E731
    began = time.process_time()
    check_outputs(read, made)
    items = [made.plan(one, storage.stat(one.source_url)) for one in read() if isinstance(one, ManifestRow)]
    assert len({item.item_id for item in items}) == 10_000
    assert time.process_time() - began < 3


# -- blocks ------------------------------------------------------------------------------------------------------------


def test_ids_are_what_they_have_always_been() -> None:
    """Every ledger there is rests on them; IDENTITY_EPOCH is raised when they change."""
    assert plan.IDENTITY_EPOCH == 1
    assert planned().item_id == "9608bc70e8fef29085205a3c5afe7758"
    assert planned(replace(row(), sha256="a" * 64)).item_id == "9211249a1a4ab973a3843a7851c2489f"


def test_what_changes_films_leaves_pictures_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    film = replace(row("a.mp4"), kind=MediaKind.VIDEO)
    before = planned().item_id, planned(film).item_id
    monkeypatch.setattr(params, "FILM_EPOCH", params.FILM_EPOCH + 1)
    after = planned().item_id, planned(film).item_id
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False]
    monkeypatch.undo()
    monkeypatch.setattr(params, "PIXEL_EPOCH", params.PIXEL_EPOCH + 1)
    assert planned(film).item_id != before[1], "what changes pictures changes films"


PATHS = ["a.png", "b/a.JPEG", "b/c.d/x", "noext", ".png", "b/.png", "d/a.mp4", "d/f%04d.png", "a%b.png", "x.y/z.tif"]
PATHS += [
    "é/ü.png",
    "é" * 130 + ".png",
    "a" * 250 + ".png",
    ".farm/a.png",
    "b.farm/a.png",
    "a.b.c.webp",
    "漢" * 80 + ".jpg",
]


@pytest.mark.parametrize(
    "name", ["{stem}_{scale}x.{ext}", "{stem}.{ext}", "{row}_{stem}.{ext}", "x_{stem}.{ext}", "{stem}-{stem}.{ext}"]
)
@pytest.mark.parametrize("output", ["same", "png"])
def test_the_names_of_a_block_are_those_of_its_rows(name: str, output: str) -> None:
    made = planner(config(output=OutputConfig(format=output, name=name)))
    rows = [replace(row(path, at % 7), index=at, kind=kind_of(path)) for at, path in enumerate(PATHS * 3)]
    expected: list[str] = []
    for one in rows:
        try:
            expected.append(planner(config(output=OutputConfig(format=output, name=name))).output_url(one))
        except ItemError:
            expected.append("")
    refused = RefusedRow(index=0, source="x", error=ItemError(ErrorKind.UNSAFE_PATH, "x", "y", "z"))
    named = Namer(made).names(block_of([*rows, refused], 0))
    assert named.outputs == [*expected, ""]
    for one, found, recipe in zip(rows, named.outputs, named.recipes, strict=False):
        assert (recipe is None) == (not found)
        if recipe is not None:
            item = planned(one, config(output=OutputConfig(format=output, name=name)))
            assert plan.make_id(one.source_url, "stat:1000:5", recipe, found) == item.item_id


def test_fingerprints_are_equal_where_items_and_refusals_are() -> None:
    base = planner().fingerprint
    assert base == planner(replace(config(), quiet=True, manifest="other.csv")).fingerprint
    assert base == planner(config(limits=LimitConfig(limit=5))).fingerprint
    others = [
        planner(out="/data/out2"),
        planner(device="cuda"),
        planner(bf16=False),
        planner(config(restored(tile_px=128))),
        planner(config(restored(model="x2plus"))),
        planner(config(output=OutputConfig(name="{stem}.{ext}"))),
        planner(config(output=OutputConfig(format="webp"))),
        planner(config(limits=LimitConfig(max_pixels_in=5))),
        planner(config(limits=LimitConfig(pages="first"))),
        planner(replace(config(), video=VideoConfig(crf=20))),
        plan.Planner(config(), {**BOOK, "x4plus": replace(BOOK["x4plus"], sha256="f" * 64)}, OUT, "cpu", cpu_bf16=True),
    ]
    assert len({base, *(one.fingerprint for one in others)}) == len(others) + 1


@pytest.mark.parametrize("bound_bytes", [0, 1000, 1 << 20])
def test_collisions_are_found_in_scratch_too(monkeypatch: pytest.MonkeyPatch, bound_bytes: int) -> None:
    monkeypatch.setattr(spill, "BOUND_BYTES", bound_bytes)
    rows = [row(f"{at}.png", at) for at in range(5000)]
    check(rows)
    with pytest.raises(ManifestError, match=r"rows 17 and 5000: both name '/data/in/17.png' and would make"):
        check([*rows, row("17.png", 5000)])
    with pytest.raises(ManifestError, match=r"row 5000.* is the input of row 3 "):
        check([*rows, row("x.gif", 5000, output="3.png")], planner(out="/data/in"))
