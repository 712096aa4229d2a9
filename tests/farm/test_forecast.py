"""What a manifest would take, before anything is started: counted, looked into, timed, and nothing touched."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from farm.cli import main
from farm.config import LimitConfig, ModelConfig, OutputConfig, RunConfig, WorkerConfig
from farm.errors import UsageError
from farm.forecast import Forecast, Rates, forecast, read_rates, write_rates
from farm.forecast.rate import ModelRate
from farm.forecast.volume import output_px_bytes
from farm.ledger import read_ledger
from tests.clips import film as clip
from tests.pictures import photo, png_of
from tests.seeded import save_srvgg


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_srvgg(tmp_path_factory.mktemp("model") / "tiny.pth", features=8, convs=2)


@pytest.fixture(scope="module")
def measured(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rates of this machine, as the command writes them."""
    place = tmp_path_factory.mktemp("rate") / "rate.json"
    done = run("--measure", place, "--model", model, "--gpus", "0")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [str(place)]
    assert "MP/s a worker" in done.stderr
    return place


@pytest.fixture
def rates(measured: Path) -> Rates:
    return read_rates(str(measured))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty pictures of 96 x 64, one of 200 x 100, a film of four frames of 96 x 64, and a file that is no picture."""
    place = tmp_path / "in"
    place.mkdir()
    for number in range(30):
        (place / f"{number}.png").write_bytes(png_of(photo(number)))
    (place / "large.jpg").write_bytes(_encoded(photo(1, 200, 100), "jpg"))
    (place / "film.mov").write_bytes(clip("runs.mov"))
    (place / "words.webp").write_bytes(b"words")
    return place


def _encoded(pixels: np.ndarray, form: str) -> bytes:
    from farm.media.image import EncodeSpec, ImageMeta, encode

    return encode(pixels, ImageMeta(), EncodeSpec(format=form, quality=90), f"x.{form}")


def planned(folder: Path, network: Path, rates: Rates, **more: Any) -> Forecast:
    config = RunConfig(manifest=str(folder), model=ModelConfig(model=str(network)), worker=WorkerConfig(gpus=0))
    return forecast(replace(config, **more), rates)


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["plan", *map(str, args)])


# -- what there is -------------------------------------------------------------------------------------------------


def test_rows_pixels_and_frames_are_those_of_the_files(folder: Path, model: Path, rates: Rates) -> None:
    found = planned(folder, model, rates)
    assert (found.rows, found.pending, found.pictures, found.films, found.refused) == (33, 33, 32, 1, 0)
    guessed = len(b"words") * 3.8  # of what cannot be read nothing but its bytes is known
    assert found.source_px == pytest.approx(34 * 96 * 64 + 200 * 100 + guessed, rel=0.2)
    assert found.frames == pytest.approx(4)
    assert found.output_px == pytest.approx(16 * found.source_px)
    assert found.looked == 24 + 1 + 1 + 1
    assert (found.unreadable, len(found.examples)) == (1, 1)
    assert "words.webp" in found.examples[0]


def test_sizes_that_the_manifest_says_are_not_looked_up(folder: Path, model: Path, rates: Rates) -> None:
    manifest = folder.parent / "m.csv"
    rows = [f"in/{number}.png,1000,{number + 1}" for number in range(30)]
    manifest.write_text("source,width,height\n" + "\n".join(rows) + "\n")
    found = planned(manifest, model, rates)
    assert (found.looked, found.source_px) == (0, 1000 * 465)
    assert found.output_px == pytest.approx(16 * 1000 * 465)


def test_what_is_done_and_what_is_refused_is_not_counted_as_work(folder: Path, model: Path, rates: Rates) -> None:
    manifest = folder.parent / "m.csv"
    manifest.write_text("source,width,height\nin/0.png,96,64\nin/1.png,90000,90000\n../../etc/x.png,9,9\n")
    found = planned(manifest, model, rates, limits=LimitConfig(max_pixels_in=10**8))
    assert (found.rows, found.pending, found.refused) == (3, 1, 2)
    assert found.refusals == {"too_large": 1, "unsafe_path": 1}
    assert any("90000 x 90000" in message for message in found.examples)
    assert found.source_px == 96 * 64


def test_what_only_a_header_shows_to_be_too_large_is_said_and_is_no_work(
    tmp_path: Path, model: Path, rates: Rates
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png_of(photo(number)))
    (tmp_path / "large.tiff").write_bytes(_encoded(photo(1, 400, 300), "tiff"))
    limits = LimitConfig(max_pixels_out=16 * 96 * 64)
    found = planned(tmp_path, model, rates, limits=limits)
    assert (found.pending, found.refused, found.unreadable) == (4, 0, 1)
    assert "400 x 300 at 4x makes 1600 x 1200" in found.examples[0]
    assert found.source_px == pytest.approx(3 * 96 * 64)
    few = planned(tmp_path, model, rates, limits=LimitConfig(max_pixels_in=100))
    assert (few.unreadable, few.source_px, few.worker_hours) == (4, 0, 0)


def test_passes_and_turns_are_work_and_sizes_are_bytes(folder: Path, model: Path, rates: Rates) -> None:
    plain = planned(folder, model, rates)
    turned = planned(folder, model, rates, model=ModelConfig(model=str(model), tta=True))
    twice = planned(folder, model, rates, model=ModelConfig(model=str(model), outscale=16))
    small = planned(folder, model, rates, output=OutputConfig(format="jpg", quality=75))
    assert turned.worker_hours == pytest.approx(8 * plain.worker_hours)
    assert twice.worker_hours == pytest.approx(17 * plain.worker_hours)
    assert twice.output_px == pytest.approx(16 * plain.output_px)
    assert small.output_bytes < plain.output_bytes / 5


@pytest.mark.parametrize("form", ["jpg", "webp", "avif"])
def test_bytes_grow_with_quality(form: str) -> None:
    sizes = [output_px_bytes(form, quality) for quality in range(1, 101)]
    assert sizes == sorted(sizes)
    assert sizes[-1] < output_px_bytes("png", 95) < output_px_bytes("tiff", 95)


def test_no_output_root_is_touched(folder: Path, model: Path, rates: Rates) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*")}
    found = planned(folder, model, rates)
    assert found.out == f"{folder}/farm-out"
    assert read_ledger(found.out) == {}
    assert {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*")} == before


# -- how fast it is ------------------------------------------------------------------------------------------------


def test_a_rate_is_measured_by_a_worker_and_survives_its_file(rates: Rates, tmp_path: Path) -> None:
    assert (rates.device, len(rates.models)) == ("cpu", 1)
    one = rates.models[0]
    assert one.px_s == pytest.approx(one.side_px**2 / one.seconds, rel=0.01)
    assert one.side_px > 64
    assert one.precision in ("fp32", "bf16")
    assert read_rates(write_rates(str(tmp_path / "r.json"), rates)) == rates


def test_hours_follow_from_work_and_rate(folder: Path, model: Path, rates: Rates) -> None:
    known = replace(rates, models=(replace(rates.models[0], px_s=1000.0),))
    found = planned(folder, model, known, worker=WorkerConfig(workers=2))
    assert found.worker_hours == pytest.approx(found.source_px / 1000 / 3600)
    assert found.hours == pytest.approx(found.worker_hours / 2)
    assert (found.gpus, found.workers) == (0, 2)
    assert found.fits is True


def test_gpus_that_are_elsewhere_are_planned_with_their_own_rate(folder: Path, model: Path, rates: Rates) -> None:
    there = replace(rates, device="cuda", host="far", machine="a GPU", models=(replace(rates.models[0], px_s=1e6),))
    found = planned(folder, model, there, worker=WorkerConfig(gpus=8))
    assert (found.gpus, found.workers, found.worker_bytes, found.fits) == (8, 8, None, None)
    with pytest.raises(UsageError, match="--rate: it is of GPUs"):
        planned(folder, model, there)
    with pytest.raises(UsageError, match="--rate: it is of CPU workers"):
        planned(folder, model, rates, worker=WorkerConfig(gpus=8))


def test_workers_that_share_a_gpu_make_no_more_of_it(folder: Path, model: Path, rates: Rates) -> None:
    there = replace(rates, device="cuda", host="far", machine="a GPU", models=(replace(rates.models[0], px_s=1e6),))
    one, two = (planned(folder, model, there, worker=WorkerConfig(gpus=8, actors_per_gpu=each)) for each in (1, 2))
    assert (one.workers, two.workers) == (8, 16)
    assert one.hours == two.hours == pytest.approx(one.worker_hours / 8)


def test_a_picture_that_no_worker_has_the_memory_for_is_named(
    folder: Path, model: Path, rates: Rates, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = planned(folder, model, rates)
    assert (whole.largest, whole.body_bytes) == (f"{folder}/large.jpg", 0)
    assert whole.largest_bytes == 200 * 100 * (6 + 16 * 9)
    cut = planned(folder, model, rates, model=ModelConfig(model=str(model), band_px=4096, tile_px=32))
    assert cut.largest_bytes < whole.largest_bytes / 2, "the largest of its bands"
    monkeypatch.setattr("farm.forecast.memory_share", lambda workers: whole.largest_bytes - 1)
    assert planned(folder, model, rates).fits is False
    said = run(folder, "--model", model, "--gpus", "0", "--rate", _written(rates, folder.parent))
    assert f"and {folder}/large.jpg needs" in said.stdout
    monkeypatch.setattr("farm.forecast.memory_share", lambda workers: whole.largest_bytes)
    assert planned(folder, model, rates).fits is True


def _written(rates: Rates, folder: Path) -> str:
    return write_rates(str(folder / "rate.json"), rates)


def test_a_rate_of_other_weights_is_none(folder: Path, model: Path, rates: Rates) -> None:
    with pytest.raises(UsageError, match="it has no rate of file:tiny"):
        planned(folder, model, replace(rates, models=(replace(rates.models[0], sha256="0" * 64),)))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"models": [{}]}', '{"models": [], "schema": 9}', "\x00"])
def test_what_is_no_file_of_rates_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(UsageError, match=r"r\.json: no rates"):
        read_rates(str(tmp_path / "r.json"))


# -- the command ---------------------------------------------------------------------------------------------------


def test_the_command_plans_with_a_recorded_rate(folder: Path, model: Path, measured: Path) -> None:
    said = run(folder, "--model", model, "--gpus", "0", "--workers", "2", "--rate", measured)
    assert said.exit_code == 0, said.output
    for words in (
        "33 rows: 33 to do",
        "32 pictures, 1 films of 4 frames",
        "worker-hours",
        "on 2 CPU workers",
        "outputs",
    ):
        assert words in said.stdout, words
    found = json.loads(run(folder, "--model", model, "--workers", "2", "--rate", measured, "--json").stdout)
    assert (found["rows"], found["workers"], found["fits"]) == (33, 2, True)
    assert found["models"][0]["px_s"] == json.loads(measured.read_text())["models"][0]["px_s"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "MANIFEST: missing"),
        (("--measure", "r.json", "x"), "leave MANIFEST"),
        (("x", "--outscale", "99"), "0.25..16"),
    ],
)
def test_wrong_flags_are_named(flags: tuple[str, ...], said: str) -> None:
    done = run(*flags)
    assert done.exit_code == 2
    assert said in done.stderr


def test_every_flag_of_a_run_is_one_of_its_plan() -> None:
    names = {name: {opt for param in main.commands[name].params for opt in param.opts} for name in ("plan", "submit")}
    assert names["submit"] - names["plan"] == {
        *("--dry-run", "--quiet", "-q", "--detach"),
        *("--sample", "--yes", "--yes-if-suspect-below"),
    }
    assert names["plan"] - names["submit"] == {"--rate", "--measure"}


def test_rates_are_read_by_their_model_and_weights() -> None:
    one = ModelRate(model="a", sha256="1", px_s=5.0, precision="fp32", side_px=64, seconds=1.0)
    rates = Rates(device="cpu", machine="m", host="h", measured_unix=0.0, models=(one,))
    assert rates.of("a", "1") is one
    assert rates.of("a", "2") is rates.of("b", "1") is None
