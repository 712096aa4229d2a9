"""The task in this process, without Ray: bands, joins and what is done about a damaged band."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import pyvips
import torch
from torch import Tensor

from farm import failpoints, fetch, storage
from farm.assemble import Assembly
from farm.config import LimitConfig, ModelConfig, OutputConfig, RunConfig, WorkerConfig
from farm.errors import DiskError, ErrorKind, ItemError
from farm.lock import RunLock
from farm.params import params_hash
from farm.plan import Planner
from farm.records import Done, Failed, ManifestRow, Part, PartKind, Split
from farm.tasks import station
from farm.tasks.base import WorkerContext
from farm.tasks.restore import body_bytes, picture_spec
from farm.tasks.station import Station
from farm.tasks.upscale_image import UpscaleImage
from farm.worker import Worker
from sr_kernel.archs import Network
from sr_kernel.backend import Backend, DeviceMemoryError
from sr_kernel.believable.niqe import niqe
from sr_kernel.tiles import Box, plan_picture
from sr_kernel.upscale import Upscaler, WindowResult

from ..precision import needs_bf16
from ..seeded import save_srvgg
from .contexts import worker_here
from .picture_bench import bands_done, finish, write_png


@dataclass
class Bench:
    """One worker's task over one picture."""

    task: UpscaleImage
    planner: Planner
    folder: Path
    context: WorkerContext

    def picture(self, pixels: np.ndarray, name: str = "a.png") -> Part:
        path = write_png(self.folder / name, pixels)
        row = ManifestRow(index=0, source_url=str(path), relative_path=name)
        item = self.planner.plan(row, storage.stat(str(path)))
        return Part(item=item, kind=PartKind.PICTURE, cost_px=item.cost_px)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beside what is remembered of it: reading a weight file takes a process of its own and seconds."""
    return save_srvgg(tmp_path_factory.mktemp("model") / "tiny.pth", features=8, convs=2)


@pytest.fixture
def make_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path) -> Iterator[Callable[..., Bench]]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(model.parent))
    resolved = fetch.resolve(str(model))
    out = tmp_path / "out"
    made: list[UpscaleImage] = []
    with RunLock(str(out)) as held:

        def make(*, memory_bytes: int = 1 << 30, **changes: object) -> Bench:
            config = RunConfig(
                manifest=str(tmp_path),
                model=ModelConfig(model=str(model), tile_px=32, band_px=2000, precision="fp32"),
                output=OutputConfig(),
                worker=WorkerConfig(),
                limits=LimitConfig(),
            )
            config = replace(config, model=replace(config.model, **changes))
            context = worker_here(held.run, out, resolved, memory_bytes=memory_bytes)
            made.append(UpscaleImage(Station(context)))
            planner = Planner(config, MappingProxyType({str(model): resolved}), str(out), "cpu")
            return Bench(task=made[-1], planner=planner, folder=tmp_path, context=context)

        yield make
        for task in made:
            task.stop()


def noise(width: int, height: int, bands: int = 3, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (height, width, bands), dtype=dtype, endpoint=True)


@pytest.mark.parametrize("band_px", [2000, 10**9])
def test_a_damaged_picture_is_salvaged_whole_or_in_bands_and_says_so(
    make_bench: Callable[..., Bench], band_px: int
) -> None:
    bench = make_bench(band_px=band_px)
    part = bench.picture(noise(60, 130), "a.png")
    whole = finish(bench.task, part)
    cut = bench.folder / "cut.png"
    cut.write_bytes(Path(part.item.row.source_url).read_bytes()[:-2000])
    row = ManifestRow(index=0, source_url=str(cut), relative_path="cut.png")
    part = replace(part, item=bench.planner.plan(row, storage.stat(str(cut))))
    params = replace(part.item.upscale, salvage=True)
    assert params_hash(params) == params_hash(part.item.upscale)
    with pytest.raises(ItemError, match="truncated"):
        finish(bench.task, part)
    kept = finish(bench.task, replace(part, item=replace(part.item, params=params)))
    assert (whole.lacking, kept.lacking) == (False, True)
    assert "was kept" in (kept.warning or "")
    assert (kept.width, kept.height) == (whole.width, whole.height)


@pytest.mark.parametrize(
    ("bands", "dtype"), [(1, np.uint8), (3, np.uint8), (4, np.uint8), (3, np.uint16), (4, np.uint16)]
)
@pytest.mark.parametrize("outscale", [None, 2.5])
def test_a_cut_picture_has_the_pixels_of_the_whole(
    make_bench: Callable[..., Bench], bands: int, dtype: type, outscale: float | None
) -> None:
    pixels = noise(60, 130, bands, dtype)
    if bands == 4:
        pixels[:70, :, 3] = 0
        pixels[100:, :30, 3] = np.iinfo(dtype).max
    made = []
    for band_px in (2000, 10**9):
        bench = make_bench(band_px=band_px, outscale=outscale)
        done = finish(bench.task, bench.picture(pixels))
        made.append((pyvips.Image.new_from_file(done.url).numpy().copy(), done.stats))
    assert (made[0][0] == made[1][0]).all()
    assert made[0][0].dtype == dtype
    cut, whole = (replace(stats, seams=0, seam=0, beside=0) for _, stats in made)
    assert cut == whole, "all but the seams between bands, of which each band has one side only"


def test_hidden_colours_do_not_show(make_bench: Callable[..., Bench]) -> None:
    pixels = noise(50, 40, 4)
    pixels[:, 20:, 3] = 0
    other = pixels.copy()
    other[:, 20:, :3] = 255 - other[:, 20:, :3]
    bench = make_bench()
    made = [
        pyvips.Image.new_from_file(finish(bench.task, bench.picture(one)).url).numpy().copy() for one in (pixels, other)
    ]
    assert (made[0] == made[1]).all()


def test_a_damaged_band_fails_the_join_and_all_bands_go(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    part = bench.picture(noise(60, 130))
    split = bench.task.run(part, None)
    assert isinstance(split, Split)
    join = bands_done(bench.task, part, split)
    piece = Path(join.pieces[1].url)
    piece.write_bytes(piece.read_bytes()[:-200] + bytes(200))
    with pytest.raises(ItemError, match="damaged or lost") as failed:
        bench.task.run(join, None)
    assert failed.value.kind is ErrorKind.CHANGED_DURING_READ
    assert not piece.parent.exists()
    assert not Path(part.item.output_url).exists()
    finish(bench.task, part)
    assert Path(part.item.output_url).exists()


def test_a_picture_beyond_the_workers_memory_is_refused_before_it_is_decoded(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(memory_bytes=10_000, band_px=10**9)
    with pytest.raises(ItemError, match="this worker may use") as failed:
        bench.task.run(bench.picture(noise(60, 130)), None)
    assert failed.value.kind is ErrorKind.OUT_OF_MEMORY


def test_what_made_the_file_is_written_into_it(make_bench: Callable[..., Bench], model: Path) -> None:
    bench = make_bench(band_px=10**9)
    done = finish(bench.task, bench.picture(noise(20, 20)))
    xmp = pyvips.Image.new_from_file(done.url).get("xmp-data").decode()
    assert "file:tiny" in xmp
    assert "Turns" not in xmp
    assert fetch.resolve(str(model)).sha256 in xmp


def test_a_black_result_is_never_published(make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make_bench(band_px=10**9)

    def black(result: WindowResult) -> WindowResult:
        return replace(result, stats=replace(result.stats, sum_out=0))

    spoil(monkeypatch, black)
    part = bench.picture(noise(40, 30))
    with pytest.raises(ItemError, match="black") as failed:
        bench.task.run(part, None)
    assert failed.value.kind is ErrorKind.SUSPECT_OUTPUT
    assert not Path(part.item.output_url).exists()


@needs_bf16
def test_half_precision_that_overflows_is_tried_once_in_full(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(band_px=10**9, precision="bf16")
    spoil(monkeypatch, lambda result: replace(result, finite=False), precision="bf16")
    done = finish(bench.task, bench.picture(noise(40, 30)))
    assert done.precision == "fp32"
    spoil(monkeypatch, lambda result: replace(result, finite=False))
    with pytest.raises(ItemError) as failed:
        bench.task.run(bench.picture(noise(40, 30), "b.png"), None)
    assert failed.value.kind is ErrorKind.NONFINITE_OUTPUT


def stripes(made: Tensor) -> Tensor:
    """Of 12 output pixels and 6 levels."""
    return made + 6 / 255 * torch.sin(torch.arange(made.shape[2]) * (2 * torch.pi / 12))[None, None, :, None]


FAULTS: dict[str, Callable[[Tensor], Tensor]] = {
    "inf": lambda made: torch.where(made > 0.7, torch.inf, made),
    "black": lambda made: made * 0,
    "stripes": stripes,
}


def enlarge(x: Tensor, keep: Box) -> Tensor:
    """What a network that makes nothing up would give."""
    made = torch.nn.functional.interpolate(x, scale_factor=4, mode="bilinear")
    rows, columns = slice(4 * keep.y0, 4 * keep.y1), slice(4 * keep.x0, 4 * keep.x1)
    return made.permute(0, 2, 3, 1)[:, rows, columns].contiguous()


def fault(monkeypatch: pytest.MonkeyPatch, change: Callable[[Tensor], Tensor], *precisions: str) -> list[str]:
    """Networks that enlarge, with something wrong in some precisions; gives those that were run, in order."""
    asked: list[str] = []

    def network(self: Backend, precision: str) -> Network:
        def run(x: Tensor, keep: Box) -> Tensor:
            asked.append(precision)
            return change(enlarge(x, keep)) if precision in precisions else enlarge(x, keep)

        return run

    monkeypatch.setattr(Backend, "network", network)
    return asked


def in_half(part: Part) -> Part:
    """As planned for a processor that has bfloat16."""
    return replace(part, item=replace(part.item, params=replace(part.item.upscale, precision="bf16")))


def calm_picture() -> np.ndarray:
    y, x = np.mgrid[:200, :240]
    level = 120 + 60 * np.sin(x / 40) + 50 * np.cos(y / 30)
    return np.round(level[..., None] + np.array([0, 10, -20])).astype(np.uint8)


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("band_px", [10**9, 20_000])
def test_half_precision_that_fails_is_tried_once_in_full_and_that_is_recorded(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, name: str, band_px: int
) -> None:
    bench = make_bench(band_px=band_px, tile_px=64)
    part = in_half(bench.picture(calm_picture()))
    asked = fault(monkeypatch, FAULTS[name], "bf16")
    done = finish(bench.task, part)
    assert set(asked) == {"bf16", "fp32"}
    assert asked.count("fp32") == asked.count("bf16")
    assert done.suspect == ""
    if band_px == 10**9:
        assert done.precision == "fp32"
    made = pyvips.Image.new_from_file(done.url).numpy()
    honest = make_bench(band_px=10**9, tile_px=64)
    assert np.array_equal(
        made, pyvips.Image.new_from_file(finish(honest.task, honest.picture(calm_picture())).url).numpy()
    )


@pytest.mark.parametrize("band_px", [10**9, 20_000])
def test_what_is_suspect_in_full_too_is_marked_or_refused(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, band_px: int
) -> None:
    bench = make_bench(band_px=band_px, tile_px=64)
    part = bench.picture(calm_picture())
    asked = fault(monkeypatch, stripes, "bf16", "fp32")
    done = finish(bench.task, in_half(part))
    assert done.suspect == "stripes"
    assert (done.stats.stripes or 0) > 0.5
    assert asked.count("fp32") == asked.count("bf16"), "once"
    Path(done.url).unlink()
    strict = replace(part, item=replace(part.item, params=replace(part.item.upscale, suspect="refuse")))
    with pytest.raises(ItemError, match=r"not believable \(stripes 0\.[5-9]|1\)") as failed:
        finish(bench.task, strict)
    assert failed.value.kind is ErrorKind.SUSPECT_OUTPUT
    assert failed.value.suspect == "stripes"
    assert pickle.loads(pickle.dumps(failed.value)).suspect == "stripes"
    assert not Path(part.item.output_url).exists()


def test_what_an_earlier_pass_made_up_is_suspect_although_the_last_one_keeps_to_it(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(band_px=10**9, tile_px=256, outscale=16)
    part = bench.picture(calm_picture()[:64, :64])
    asked = fault(monkeypatch, lambda made: stripes(made) if made.shape[1] <= 256 else made, "fp32")
    done = finish(bench.task, part)
    assert len(asked) > 1
    assert done.suspect == "stripes"
    assert done.stats.striped == 0, "of the last pass, whose source has them"


@pytest.mark.parametrize(("name", "kind"), [("inf", ErrorKind.NONFINITE_OUTPUT), ("black", ErrorKind.SUSPECT_OUTPUT)])
def test_what_holds_no_picture_is_refused_whatever_the_flag(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, name: str, kind: ErrorKind
) -> None:
    bench = make_bench(band_px=10**9, tile_px=64)
    fault(monkeypatch, FAULTS[name], "bf16", "fp32")
    with pytest.raises(ItemError) as failed:
        bench.task.run(in_half(bench.picture(calm_picture())), None)
    assert failed.value.kind is kind
    assert failed.value.suspect == "", "no flag would publish it"


def test_one_window_that_is_off_shows_as_a_seam(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(band_px=10**9, tile_px=64)
    asked = fault(monkeypatch, lambda made: made + (len(asked) == 6) * 3 / 255, "fp32")
    done = finish(bench.task, bench.picture(calm_picture()))
    assert (len(asked), done.stats.seams, done.suspect) == (12, 17, "seam")
    asked.extend([""] * 100)
    done = finish(bench.task, bench.picture(calm_picture(), "b.png"))
    assert (done.stats.seam_score, done.suspect) == (pytest.approx(1, abs=0.1), "")


def test_niqe_is_computed_where_it_is_asked_for(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(band_px=10**9)
    part = bench.picture(noise(80, 60))
    asked = replace(part, item=replace(part.item, params=replace(part.item.upscale, niqe=True)))
    done = finish(bench.task, asked)
    assert done.niqe == niqe(pyvips.Image.new_from_file(done.url).numpy())
    assert done.niqe is not None
    assert finish(bench.task, part).niqe is None


def test_a_device_that_is_out_of_memory_fails_the_row_as_such(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(band_px=10**9)

    def refuse(result: WindowResult) -> WindowResult:
        raise DeviceMemoryError("CUDA out of memory")

    spoil(monkeypatch, refuse)
    worker = object.__new__(Worker)  # without its process-wide side effects
    vars(worker).update(_stopping=False, _tasks={"upscale_image": bench.task}, _node="n", _context=bench.context)
    outcome = worker._run_part(bench.picture(noise(40, 30)), None)
    assert isinstance(outcome, Failed)
    assert outcome.kind is ErrorKind.OUT_OF_MEMORY
    assert "lower --exact-px" in outcome.message


@pytest.mark.parametrize("point", ["decode", "infer", "assemble", "encode"])
def test_what_the_machine_refuses_in_the_middle_of_a_part_is_no_defect(
    make_bench: Callable[..., Bench], point: str
) -> None:
    """One broken read fails the row, and is tried again; a full disk ends the run."""
    bench = make_bench(band_px=10**9)
    worker = object.__new__(Worker)  # without its process-wide side effects
    vars(worker).update(_stopping=False, _tasks={"upscale_image": bench.task}, _node="n", _context=bench.context)
    part = bench.picture(noise(40, 30))
    try:
        failpoints.arm(f"{point}=EIO@1;{point}=ENOSPC@1")
        outcome = worker._run_part(part, None)
        assert isinstance(outcome, Failed)
        assert (outcome.kind, outcome.retryable) == (ErrorKind.STORAGE_ERROR, True)
        assert outcome.message.startswith(f"storage_error: {part.item.row.source_url}: Input/output error while ")
        with pytest.raises(DiskError, match="No space left on device while it was worked on"):
            worker._run_part(part, None)
        assert isinstance(worker._run_part(part, None), Done)
    finally:
        failpoints.disarm()


def spoil(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[WindowResult], WindowResult], precision: str | None = None
) -> None:
    """Let the network's results arrive changed, all of them or those of one precision."""
    real = Upscaler.start_windows

    @dataclass
    class Spoilt:
        results: Callable[[], list[WindowResult]]
        smaller: bool = False

    def start_windows(self: Upscaler, windows, tiles, plans, settings):  # type: ignore[no-untyped-def]
        results = real(self, windows, tiles, plans, settings).results()
        return Spoilt(lambda: [change(one) if precision in (None, settings.precision) else one for one in results])

    monkeypatch.setattr(Upscaler, "start_windows", start_windows)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("band_px", [2000, 10**9])
