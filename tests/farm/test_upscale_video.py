"""One worker's task over films, part by part: what a whole run cannot make happen on purpose."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from farm import fetch, storage
from farm.assemble import Assembly, piece_of
from farm.config import ModelConfig, RunConfig, VideoConfig
from farm.entries import done_entry, flicker
from farm.errors import ErrorKind, ItemError
from farm.kinds import MediaKind
from farm.lock import RunLock
from farm.media import video
from farm.media.video.write.encode import SegmentEncoder
from farm.plan import Planner
from farm.records import Done, ManifestRow, Part, PartKind, Split
from farm.tasks import upscale_video
from farm.tasks.chain import plan_chain, restore_chain, whole_links
from farm.tasks.frames import FramePipeline, frames_that_fill
from farm.tasks.lane import LaneStopped
from farm.tasks.restore import Cut, picture_spec, whole
from farm.tasks.station import Clock, Station
from farm.tasks.upscale_video import UpscaleVideo
from sr_kernel.backend import DeviceMemoryError
from sr_kernel.colour import Planes
from sr_kernel.frames import FrameUpscaler, RestoredFrame, StartedFrames
from sr_kernel.steps import Steps
from sr_kernel.tiles import plan_picture
from tests.clips import h264

from ..pictures import png_of
from ..precision import needs_bf16
from ..seeded import save_srvgg
from .contexts import worker_here

SIZE = (24, 16)


@dataclass
class Bench:
    """One worker's task over one film."""

    task: UpscaleVideo
    station: Station
    planner: Planner
    folder: Path

    def film(
        self, pictures: Sequence[np.ndarray], pix_fmt: str = "bgr0", *, matrix: tuple[int, ...] | None = None
    ) -> Part:
        path = self.folder / "film.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = *SIZE, pix_fmt
            if matrix:
                stream.set_display_matrix(matrix)
            for picture in pictures:
                kind = "rgba" if picture.shape[2] == 4 else "rgb24"
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format=kind).reformat(format=pix_fmt)))
            container.mux(stream.encode(None))
        row = ManifestRow(index=0, source_url=str(path), relative_path="film.mkv", kind=MediaKind.VIDEO)
        item = self.planner.plan(row, storage.stat(str(path)))
        return Part(item=item, kind=PartKind.FILM, cost_px=item.cost_px)

    def without_keyframes(self, frames: int) -> Part:
        """A film of one keyframe whose container, that has no timestamps, cannot be sought in."""
        path = self.folder / "film.h264"
        path.write_bytes(h264("h264", "bframes=2:keyint=infinite:scenecut=0", frames=frames, size=SIZE))
        row = ManifestRow(index=0, source_url=str(path), relative_path="film.h264", kind=MediaKind.VIDEO)
        item = self.planner.plan(row, storage.stat(str(path)))
        return Part(item=item, kind=PartKind.FILM, cost_px=item.cost_px)

    def segments(self, film: Part) -> tuple[Assembly, list[Part]]:
        split = self.task.run(film, None)
        assert isinstance(split, Split)
        assembly = Assembly()
        return assembly, assembly.begin(film, split, {})

    def join_of(self, film: Part) -> Part:
        assembly, segments = self.segments(film)
        joins = [assembly.add(one, self.done(one)) for one in segments]
        assert joins[-1] is not None
        return joins[-1]

    def done(self, part: Part) -> Done:
        done = self.task.run(part, None)
        assert isinstance(done, Done)
        return done

    def restored(self, pictures: Sequence[np.ndarray], pix_fmt: str = "bgr0") -> tuple[Done, list[np.ndarray]]:
        done = self.done(self.join_of(self.film(pictures, pix_fmt)))
        with av.open(done.url) as container:
            kind = "rgba" if pix_fmt == "bgra" else "rgb24"
            return done, [frame.to_ndarray(format=kind) for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beside what is remembered of it: reading a weight file takes a process of its own and seconds."""
    return save_srvgg(tmp_path_factory.mktemp("model") / "tiny.pth", features=8, convs=2)


@pytest.fixture
def make_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path) -> Iterator[Callable[..., Bench]]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(model.parent))
    resolved = fetch.resolve(str(model))
    out = tmp_path / "out"
    made: list[UpscaleVideo] = []
    with RunLock(str(out)) as held:

        def make(
            *,
            memory_bytes: int = 1 << 30,
            precision: str = "fp32",
            asked: dict[str, Any] | None = None,
            **options: object,
        ) -> Bench:
            wanted = ModelConfig(model=str(model), tile_px=32, precision=precision, **(asked or {}))
            config = RunConfig(manifest=str(tmp_path), model=wanted)
            config = replace(config, video=VideoConfig(**{"segment_frames": 4, **options}))  # pyright: ignore
            context = worker_here(held.run, out, resolved, memory_bytes=memory_bytes)
            station = Station(context)
            made.append(UpscaleVideo(station))
            planner = Planner(config, MappingProxyType({str(model): resolved}), str(out), "cpu")
            return Bench(task=made[-1], station=station, planner=planner, folder=tmp_path)

        yield make
        for task in made:
            task.stop()


def noise(number: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 255, (*SIZE[::-1], channels), dtype=np.uint8, endpoint=True)


def spoil(monkeypatch: pytest.MonkeyPatch, change: Callable[[RestoredFrame, str], RestoredFrame]) -> None:
    """Put something wrong into what the network gives."""
    start = FrameUpscaler.start

    def started(self: FrameUpscaler, frames: Sequence[Planes]) -> StartedFrames:
        precision = self._settings.precision
        real = start(self, frames)
        made = [change(frame, precision) for frame in real.frames()]

        class Spoilt:
            def frames(self) -> list[RestoredFrame]:
                return made

        return Spoilt()  # pyright: ignore[reportReturnType]

    monkeypatch.setattr(FrameUpscaler, "start", started)


def test_frames_are_the_pictures_of_the_image_path_whatever_the_segments(make_bench: Callable[..., Bench]) -> None:
    pictures = [noise(number) for number in range(7)]
    bench = make_bench(segment_frames=3)
    done, frames = bench.restored(pictures)
    item = bench.film(pictures).item
    for picture, frame in zip(pictures, frames, strict=True):
        wanted = bench.station.restorer.restore(picture, cut_of(bench), item.params, "", None).pixels
        np.testing.assert_array_equal(frame, wanted)
    assert (done.frames, done.width, done.height) == (7, 96, 64)
    assert [frame.tobytes() for frame in make_bench(segment_frames=100).restored(pictures)[1]] == [
        frame.tobytes() for frame in frames
    ]


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(
    ("asked", "made", "passes"),
    [
        ({"outscale": 16.0}, (384, 256), 2),
        ({"outscale": 6.0, "light": "linear"}, (144, 96), 2),
        ({"size": (101, 75), "fit": "stretch"}, (101, 75), 2),
        ({"size": (90, 90)}, (90, 60), 1),
        ({"outscale": 16.0, "max_side": 50}, (50, 33), 1),
    ],
)
def test_frames_of_any_size_are_pictures_of_that_size(
    make_bench: Callable[..., Bench], asked: dict[str, Any], made: tuple[int, int], passes: int, channels: int
) -> None:
    bench, pictures = make_bench(segment_frames=2, asked=asked), [noise(number, channels) for number in range(3)]
    done, frames = bench.restored(pictures, "bgra" if channels == 4 else "bgr0")
    assert (done.width, done.height) == made
    params = bench.film(pictures).item.upscale
    links = whole_links(plan_chain(params, *SIZE))
    assert len(links) == passes
    for picture, frame in zip(pictures, frames, strict=True):
        *_, wanted = restore_chain(bench.station.restorer, picture, links, params, "", None)
        np.testing.assert_array_equal(frame, wanted.pixels)


def test_a_first_pass_that_is_not_finite_is_told(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, real = make_bench(asked={"outscale": 16.0}), Steps.finish

    def broken(self: Steps, made: Any, x: Any, area: Any, job: Any, settings: Any) -> Any:
        gain = float("nan") if job.plan.spec.width == SIZE[0] else 1.0
        return real(self, lambda box: made(box) * gain, x, area, job, settings)

    monkeypatch.setattr(Steps, "finish", broken)
    with pytest.raises(ItemError) as failed:
        bench.restored([noise(0)])
    assert failed.value.kind is ErrorKind.NONFINITE_OUTPUT


def cut_of(bench: Bench) -> Cut:
    """One frame, as a picture."""
    return whole(plan_picture(picture_spec(bench.film([noise(0)]).item.params, *SIZE)))


def test_alpha_is_restored_as_that_of_a_picture(make_bench: Callable[..., Bench]) -> None:
    pictures = [noise(number, 4) for number in range(3)]
    for picture in pictures:
        picture[:, :8, 3], picture[:, 8:, 3] = 0, 255
    _, frames = make_bench().restored(pictures, "bgra")
    assert len(frames) == 3
    assert all((frame[:, :24, 3] == 0).all() and (frame[:, 40:, 3] == 255).all() for frame in frames)


def test_frames_that_a_rate_repeats_are_restored_once(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    start = FrameUpscaler.start
    monkeypatch.setattr(
        FrameUpscaler, "start", lambda self, frames: (counted.append(len(frames)), start(self, frames))[1]
    )
    done, frames = make_bench(fps=Fraction(50), segment_frames=100).restored([noise(number) for number in range(3)])
    assert (done.frames, len(frames), sum(counted)) == (6, 6, 3)
    assert all((frames[at] == frames[at + 1]).all() for at in (0, 2, 4))


def test_out_of_memory_fewer_frames_are_tried_and_the_bytes_stay(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [noise(number) for number in range(5)]
    _, wanted = make_bench().restored(pictures)
    start = FrameUpscaler.start

    def started(self: FrameUpscaler, frames: Sequence[Planes]) -> StartedFrames:
        if len(frames) > 1:
            raise DeviceMemoryError("as on a full GPU")
        return start(self, frames)

    monkeypatch.setattr(FrameUpscaler, "start", started)
    monkeypatch.setattr(
        FramePipeline, "__init__", _several(FramePipeline.__init__)
    )  # on a CPU a batch is one frame; here three
    done, frames = make_bench().restored(pictures)
    assert [frame.tobytes() for frame in frames] == [frame.tobytes() for frame in wanted]
    assert done.source_bytes > 0


def test_a_film_says_that_memory_did_not_hold_a_batch_of_a_gpu(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(asked={"batch": 8})
    film = bench.film([noise(number) for number in range(3)])
    on_gpu = replace(film, item=replace(film.item, params=replace(film.item.upscale, device_class="cuda")))

    def joined(film: Part, batch_limit: int | None) -> str | None:
        assembly, segments = bench.segments(film)
        done = [bench.task.run(one, batch_limit) for one in segments]
        join = [assembly.add(one, made) for one, made in zip(segments, done, strict=True) if isinstance(made, Done)][-1]
        assert join is not None
        return bench.done(join).warning

    assert joined(on_gpu, None) is joined(film, 1) is None
    assert (joined(on_gpu, 1) or "").count("memory did not hold batches of 8 windows") == 1


@pytest.mark.parametrize(
    ("tiles", "batch", "frames"),
    [(6, 8, 4), (1, 8, 8), (2, 8, 4), (3, 8, 8), (5, 8, 8), (8, 8, 1), (9, 8, 6), (12, 8, 2), (15, 8, 1), (20, 8, 2),
     (40, 8, 1), (135, 8, 1), (6, 1, 1), (1, 1, 1), (6, 4, 2)],
)  # fmt: skip
def test_a_gpu_gets_as_many_frames_as_fill_its_passes(tiles: int, batch: int, frames: int) -> None:
    assert frames_that_fill(tiles, batch) == frames


@pytest.mark.parametrize("tiles", range(1, 200))
def test_no_more_frames_than_a_batch_has_windows_and_never_emptier_passes(tiles: int) -> None:
    def full(frames: int) -> float:
        return frames * tiles / (-(-frames * tiles // 8) * 8)

    frames = frames_that_fill(tiles, 8)
    assert 1 <= frames <= 8
    assert full(frames) >= full(max(1, 8 // tiles))
    assert frames == 1 or frames * tiles <= 80


@pytest.mark.parametrize(("device", "frames"), [("cpu", 1), ("cuda:0", 4)])
def test_only_a_gpu_gets_frames_by_what_fills_its_passes(
    make_bench: Callable[..., Bench], device: str, frames: int
) -> None:
    """A CPU fills no batch up, and holds as few frames as may be."""
    bench = make_bench(asked={"batch": 8})
    film = bench.film([noise(0)])
    split = bench.task.run(film, None)
    assert isinstance(split, Split)
    assert split.film is not None
    plans = plan_chain(film.item.upscale, 90, 60)
    assert len(plans[-1].tiles) == 6
    bench.station.context = replace(bench.station.context, device=device)
    assert FramePipeline(bench.station, film.item, split.film, plans, None, Clock()).frames_a_batch == frames


def _several(init: Callable[..., None]) -> Callable[..., None]:
    def made(self: FramePipeline, *arguments: object) -> None:
        init(self, *arguments)
        self.frames_a_batch = 3

    return made


@needs_bf16
def test_half_precision_that_overflows_is_tried_in_full(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [noise(number) for number in range(3)]
    _, wanted = make_bench(precision="fp32").restored(pictures)
    spoil(monkeypatch, lambda frame, precision: replace(frame, finite=precision == "fp32"))
    done, frames = make_bench(precision="bf16").restored(pictures)
    assert done.precision == "fp32"
    assert [frame.tobytes() for frame in frames] == [frame.tobytes() for frame in wanted]


def test_a_frame_that_is_black_in_half_precision_only_is_tried_in_full(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench()
    start, asked = FrameUpscaler.start, []

    def started(self: FrameUpscaler, frames: Sequence[Planes]) -> StartedFrames:
        asked.append(self._settings.precision)
        self._settings = replace(self._settings, precision="fp32")  # half precision need not be had here
        return start(self, frames)

    monkeypatch.setattr(FrameUpscaler, "start", started)
    spoil(
        monkeypatch,
        lambda frame, _: replace(frame, stats=replace(frame.stats, sum_out=0)) if asked[-1] == "bf16" else frame,
    )
    pictures = [noise(0)]
    film = bench.film(pictures)
    film = replace(film, item=replace(film.item, params=replace(film.item.upscale, precision="bf16")))
    _, (segment,) = bench.segments(film)
    assert bench.done(segment).frames == 1
    assert asked == ["bf16", "fp32"]


@pytest.mark.parametrize("suspect", ["publish", "refuse"])
def test_a_suspect_film_is_marked_or_refused_when_it_is_joined(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, suspect: str
) -> None:
    bench = make_bench(segment_frames=2)
    spoil(monkeypatch, lambda frame, _: replace(frame, stats=replace(frame.stats, sum_sq_diff=10**9)))
    film = bench.film([noise(number) for number in range(3)])
    film = replace(film, item=replace(film.item, params=replace(film.item.upscale, suspect=suspect)))
    join = bench.join_of(film)
    if suspect == "publish":
        done = bench.done(join)
        assert done.suspect.split()[0] == "consistency"
        assert done.stats.consistency is not None
        assert done.stats.consistency < 18
        return
    with pytest.raises(ItemError, match="the restored film is not believable") as failed:
        bench.task.run(join, None)
    assert failed.value.kind is ErrorKind.SUSPECT_OUTPUT
    assert not Path(film.item.output_url).exists()


def test_what_is_never_finite_is_never_published(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, lambda frame, _precision: replace(frame, finite=False))
    bench = make_bench()
    _, segments = bench.segments(bench.film([noise(0)]))
    with pytest.raises(ItemError, match="frame 0 holds NaN") as failed:
        bench.task.run(segments[0], None)
    assert failed.value.kind is ErrorKind.NONFINITE_OUTPUT


def test_a_fade_to_black_is_legal_and_a_black_frame_of_a_bright_one_is_not(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [noise(0), np.zeros((*SIZE[::-1], 3), np.uint8)]
    assert make_bench().restored(pictures)[0].frames == 2
    spoil(monkeypatch, lambda frame, _precision: replace(frame, stats=replace(frame.stats, sum_out=0)))
    bench = make_bench(segment_frames=2)
    _, (bright, black) = bench.segments(bench.film([noise(0), noise(1), pictures[1], pictures[1]]))
    assert bench.done(black).frames == 2
    with pytest.raises(ItemError, match="frame 0 is black where the source is not") as failed:
        bench.task.run(bright, None)
    assert failed.value.kind is ErrorKind.SUSPECT_OUTPUT


def test_more_than_a_worker_has_is_refused_with_advice(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(memory_bytes=1000)
    _, segments = bench.segments(bench.film([noise(0)]))
    with pytest.raises(ItemError, match=r"this worker may use 0\.0; lower --tile-px") as failed:
        bench.task.run(segments[0], None)
    assert failed.value.kind is ErrorKind.OUT_OF_MEMORY


def test_a_film_without_keyframes_is_decoded_once_by_a_worker(
    make_bench: Callable[..., Bench], decoded: list[int]
) -> None:
    bench = make_bench()
    _, segments = bench.segments(bench.without_keyframes(40))
    assert len(segments) == 10
    decoded.clear()
    expected = [make_bench().done(one).sha256 for one in segments]
    assert len(decoded) == sum(range(4, 41, 4)), "each by a worker of its own"
    decoded.clear()
    assert [bench.done(one).sha256 for one in segments] == expected
    assert len(decoded) == 40, "one after the other"

    def three_at_a_time() -> int:
        decoded.clear()
        with ThreadPoolExecutor(3) as pool:
            assert [one.sha256 for one in pool.map(make_bench().done, segments)] == expected
        return len(decoded)

    # Threads begin in the order in which the machine lets them: where a later segment comes first, more is decoded.
    assert any(three_at_a_time() <= 52 for _ in range(5)), "as a worker has threads; the third may begin"
    decoded.clear()
    workers = make_bench(), make_bench()
    shared = [workers[number % 2].done(one).sha256 for number, one in enumerate(segments)]
    assert shared == expected
    assert len(decoded) == 36 + 40, "by two workers in turn"
    decoded.clear()
    assert [bench.done(one).sha256 for one in reversed(segments)] == expected[::-1]
    assert len(decoded) == sum(range(4, 41, 4)), "backwards nothing helps"


@pytest.mark.parametrize(
    ("fifth_or_eighth", "kept"), [(5, 0), (8, 1)], ids=["while it is decoded", "when all of it was decoded"]
)
def test_a_segment_that_fails_amid_its_decoding_leaves_the_film_closed_and_the_next_ones_right(
    make_bench: Callable[..., Bench],
    monkeypatch: pytest.MonkeyPatch,
    decoded: list[int],
    fifth_or_eighth: int,
    kept: int,
) -> None:
    """Its last frame is restored when the next segment may be decoded already: then the film stays open for that."""
    bench = make_bench()
    _, segments = bench.segments(bench.without_keyframes(20))
    expected = [make_bench().done(one).sha256 for one in segments]
    with monkeypatch.context() as patched:
        restored: list[RestoredFrame] = []

        def spoilt(frame: RestoredFrame, _: str) -> RestoredFrame:
            restored.append(frame)
            return replace(frame, finite=len(restored) < fifth_or_eighth)

        spoil(patched, spoilt)
        assert bench.done(segments[0]).sha256 == expected[0]
        with pytest.raises(ItemError, match="holds NaN"):
            bench.task.run(segments[1], None)
    assert bench.task._films.idle == kept
    decoded.clear()
    assert [bench.done(one).sha256 for one in segments[1:]] == expected[1:]
    assert len(decoded) == 20
    assert bench.task._films.idle == kept, "the last segment has been decoded"


def test_a_source_that_changes_is_not_read_on(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    film = bench.without_keyframes(12)
    _, segments = bench.segments(film)
    bench.done(segments[0])
    assert bench.task._films.idle == 1
    path = Path(film.item.row.source_url)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ItemError) as failed:
        bench.task.run(segments[1], None)
    assert failed.value.kind is ErrorKind.CHANGED_DURING_READ
    assert bench.task._films.idle == 0


def test_a_stopped_worker_leaves_its_segment_without_a_trace(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    _, segments = bench.segments(bench.film([noise(0)]))
    bench.task.stop()
    with pytest.raises(LaneStopped):
        bench.task.run(segments[0], None)
    assert not storage.exists(bench.station.piece_url(segments[0]))


def test_a_damaged_segment_is_made_anew_and_only_that(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    join = bench.join_of(bench.film([noise(number) for number in range(10)]))
    bad = Path(join.pieces[1].url)
    content = bytearray(bad.read_bytes())
    content[len(content) // 2] ^= 0xFF
    bad.write_bytes(content)
    with pytest.raises(ItemError, match="1 finished segments of it were damaged or lost") as failed:
        bench.task.run(join, None)
    assert failed.value.kind is ErrorKind.CHANGED_DURING_READ
    assert [storage.exists(piece.url) for piece in join.pieces] == [True, False, True]
    assert not storage.exists(join.item.output_url)


def test_segments_of_another_encoder_are_made_anew(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(codec="h264", container="mkv", preset="ultrafast")
    film = bench.film([noise(number) for number in range(10)])
    join = bench.join_of(film)
    assembly, segments = bench.segments(film)
    assert segments[1].film is not None
    slow = tuple((name, "slow" if name == "preset" else value) for name, value in segments[1].film.options)
    others = replace(segments[1], film=replace(segments[1].film, options=slow))  # as another version would write it
    foreign = piece_of(1, bench.done(others))
    mixed = replace(join, pieces=(join.pieces[0], foreign, join.pieces[2]))
    with pytest.raises(
        ItemError, match=r"3 finished segments of it did not fit together .*other parameter sets"
    ) as bad:
        bench.task.run(mixed, None)
    assert bad.value.kind is ErrorKind.CHANGED_DURING_READ
    assert not any(storage.exists(piece.url) for piece in mixed.pieces)
    assert not storage.exists(join.item.output_url)
    joins = [assembly.add(one, bench.done(one)) for one in segments]
    assert joins[-1] is not None
    assert bench.done(joins[-1]).frames == 10


def test_changes_between_frames_are_told_by_second(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(segment_frames=100)
    join = bench.join_of(bench.film([noise(number % 2) for number in range(60)]))
    (piece,) = join.pieces
    seconds = [second for second, _, _ in piece.report.changes]
    assert seconds == [0, 1, 2]
    assert all(one > 0 and two > 0 for _, one, two in piece.report.changes)
    still = bench.join_of(bench.film([noise(0)] * 5))
    assert [change for _, *change in still.pieces[0].report.changes] == [[0.0, 0.0]]


def test_flicker_is_that_of_all_pairs_within_segments(make_bench: Callable[..., Bench]) -> None:
    """Two pictures by turns: every pair changes as much, so that sums count pairs, and the score is any pair's."""
    pictures = [noise(number % 2) for number in range(12)]
    whole = make_bench(segment_frames=100).restored(pictures)[0]
    ((_, one, two),) = whole.report.changes
    for frames, pairs in ((2, 6), (5, 9), (12, 11)):
        done = make_bench(segment_frames=frames).restored(pictures)[0]
        assert done.report.changes == ((0, pytest.approx(one * pairs / 11), pytest.approx(two * pairs / 11)),)
        assert flicker(done.report) == pytest.approx(flicker(whole.report), abs=1e-5)


@pytest.mark.parametrize(("channels", "pix_fmt", "scored"), [(3, "bgr0", True), (4, "bgra", False)])
def test_a_film_has_a_flicker_score_or_none(
    channels: int, pix_fmt: str, scored: bool, make_bench: Callable[..., Bench]
) -> None:
    bench = make_bench()
    join = bench.join_of(bench.film([noise(number, channels) for number in range(3)], pix_fmt))
    entry = done_entry(join, bench.done(join), 1, "run")
    assert (entry.flicker is not None) is scored
    assert entry.flicker != 0


def test_all_levels_of_a_gray_film_are_seen_as_they_are_in_prores(make_bench: Callable[..., Bench]) -> None:
    """Blacks and whites at the ends of the range, which whoever takes full range for limited loses."""
    steps = np.repeat(np.linspace(0, 255, SIZE[0], dtype=np.uint8)[None, :, None], SIZE[1], axis=0).repeat(3, axis=2)
    lossless = make_bench(codec="ffv1", pix_fmt="yuv422p10le").restored([steps] * 2, "gray")[1][1]
    frames = make_bench(codec="prores", container="mov").restored([steps] * 2, "gray")[1]
    assert lossless.min() < 8
    assert lossless.max() > 247
    assert np.abs(frames[1].astype(int) - lossless).mean() < 3


def test_pictures_of_a_film_are_those_of_its_segments_and_what_they_cannot_hold_is_said(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench(container="sequence")
    film = bench.film([noise(number) for number in range(6)])
    join = bench.join_of(film)
    folder = Path(join.item.output_url).parent
    stale = folder / "frame00000099.png"
    stale.write_bytes(b"of a longer film")
    (folder / "mine.png").write_bytes(b"of a person")
    done = bench.done(join)
    assert (done.frames, done.warning) == (6, None)
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"frame{number:08d}.png" for number in range(6)),
        "frames.json",
        "mine.png",
    ]
    (folder / "frame00000005.png").write_bytes(b"of another run")
    with pytest.raises(ItemError, match="1 finished segments of it were damaged or lost"):
        bench.task.run(join, None)
    assert [storage.exists(piece.url) for piece in join.pieces] == [True, False]


