"""Weight files of other networks through whole runs of the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import pyvips
import torch

from ..foreign_networks import sample
from ..outside import real_picture
from ..runs import Farm, files, identity, results

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def cluster_farm(tmp_path_factory: pytest.TempPathFactory, cluster: dict[str, str]) -> Farm:
    folder = tmp_path_factory.mktemp("foreign")
    return Farm(model=sample("SPAN").save(folder, name="span.pth"), cache=folder, environment=cluster)


@pytest.mark.parametrize(("name", "scale", "mode"), [("SPAN", 4, "exact"), ("SwinIR-light", 3, "bounded")])
def test_a_foreign_network_gives_equal_bytes_with_one_worker_and_two_and_is_not_run_twice(
    cluster_farm: Farm, tmp_path: Path, name: str, scale: int, mode: str
) -> None:
    model = sample(name).save(tmp_path, name="other.pth")
    source, out = tmp_path / "in", tmp_path / "two"
    source.mkdir()
    picture = pyvips.Image.new_from_file(str(real_picture("0030.jpg"))).crop(30, 40, 150, 130)
    picture.write_to_file(str(source / "real.png"))
    picture.fliphor().write_to_file(str(source / "flipped.png"))
    flags = ("--model", model, "--tile-px", "32", "--band-px", "6000")
    made = cluster_farm.submit(source, out, *flags, "--workers", "2")
    assert made.returncode == 0, made.stderr
    assert files(out) == {f"flipped_{scale}x.png", f"real_{scale}x.png", "results.parquet"}
    rows = results(out)
    assert {(row["status"], row["mode"], row["model"]) for row in rows} == {("done", mode, "file:other")}
    image = pyvips.Image.new_from_file(str(out / f"real_{scale}x.png"))
    assert (image.width, image.height, image.bands) == (150 * scale, 130 * scale, 3)

    alone = cluster_farm.submit(source, tmp_path / "one", *flags, "--workers", "1")
    assert alone.returncode == 0, alone.stderr
    assert identity(tmp_path / "one") == identity(out)

    again = cluster_farm.submit(source, out, *flags)
    assert again.returncode == 0, again.stderr
    assert "2 done before" in again.stderr


def test_a_file_that_is_no_network_ends_the_command_before_anything_starts(
    cluster_farm: Farm, make_picture: Make, tmp_path: Path
) -> None:
    path = tmp_path / "strange.pth"
    torch.save({"some.weight": torch.zeros(3)}, path)
    made = cluster_farm.submit(make_picture(tmp_path / "a.png"), tmp_path / "out", "--model", path)
    assert made.returncode == 78
    assert "holds 1 tensors of 3 values (some.weight), no network that is known" in made.stderr
    assert "Traceback" not in made.stderr
    assert not files(tmp_path / "out")