def test_a_batch_that_memory_did_not_hold_is_said_of_outputs_of_a_gpu(
    make_bench: Callable[..., Bench], channels: int, band_px: int
) -> None:
    """Where bytes depend on the batch's shape; the identity holds the batch that was asked for."""
    bench = make_bench(batch=8, band_px=band_px)
    part = bench.picture(noise(60, 130, channels))
    on_gpu = replace(part, item=replace(part.item, params=replace(part.item.upscale, device_class="cuda")))
    assert finish(bench.task, on_gpu).warning is None
    assert finish(bench.task, part, batch_limit=1).warning is None, "on a CPU no byte depends on it"
    warning = finish(bench.task, on_gpu, batch_limit=1).warning or ""
    assert warning.startswith("memory did not hold batches of 8 windows: on a GPU another run may differ")
    assert warning.count("memory did not hold") == 1, "bands say the same, the picture says it once"


@pytest.mark.parametrize("says", ["nothing", "sha256", "etag"])
@pytest.mark.parametrize("whole_bytes", [1 << 20, 4])
def test_bands_of_two_versions_never_meet(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, says: str, whole_bytes: int
) -> None:
    monkeypatch.setattr(station, "_WHOLE_FILE_BYTES", whole_bytes)
    bench = make_bench()
    pixels = np.random.default_rng(0).integers(0, 256, (96, 64, 3), np.uint8)
    whole = bench.picture(pixels)
    path = Path(whole.item.row.source_url)
    words = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()} if says == "sha256" else {}
    row = replace(whole.item.row, **({"etag": "said"} if says == "etag" else words))
    whole = replace(whole, item=bench.planner.plan(row, storage.stat(str(path))))
    split = bench.task.run(whole, None)
    assert isinstance(split, Split)
    first, second, *_ = Assembly().begin(whole, split, {})
    assert isinstance(bench.task.run(first, None), Done)
    bench.picture(pixels[::-1])
    with pytest.raises(ItemError) as caught:
        bench.task.run(second, None)
    assert caught.value.kind is ErrorKind.CHANGED_DURING_READ