def test_all_parts_of_a_film_are_of_one_version_of_its_source(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    film = bench.film([noise(number) for number in range(6)])
    trusted = replace(film, item=replace(film.item, row=replace(film.item.row, sha256="0" * 64)))
    with pytest.raises(ItemError, match="the manifest says 000"):
        bench.task.run(trusted, None)
    digest = storage.sha256_of(film.item.row.source_url)
    trusted = replace(film, item=replace(film.item, row=replace(film.item.row, sha256=digest)))
    _, segments = bench.segments(trusted)
    bench.film([noise(number) for number in range(10, 16)])
    with pytest.raises(ItemError, match="is not the version that its first part saw") as failed:
        bench.task.run(segments[0], None)
    assert failed.value.kind is ErrorKind.CHANGED_DURING_READ


def test_a_film_of_damaged_frames_alone_is_not_published(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(allow_damaged=True)
    join = bench.join_of(bench.film([noise(number) for number in range(6)]))
    damaged = [replace(one, report=replace(one.report, damaged=tuple(range(*one.extent)))) for one in join.pieces]
    with pytest.raises(ItemError, match="not one frame of it is whole"):
        bench.task.run(replace(join, pieces=tuple(damaged)), None)
    assert not storage.exists(join.item.output_url)
    part = bench.done(replace(join, pieces=(join.pieces[0], *damaged[1:])))
    assert part.warning == "2 damaged frames were concealed: 4-5"


@pytest.mark.parametrize("asked", [{"tta": True}, {"keep_colour": True}])
def test_frames_are_turned_and_matched_as_pictures_are(
    make_bench: Callable[..., Bench], asked: dict[str, bool]
) -> None:
    pictures = [noise(number) for number in range(2)]
    bench = make_bench()
    plain, film = bench.restored(pictures)[1], bench.film(pictures)
    params = replace(film.item.upscale, **asked)
    done = bench.done(bench.join_of(replace(film, item=replace(film.item, params=params))))
    with av.open(done.url) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    cut = whole(plan_picture(picture_spec(params, *SIZE)))
    for picture, frame, other in zip(pictures, frames, plain, strict=True):
        wanted = bench.station.restorer.restore(picture, cut, params, "", None).pixels
        np.testing.assert_array_equal(frame, wanted)
        assert np.abs(frame.astype(int) - other).max() > 2


def test_a_film_says_if_some_frames_were_tried_in_full(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(segment_frames=2)
    assembly, segments = bench.segments(bench.film([noise(number) for number in range(4)]))
    first, second = (bench.done(one) for one in segments)
    assembly.add(segments[0], replace(first, precision="fp16"))
    join = assembly.add(segments[1], second)
    assert join is not None
    assert bench.done(join).precision == "fp16+fp32"


def test_limits_are_those_of_the_film_as_it_is_shown(make_bench: Callable[..., Bench]) -> None:
    """24 x 16, turned by a quarter: 16 x 24 within 48 x 10 makes 7 x 10, which is 6 x 10 in even samples."""
    bench = make_bench(asked={"size": (48, 10)})
    quarter = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    film = bench.film([noise(1)], matrix=quarter)
    limited = replace(film, item=replace(film.item, params=replace(film.item.upscale, max_pixels_out=100)))
    split = bench.task.run(limited, None)
    assert isinstance(split, Split)
    assert split.film is not None
    assert (split.film.target.width, split.film.target.height) == (10, 7)
    upright = bench.film([noise(1)])
    upright = replace(upright, item=replace(upright.item, params=limited.item.upscale))
    with pytest.raises(ItemError, match="150 pixels"):
        bench.task.run(upright, None)


LONG_S = 20.0
"""longer than any step of a small film takes"""


def test_a_worker_decodes_restores_and_encodes_at_the_same_time(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step waits for one that comes later in the film and earlier in time: one after the other none would end."""
    decoded, begun = [[threading.Event() for _ in range(8)] for _ in "ab"]
    late: list[str] = []
    frames, start, write = video.iter_frames, FrameUpscaler.start, SegmentEncoder.write

    def decoding(*arguments: Any) -> Iterator[video.Frame]:
        for frame in frames(*arguments):
            decoded[frame.index].set()
            yield frame

    def starting(self: FrameUpscaler, planes: Sequence[Planes]) -> StartedFrames:
        number = sum(one.is_set() for one in begun)
        begun[number].set()
        if not decoded[min(number + 1, 7)].wait(LONG_S):
            late.append(f"while frame {number} was restored the next one was not decoded")
        return start(self, planes)

    def writing(self: SegmentEncoder, planes: Planes) -> None:
        number = written[0]
        written[0] += 1
        if not begun[min(number + 2, 7)].wait(LONG_S):
            late.append(f"while frame {number} was encoded the one after the next was not restored")
        write(self, planes)

    written = [0]
    bench = make_bench(segment_frames=8)
    _, (segment,) = bench.segments(bench.film([noise(number) for number in range(8)]))
    monkeypatch.setattr(video, "iter_frames", decoding)
    monkeypatch.setattr(FrameUpscaler, "start", starting)
    monkeypatch.setattr(SegmentEncoder, "write", writing)
    assert bench.done(segment).frames == written[0] == 8
    assert late == []


def test_few_frames_are_in_memory_however_long_a_segment_is(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, write, most = video.iter_frames, SegmentEncoder.write, list[tuple[int, int]]()
    before, after = list[weakref.ref[Any]](), list[weakref.ref[Any]]()

    def decoding(*arguments: Any) -> Iterator[video.Frame]:
        for frame in frames(*arguments):
            before.append(weakref.ref(frame.planes[0]))
            yield frame
            del frame

    def writing(self: SegmentEncoder, planes: Planes) -> None:
        after.append(weakref.ref(planes[0]))
        write(self, planes)
        alive = [sum(one() is not None for one in some) for some in (before, after)]
        most[-1] = (max(most[-1][0], alive[0]), max(most[-1][1], alive[1]))

    monkeypatch.setattr(video, "iter_frames", decoding)
    monkeypatch.setattr(SegmentEncoder, "write", writing)
    for length in (12, 60):
        bench = make_bench(segment_frames=length)
        _, (segment,) = bench.segments(bench.film([noise(number) for number in range(length)]))
        most.append((0, 0))
        assert bench.done(segment).frames == length
    pipeline = FramePipeline(bench.station, segment.item, segment.film, plans_of(segment), None, Clock())  # pyright: ignore[reportArgumentType]
    assert most[0] == most[1], "the same of a film five times as long"
    assert max(most[0]) <= pipeline.frames_held


def test_between_segments_freed_memory_is_given_back_now_and_then(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, given_back = SimpleNamespace(now=0.0, monotonic=lambda: clock.now), list[float]()
    monkeypatch.setattr(upscale_video, "time", clock)
    monkeypatch.setattr(upscale_video, "give_back_freed_memory", lambda: given_back.append(clock.now))
    bench = make_bench(segment_frames=2)
    _, segments = bench.segments(bench.film([noise(number) for number in range(12)]))
    for clock.now, segment in zip((3.0, 9.9, 10.0, 19.0, 20.0, 45.0), segments, strict=True):
        bench.done(segment)
    assert given_back == [10.0, 20.0, 45.0]


def plans_of(segment: Part) -> Any:
    return plan_chain(segment.item.upscale, *SIZE)


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="this system does not count what a process writes")
def test_frames_are_written_by_nobody_but_the_encoder_and_no_program_is_started(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that the process writes, to whatever file: the pieces and the film, once each, and little beside."""
    bench = make_bench(segment_frames=10, codec="h264", crf=45, preset="ultrafast")
    film = bench.film([noise(number) for number in range(40)])
    monkeypatch.setenv("PATH", "")
    before = written_bytes()
    join = bench.join_of(film)
    pieces = sum(piece.bytes for piece in join.pieces)
    done = bench.done(join)
    wrote = written_bytes() - before
    pictures = 40 * len(png_of(noise(0))) * 16  # of four times the width and the height
    assert done.frames == 40
    assert pieces + done.bytes <= wrote < pictures / 5


def written_bytes() -> int:
    """By all threads of this process, since it began."""
    said = Path("/proc/self/io").read_text()
    return int(next(line.split()[1] for line in said.splitlines() if line.startswith("wchar")))
