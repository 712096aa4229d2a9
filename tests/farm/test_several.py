"""Several models in one run: a row becomes one row a model, and everything else stays as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from farm import collide, manifest, plan
from farm.config import LimitConfig, ModelConfig, OutputConfig, RunConfig
from farm.errors import ErrorKind, ItemError, ManifestError, ModelError, UsageError
from farm.names import Namer
from farm.records import ManifestRow, Overrides, RefusedRow
from farm.several import each_by, settled
from farm.summary import RowState
from farm.survey import Surveyor, count_rows

from .test_plan import BOOK

MODELS = ("x4plus", "general-x4v3")
BAD = RefusedRow(index=1, source="../x", error=ItemError(ErrorKind.UNSAFE_PATH, "../x", "leaves", "do not"))


def row(index: int, **overrides: object) -> ManifestRow:
    asked = Overrides(**overrides)  # pyright: ignore[reportArgumentType]
    return ManifestRow(index=index, source_url=f"/in/{index}.png", relative_path=f"{index}.png", overrides=asked)


def config(models: tuple[str, ...] = MODELS, name: str | None = None) -> RunConfig:
    output = OutputConfig(name=name) if name else OutputConfig()
    return RunConfig(manifest="m.csv", model=ModelConfig(models=models), output=output)


def test_rows_without_a_model_become_one_a_model_and_are_numbered_anew() -> None:
    rows = [row(0), BAD, row(2, model="x2plus"), row(3, outscale=2.0), replace(row(4), task="degrade")]
    made = list(each_by(rows, MODELS))
    assert [one.index for one in made] == list(range(7))
    found = [(one.overrides.model, one.overrides.outscale) for one in made if isinstance(one, ManifestRow)]
    assert found == [
        ("x4plus", None),
        ("general-x4v3", None),
        ("x2plus", None),
        ("x4plus", 2.0),
        ("general-x4v3", 2.0),
        (None, None),
    ]
    assert made[2] == replace(BAD, index=2), "what is refused is refused once"


def test_an_output_that_several_models_would_write_is_refused() -> None:
    with pytest.raises(ManifestError, match=r"row 3, column output: 'a\.png' would be written by each of 2 models"):
        list(each_by([row(3, output="a.png")], MODELS))
    assert len(list(each_by([row(3, output="a.png", model="x2plus")], MODELS))) == 1


def test_names_tell_the_models_apart() -> None:
    assert settled(config()).output.name == "{stem}_{model}_{scale}x.{ext}"
    assert settled(config()).model.model == "x4plus"
    own = settled(config(name="{model}-{stem}.{ext}"))
    assert own.output.name == "{model}-{stem}.{ext}"
    with pytest.raises(UsageError, match=r"put \{model\} into --name"):
        settled(config(name="{stem}_out.{ext}"))


def test_one_model_of_a_list_is_the_model() -> None:
    assert settled(config(models=("x2plus",))) == RunConfig(manifest="m.csv", model=ModelConfig(model="x2plus"))
    assert settled(config(models=())) == config(models=())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"picture")
    return tmp_path


@pytest.mark.parametrize("limit", [None, 2])
def test_a_limit_counts_rows_of_the_manifest(folder: Path, limit: int | None) -> None:
    asked = RunConfig(
        manifest=str(folder / "in"), model=ModelConfig(models=MODELS), limits=LimitConfig(limit=limit, pages="first")
    )
    asked, out = settled(asked), str(folder / "out")
    planner = plan.Planner(asked, BOOK, out, "cpu", cpu_bf16=True)
    with Surveyor(asked, planner, out) as surveyor:
        counted = count_rows(surveyor)
        ((_, shard),) = surveyor.plans(surveyor.survey())
        outputs = [row.item.output_url.rpartition("/")[2] for row in shard.rows() if row.state is RowState.PENDING]
    rows = 2 * (limit or 3)
    assert counted.rows == counted.states[RowState.PENDING] == rows
    assert counted.models == {*MODELS}
    assert outputs == [f"{name}_{model}_4x.png" for name in "abc" for model in MODELS][:rows]


def test_shards_follow_each_other_where_a_rows_models_lie_in_two(folder: Path) -> None:
    models = ("x4plus", "x2plus", "net-x4plus")
    shards = list(manifest.shards(str(folder / "in"), shard_rows=4, models=models).walk(lambda _: True))
    assert [(shard.number, shard.first, len(shard)) for shard in shards] == [(0, 0, 4), (1, 4, 4), (2, 8, 1)]
    rows = [block.row(at) for shard in shards for block in shard.blocks() for at in range(len(block))]
    assert [one.index for one in rows] == list(range(9))
    assert [one.overrides.model for one in rows] == list(models) * 3


def test_outputs_of_two_models_do_not_clash(folder: Path) -> None:
    asked = settled(RunConfig(manifest=str(folder / "in"), model=ModelConfig(models=MODELS)))
    namer = Namer(plan.Planner(asked, BOOK, "/out", "cpu", cpu_bf16=True))

    def blocks() -> list[object]:
        shards = manifest.shards(asked.manifest, shard_rows=100, models=MODELS).walk(lambda _: True)
        return [block for shard in shards for block in shard.blocks()]

    with collide.Collisions(namer) as collisions:
        for block in blocks():
            collisions.add(block.urls, namer.names(block).outputs)  # pyright: ignore
        collisions.check(blocks)  # pyright: ignore


# -- the book of models ------------------------------------------------------------------------------------------------


def test_models_of_a_command_must_differ_and_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from farm.book import ModelBook

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for models, error, said in (
        (("x4plus", "RealESRGAN_x4plus"), UsageError, "are the same model"),
        (("x4plus", "x4plus"), UsageError, "named more than once"),
        (("realesr-animevideov3-x4", "realesr-animevideov3"), UsageError, "are the same model"),
        (("x4plus", "vgg19"), ModelError, "for training only"),
        (("x4plus", "gfpgan-1.4"), ModelError, "a part of restoring faces"),
        (("x4plus", "x5plus"), ModelError, "not known"),
        (("x4plus", "esrgan-x4"), ModelError, "RRDB_ESRGAN_x4.pth is not in"),
    ):
        with pytest.raises(error, match=said):
            ModelBook(ModelConfig(models=models))
    book = ModelBook(ModelConfig(models=("realesr-animevideov3-x2", "realesr-animevideov3-x3")))
    assert book.notes == (
        "realesr-animevideov3-x2 means animevideov3 with outscale 2",
        "realesr-animevideov3-x3 means animevideov3 with outscale 3",
    )
    with pytest.raises(KeyError, match="for training only"):
        book["x4plus-netd"]
    with pytest.raises(UsageError, match="are the same model"):
        ModelBook(ModelConfig(models=("realesr-animevideov3-x2", "realesr-animevideov3-x3"), outscale=2.0))


def test_a_rows_denoise_is_for_the_models_that_have_a_partner() -> None:
    made = replace(config(), model=replace(config().model, model=MODELS[0]))
    planner = plan.Planner(made, BOOK, "/out", "cpu")
    both = [
        planner.recipe(one).params for one in each_by([row(0, denoise=0.25)], MODELS) if isinstance(one, ManifestRow)
    ]
    assert [one.denoise for one in both] == [1.0, 0.25]  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ManifestError, match="has no denoise partner"):
        planner.recipe(row(0, model="x2plus", denoise=0.25))


def test_an_unconfirmed_file_says_so_and_is_known_by_its_own_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from farm.book import ModelBook

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "RRDB_ESRGAN_x4.pth").write_bytes(b"weights")
    book = ModelBook(ModelConfig(model="esrgan-x4", weights_dir=str(tmp_path)))
    digest = book["esrgan-x4"].sha256
    assert len(digest) == 64
    assert book.notes == (
        f"esrgan-x4: no source confirms the sha256 of RRDB_ESRGAN_x4.pth; its file here has {digest}",
    )
    by_row = ModelBook(ModelConfig(model="x4plus", weights_dir=str(tmp_path)))
    with pytest.raises(KeyError, match="name it with --model"):
        by_row["esrgan-x4"]


def test_two_weight_files_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from farm.book import ModelBook
    from tests.seeded import save_srvgg

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    files = []
    for at, folder in enumerate((tmp_path / "a", tmp_path / "b")):
        folder.mkdir()
        files.append(str(save_srvgg(folder / "tiny.pth", features=8, convs=2, seed=at)))
    with pytest.raises(UsageError, match="are both called file:tiny; rename one of them"):
        ModelBook(ModelConfig(models=tuple(files)))