def test_a_digest_is_checked_of_files_that_are_never_read_whole(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station, "_WHOLE_FILE_BYTES", 4)
    bench = make_bench()
    whole = bench.picture(np.zeros((96, 64, 3), np.uint8))
    row = replace(whole.item.row, sha256="0" * 64)
    whole = replace(whole, item=bench.planner.plan(row, storage.stat(row.source_url)))
    with pytest.raises(ItemError, match=r"sha256 is .*, the manifest says 0000"):
        bench.task.run(whole, None)


@pytest.mark.parametrize(
    "asked",
    [{"tta": True}, {"keep_colour": True}, {"tta": True, "keep_colour": True}, {"keep_colour": True, "outscale": 9.0}],
)
def test_turns_and_kept_colours_are_the_same_in_bands(
    make_bench: Callable[..., Bench], asked: dict[str, float]
) -> None:
    pixels = noise(70, 150, 4)
    pixels[:, :20, 3] = 0
    made = []
    for band_px in (2000, 10**9):
        bench = make_bench(band_px=band_px, **asked)
        made.append(pyvips.Image.new_from_file(finish(bench.task, bench.picture(pixels)).url).numpy().copy())
    assert (made[0] == made[1]).all()
    plain = make_bench(band_px=10**9, **{**asked, "tta": False, "keep_colour": False})
    as_ever = pyvips.Image.new_from_file(finish(plain.task, plain.picture(pixels)).url).numpy()
    changed = np.abs(made[0].astype(int) - as_ever).max(axis=(0, 1))
    assert (changed[:3] > 2).all()
    assert (changed[3] > 0) == ("tta" in asked), "alpha is turned as all that a network restores, and has no colour"


