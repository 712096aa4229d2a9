"""What a worker does about faces: every kind of picture, many at a time, films, and what is refused or said."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import av
import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray

from farm import fetch, storage
from farm.assemble import Assembly
from farm.config import FaceConfig, ModelConfig, RunConfig, VideoConfig
from farm.errors import ErrorKind, ItemError, ModelError, UsageError
from farm.face import FaceParams
from farm.kinds import MediaKind
from farm.lock import RunLock
from farm.media import video
from farm.plan import Planner
from farm.records import Done, ManifestRow, Part, PartKind, Split
from farm.tasks.faces import FACE_WHOLE_PX, _back, check_whole
from farm.tasks.lane import LaneStopped
from farm.tasks.station import Station
from farm.tasks.upscale_image import UpscaleImage
from farm.tasks.upscale_video import UpscaleVideo

from ..outside import real_picture, require_face
from ..seeded import save_srvgg
from ..waiting import wait_for
from .contexts import worker_here

FACE = FaceParams(
    model="gfpgan-1.3",
    model_sha256="a" * 64,
    detector="mobile0.25",
    detector_sha256="b" * 64,
    parser="face-parser",
    parser_sha256="c" * 64,
    strength=1.0,
    only_center=False,
)


@dataclass
class Bench:
    """One worker."""

    station: Station
    plain: Planner
    faces: Planner
    folder: Path

    def restored(self, pixels: NDArray[Any], *, faces: bool, name: str = "a.png") -> tuple[bytes, NDArray[Any]]:
        """The output's file and its pixels."""
        path = self.folder / name
        kinds = ("b-w", "srgb") if pixels.dtype == np.uint8 else ("grey16", "rgb16")
        image = pyvips.Image.new_from_array(pixels).copy(interpretation=kinds[pixels.shape[2] > 2])
        image.write_to_file(str(path))
        row = ManifestRow(index=0, source_url=str(path), relative_path=name)
        item = (self.faces if faces else self.plain).plan(row, storage.stat(str(path)))
        done = UpscaleImage(self.station).run(Part(item=item, kind=PartKind.PICTURE, cost_px=1), None)
        assert isinstance(done, Done)
        return Path(done.url).read_bytes(), pyvips.Image.new_from_file(done.url).numpy().reshape(
            done.height, done.width, pixels.shape[2]
        )


