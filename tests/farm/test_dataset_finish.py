"""When all packs are there: counts, lists, dataset.json, and nothing left of what a data set was before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from farm.config import PrepareConfig, degrade_options
from farm.dataset import Counted, check_root, finish, plan_packs, withdraw
from farm.errors import UsageError
from farm.sample import SourceReport, SourceRow, read_pack
from farm.shards import read_index, strip_data, write_pack
from sr_kernel.degrade.recipe import RECIPES
from tests.farm.packs import pair, publish_tree, row, spec
from tests.stores import output


def config(form: str, per_image: int) -> PrepareConfig:
    return PrepareConfig(form=form, degrade=degrade_options(RECIPES["x4plus"], per_image=per_image))


def report(source: SourceRow, per_image: int) -> SourceReport:
    if source.key == "bad":
        return SourceReport(
            row=source, status="failed", reason="truncated", message="truncated: /bad.jpg: cut; mend it"
        )
    samples = tuple(pair(f"{source.key}_d{nth:03d}", nth) for nth in range(per_image))
    return SourceReport(row=source, status="done", rules=("gray_expanded",), samples=samples)


def begin(out: Path, names: str, form: str = "tree", per_image: int = 1) -> Counted | None:
    """What a run over packs does, up to the end; `names`: one source a letter, and one that fails."""
    return make(out, names, form, per_image, ends=False)


def make(out: Path, names: str, form: str = "tree", per_image: int = 1, *, ends: bool = True) -> Counted | None:
    root, asked = output(str(out)), config(form, per_image)
    sources = [row(at, key) for at, key in enumerate([*names, "bad"])]
    packs = plan_packs(sources, str(out), most_rows=2, run=root.attempt)
    withdraw(str(out), packs, asked, "degrade", root.attempt)
    for file, name in zip(packs.files, packs.names, strict=True):
        reports = [report(one, per_image) for one in read_pack((out / ".farm" / "packs" / file).read_bytes())]
        if form == "tree":
            publish_tree((sample for one in reports for sample in one.samples), root)
            reports = [*map(strip_data, reports)]
        write_pack(replace(spec(form, name), source_columns={}), reports, root)
    return finish(str(out), packs, asked, "degrade", root.attempt) if ends else None


def published(out: Path) -> set[str]:
    found = (path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    return {name for name in found if not name.startswith(".farm/")}


def test_every_source_is_counted_and_every_failure_told(tmp_path: Path) -> None:
    counted = make(tmp_path, "abcde", per_image=2)
    assert counted is not None
    assert (counted.sources, counted.done, counted.skipped, counted.failed) == (6, 5, 0, 1)
    assert (counted.samples, counted.parts) == (10, len(list((tmp_path / "sources").iterdir())))
    assert counted.reasons == {"truncated": 1}
    assert counted.rules == {"gray_expanded": 5}
    assert counted.failures == ["truncated: /bad.jpg: cut; mend it"]


def test_lists_name_every_pair_once(tmp_path: Path) -> None:
    make(tmp_path, "abc", per_image=2)
    pairs = (tmp_path / "meta_info_pairs.txt").read_text().splitlines()
    wanted = [f"gt/{key}_d00{nth}.png, lq/{key}_d00{nth}.png" for key in "abc" for nth in range(2)]
    assert sorted(pairs) == wanted
    assert all((tmp_path / path).is_file() for line in pairs for path in line.split(", "))
    names = (tmp_path / "meta_info_gt.txt").read_text().splitlines()
    assert [f"gt/{name}" for name in names] == [line.split(", ")[0] for line in pairs]


def test_files_of_pairs_that_are_none_any_more_go(tmp_path: Path) -> None:
    make(tmp_path / "before", "abcdef", per_image=3)
    make(tmp_path / "before", "abd", per_image=1)
    make(tmp_path / "fresh", "abd", per_image=1)
    assert published(tmp_path / "before") == published(tmp_path / "fresh")


@pytest.mark.parametrize(("first", "then"), [("tree", "tar"), ("tar", "lmdb"), ("lmdb", "parquet"), ("tar", "tree")])
def test_another_form_takes_the_place_of_the_first(tmp_path: Path, first: str, then: str) -> None:
    make(tmp_path / "before", "abc", first)
    make(tmp_path / "before", "abc", then)
    make(tmp_path / "fresh", "abc", then)
    assert published(tmp_path / "before") == published(tmp_path / "fresh")


def test_files_of_others_stay(tmp_path: Path) -> None:
    make(tmp_path, "abc")
    own = {"gt/mine.png", "shards/mine.tar", "notes.txt", "lmdb/other/data.mdb"}
    for name in own:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"mine")
    make(tmp_path, "ab", "tar")
    assert own <= published(tmp_path)


def test_while_it_is_made_otherwise_nobody_takes_it_for_whole(tmp_path: Path) -> None:
    make(tmp_path, "abc")
    begin(tmp_path, "abc", per_image=2)  # killed before its end
    assert not (tmp_path / "dataset.json").exists()
    make(tmp_path, "abc")
    make(tmp_path / "fresh", "abc")
    assert read_index(str(tmp_path)).samples == 3
    assert {name for name in published(tmp_path) if not name.startswith("fresh/")} == published(tmp_path / "fresh")


def test_the_same_again_leaves_the_list_where_it_is(tmp_path: Path) -> None:
    make(tmp_path, "abc")
    before = (tmp_path / "dataset.json").read_bytes()
    begin(tmp_path, "abc")
    assert (tmp_path / "dataset.json").read_bytes() == before


def test_an_output_root_has_one_operation(tmp_path: Path) -> None:
    make(tmp_path, "abc")
    check_root(str(tmp_path), "degrade")
    check_root(str(tmp_path / "elsewhere"), "stats")
    with pytest.raises(UsageError, match=r"holds what `degrade` has made; give stats an output root of its own"):
        check_root(str(tmp_path), "stats")


def test_no_sources_make_an_empty_data_set(tmp_path: Path) -> None:
    root, asked = output(str(tmp_path)), config("tree", 1)
    packs = plan_packs([], str(tmp_path), most_rows=2, run=root.attempt)
    counted = finish(str(tmp_path), packs, asked, "degrade", root.attempt)
    assert (counted.sources, counted.samples) == (0, 0)
    assert (tmp_path / "meta_info_pairs.txt").read_text() == ""