def test_turns_and_kept_colours_are_written_into_what_they_made(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(band_px=10**9, tta=True, keep_colour=True)
    xmp = pyvips.Image.new_from_file(finish(bench.task, bench.picture(noise(20, 20))).url).get("xmp-data").decode()
    assert 'Turns="8"' in xmp
    assert 'KeptColour="true"' in xmp


def test_gray_stays_gray_where_colours_are_kept(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(band_px=10**9, keep_colour=True)
    pixels = noise(60, 50, 1, np.uint16)
    made = pyvips.Image.new_from_file(finish(bench.task, bench.picture(pixels)).url).numpy().squeeze()
    assert (made.shape, made.dtype) == ((200, 240), np.uint16)
    means = made.reshape(50, 4, 60, 4).mean(axis=(1, 3)) / 257
    assert abs(means.mean() - pixels.mean() / 257) < 1


def test_a_picture_says_if_some_of_its_bands_were_tried_in_full(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    part = bench.picture(noise(60, 130))
    split = bench.task.run(part, None)
    assert isinstance(split, Split)
    assembly, join = Assembly(), None
    for band in assembly.begin(part, split, {}):
        done = bench.task.run(band, None)
        assert isinstance(done, Done)
        join = assembly.add(band, replace(done, precision="fp16") if band.index else done)
    assert join is not None
    joined = bench.task.run(join, None)
    assert isinstance(joined, Done)
    assert joined.precision == "fp16+fp32"
    assert "fp16+fp32" in pyvips.Image.new_from_file(joined.url).get("xmp-data").decode()


def test_a_whole_output_that_is_held_is_counted(make_bench: Callable[..., Bench]) -> None:
    """Turns and kept colours of a body that runs whole: 12 bytes for each pixel of the output."""
    params = make_bench().picture(noise(9, 9)).item.upscale
    plain = replace(params, whole_body=True)
    plan = plan_picture(picture_spec(plain, 100, 50))
    assert body_bytes(plan, plain, "fp32") == 5000 * 1600
    for asked in ({"tta": True}, {"keep_colour": True}):
        assert body_bytes(plan, replace(plain, **asked), "bf16") == 5000 * (800 + 12 * 16)
    windows = plan_picture(picture_spec(params, 100, 50))
    assert body_bytes(windows, replace(params, tta=True), "fp32") == 0