@pytest.fixture(scope="module")
def small() -> Any:
    require_face()
    from ..face_files import small_restorer

    return small_restorer()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_srvgg(tmp_path_factory.mktemp("model") / "tiny.pth", features=8, convs=2, scale=2)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Any, model: Path) -> Iterator[Bench]:
    """With narrow networks in the place of those that weight files of the official size hold."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(model.parent))
    monkeypatch.setattr(fetch, "ensure_face_file", lambda *_: tmp_path)
    monkeypatch.setattr("sr_kernel.faces.restorer.FaceRestorer.load", lambda *_: small)
    resolved = fetch.resolve(str(model))
    out = tmp_path / "out"
    with RunLock(str(out)) as held:
        context = worker_here(held.run, out, resolved, memory_bytes=4 << 30)
        config = RunConfig(
            manifest=str(tmp_path),
            model=ModelConfig(model=str(model), tile_px=64, precision="fp32"),
            video=VideoConfig(container="mkv", codec="ffv1", segment_frames=4),
        )
        models = MappingProxyType({str(model): resolved})
        station = Station(context)
        yield Bench(
            station=station,
            plain=Planner(config, models, str(out), "cpu"),
            faces=Planner(config, models, str(out), "cpu", face=FACE),
            folder=tmp_path,
        )
        station.stop()


def lincoln() -> NDArray[np.uint8]:
    """160 x 160, one face in the middle, RGB."""
    return pyvips.Image.new_from_file(str(real_picture("Lincoln.png"))).colourspace("srgb").numpy()[:, :, :3]


def changed(made: NDArray[Any], plain: NDArray[Any]) -> NDArray[Any]:
    """By how many levels of 255 each pixel."""
    top = np.iinfo(made.dtype).max
    return (made.astype(float) - plain).mean(axis=2) * 255 / top


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_every_kind_of_picture_gets_its_face_and_keeps_its_alpha(bench: Bench, bands: int, dtype: type) -> None:
    rgb = np.pad(lincoln(), ((128, 0), (0, 0), (0, 0)), mode="edge")
    colour = rgb if bands > 2 else rgb[:, :, 1:2]
    alpha = np.full((288, 160, 1), 255, np.uint8)
    alpha[:20] = 0
    alpha[20:40] = 100
    pixels = (colour if bands % 2 else np.concatenate([colour, alpha], axis=2)).astype(dtype)
    pixels *= dtype(np.iinfo(dtype).max // 255)
    _, plain = bench.restored(pixels, faces=False)
    _, made = bench.restored(pixels, faces=True)
    if not bands % 2:
        np.testing.assert_array_equal(made[:, :, -1], plain[:, :, -1])
        made, plain = made[:, :, :-1], plain[:, :, :-1]
    by = changed(made, plain)
    assert made.dtype == dtype
    assert (by[:30] == 0).all(), "far from the face nothing changes"
    assert (by != 0).mean() > 0.02
    assert made[by != 0].mean() / np.iinfo(dtype).max > 0.3, "as bright as what GFPGAN gave, in 16 bits too"


def test_a_picture_without_faces_is_the_same_file(bench: Bench) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    plain, _ = bench.restored(pixels, faces=False)
    made, _ = bench.restored(pixels, faces=True)
    assert made == plain


def test_a_picture_with_faces_is_never_cut_into_bands(bench: Bench) -> None:
    _, whole = bench.restored(lincoln(), faces=True)
    config = bench.faces._config
    bench.faces._config = replace(config, model=replace(config.model, band_px=1000))
    bench.faces._recipes.clear()
    _, made = bench.restored(lincoln(), faces=True)
    np.testing.assert_array_equal(made, whole)


def test_a_face_is_said_in_the_stamp(bench: Bench) -> None:
    made, _ = bench.restored(lincoln(), faces=True)
    said = pyvips.Image.new_from_buffer(made, "").get("xmp-data")
    assert b'farm:Faces="1"' in said
    assert b'farm:FaceModel="gfpgan-1.3"' in said


def test_many_pictures_at_a_time_share_batches_and_give_what_each_gives_alone(
    bench: Bench, small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb = lincoln()
    pictures = [
        rgb,
        np.ascontiguousarray(rgb[:, ::-1]),
        np.ascontiguousarray(rgb[5:]),
        np.concatenate([rgb, rgb], axis=1),
    ]

    def faces_of(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        out = picture.copy()
        pasted = bench.station.faces.restore(picture, out, FACE, "a.png")
        assert pasted.count
        assert pasted.infer_s > 0
        return out

    alone = [faces_of(picture) for picture in pictures]
    sizes: list[int] = []
    restore = small.restore

    def counted(faces: list[Any]) -> list[Any]:
        sizes.append(len(faces))
        return restore(faces)

    monkeypatch.setattr(small, "restore", counted)
    with ThreadPoolExecutor(4) as pool:
        for one, together in zip(alone, pool.map(faces_of, pictures), strict=True):
            np.testing.assert_array_equal(one, together)
    assert sum(sizes) == 5
    monkeypatch.setattr(small, "batch", 8)
    sizes.clear()
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        go.wait()

    gate = bench.station.lane.call(hold)
    assert held.wait(60), "the lane takes no more at once than what is there when it begins"
    with ThreadPoolExecutor(4) as pool:
        waiting = pool.map(faces_of, pictures)
        try:
            wait_for(lambda: bench.station.lane._inbox.qsize() == 4, "all are there", 60)
        finally:
            go.set()
        made = list(waiting)
    gate.result()
    assert sorted(sizes)[-1] > 1, "faces of several pictures went through the network together"
    assert sum(sizes) == 5
    for one, together in zip(alone, made, strict=True):
        assert np.abs(one.astype(int) - together).max() <= 1


def test_a_stopped_lane_lets_go_of_who_waits_for_faces(bench: Bench) -> None:
    bench.station.stop()
    rgb = lincoln()
    with pytest.raises(LaneStopped):
        bench.station.faces.restore(rgb, rgb.copy(), FACE, "a.png")


def test_a_failing_batch_fails_its_own_pictures_only(bench: Bench, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    restore = small.restore
    failed: list[int] = []

    def once(faces: list[Any]) -> list[Any]:
        if not failed:
            failed.append(len(faces))
            raise RuntimeError("a broken kernel")
        return restore(faces)

    monkeypatch.setattr(small, "restore", once)
    rgb = lincoln()
    with pytest.raises(RuntimeError, match="a broken kernel"):
        bench.station.faces.restore(rgb, rgb.copy(), FACE, "a.png")
    out = rgb.copy()
    assert bench.station.faces.restore(rgb, out, FACE, "a.png").count == 1
    assert (out != rgb).any()


def test_frames_of_a_film_get_their_faces_and_others_stay(bench: Bench) -> None:
    rgb = lincoln()
    noise = np.random.default_rng(5).integers(0, 256, rgb.shape, dtype=np.uint8)
    frames = [rgb, noise, np.ascontiguousarray(rgb[:, ::-1])]
    path = bench.folder / "film.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 160, "bgr0"
        for frame in frames:
            made = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgr0")
            container.mux(stream.encode(made))
        container.mux(stream.encode(None))
    plain, faces = (film(bench.station, planner, path) for planner in (bench.plain, bench.faces))
    assert len(plain) == len(faces) == 3
    np.testing.assert_array_equal(plain[1], faces[1])
    for at in (0, 2):
        assert (plain[at] != faces[at]).any(axis=2).mean() > 0.02
        _, picture = bench.restored(frames[at], faces=True)
        np.testing.assert_array_equal(faces[at], picture)


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (0, -1, 1, 0), (-1, 0, 0, -1), (-1, 0, 0, 1)])
def test_faces_of_a_phones_film_are_found_as_it_is_shown(bench: Bench, matrix: tuple[int, int, int, int]) -> None:
    a, b, c, d = (65536 * one for one in matrix)
    rotation = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    shown = lincoln()[:, 5:]
    wanted = shown.copy()
    bench.station.faces.restore(shown, wanted, FACE, "a.png")
    coded = video.turned(shown, _back(rotation))
    made = coded.copy()
    assert bench.station.faces.restore(coded, made, FACE, "a.png", rotation).count == 1
    np.testing.assert_array_equal(video.turned(made, rotation), wanted)


def film(station: Station, planner: Planner, path: Path) -> list[NDArray[np.uint8]]:
    """The restored frames of a film."""
    row = ManifestRow(index=0, source_url=str(path), relative_path=path.name, kind=MediaKind.VIDEO)
    item = planner.plan(row, storage.stat(str(path)))
    task, whole = UpscaleVideo(station), Part(item=item, kind=PartKind.FILM, cost_px=item.cost_px)
    split = task.run(whole, None)
    assert isinstance(split, Split)
    assembly, join = Assembly(), None
    for segment in assembly.begin(whole, split, {}):
        done = task.run(segment, None)
        assert isinstance(done, Done)
        join = assembly.add(segment, done)
    assert join is not None
    joined = task.run(join, None)
    assert isinstance(joined, Done)
    with av.open(joined.url) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_picture_too_large_to_be_looked_at_as_a_whole_is_refused() -> None:
    check_whole(None, "a.png", 1 << 20, 1 << 20)
    check_whole(FACE, "a.png", FACE_WHOLE_PX // 4096, 4096)
    with pytest.raises(ItemError, match="without --face-enhance") as caught:
        check_whole(FACE, "a.png", FACE_WHOLE_PX // 4096, 4097)
    assert caught.value.kind is ErrorKind.TOO_LARGE


def test_without_the_extra_faces_are_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.fetch.face._PACKAGES", ("gfpgan_that_nobody_has",))
    with pytest.raises(UsageError, match=r"pip install 'sr-farm\[face\]'"):
        fetch.resolve_face(FaceConfig(enhance=True))


def test_what_is_asked_of_faces_names_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_face()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("FARM_WEIGHTS_DIR", raising=False)
    own = tmp_path / "mine.pth"
    own.write_bytes(b"x")
    config = FaceConfig(enhance=True, model=str(own), only_center=True, strength=0.5)
    found = fetch.resolve_face(config)
    assert found is not None
    assert (found.model, found.parser) == ("file:mine", "face-parser")
    assert found.detector_sha256.startswith("6d1de9c2")
    assert fetch.face_files(config) == (("file:mine", str(own)),)
    assert fetch.face_rows(found) == ("face-detector-resnet50", "face-parser")
    assert fetch.resolve_face(replace(config, enhance=False)) is None
    assert fetch.resolve_face(replace(config, strength=0.0)) is None
    with pytest.raises(ModelError, match=r"no\.pth"):
        fetch.resolve_face(replace(config, model="no.pth"))
    with pytest.raises(ModelError, match="face-detector-mobile"):
        fetch.resolve_face(replace(config, detector="mobile0.25"))  # of which no digest is known, and no file is here


def test_strength_outside_of_0_to_1_and_files_that_are_no_weights_are_refused() -> None:
    for wrong in ({"strength": 1.5}, {"model": "gfpgan-9"}, {"parser": "face.txt"}, {"detector": "yolo"}):
        with pytest.raises(UsageError, match="--face"):
            FaceConfig(**wrong)  # pyright: ignore[reportArgumentType]


def test_faces_decide_the_identity_and_no_faces_leave_it(bench: Bench) -> None:
    row = ManifestRow(index=0, source_url="/a.png", relative_path="a.png")
    stat = storage.stat(str(real_picture("Lincoln.png")))
    plain, faces = bench.plain.plan(row, stat), bench.faces.plan(row, stat)
    assert plain.item_id != faces.item_id
    assert bench.plain.fingerprint != bench.faces.fingerprint
    assert '"face"' not in canonical(plain.params)
    assert '"model_sha256":"aaaa' in canonical(faces.params)


def test_a_worker_that_nobody_asks_for_faces_imports_none_of_their_packages() -> None:
    packages = ("gfpgan", "facexlib", "basicsr", "cv2", "torchvision")
    program = f"import farm.tasks.registry, sys; print(*(name for name in {packages!r} if name in sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert answer.stdout.split() == []


def canonical(params: Any) -> str:
    from farm.params import canonical_text

    return canonical_text(params)
