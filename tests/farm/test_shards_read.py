"""Samples come back as they were kept, from every form and store, in any order and process; damage is never given."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farm import storage
from farm.errors import ErrorKind, FarmError, ItemError, UsageError
from farm.sample import FORMS, SourceReport
from farm.shards import DatasetIndex, Reader, open_dataset, read_index, write_index, write_pack
from sr_kernel.cache import cache_folder
from tests.farm.packs import ROLES, expected, make, pair, row, spec, write
from tests.stores import KINDS, Store, kind_of, opened, output


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with opened(request.param, tmp_path, monkeypatch) as found:
        yield found


def check(reader: Reader, parts: int = 2, numbers: list[int] | None = None) -> None:
    wanted = expected(parts)
    assert len(reader) == len(wanted)
    for number in range(len(wanted)) if numbers is None else numbers:
        found = reader.sample(number)
        assert (found.key, found.record) == (wanted[number].key, wanted[number].record)
        assert found.files == {one.role: one.data for one in wanted[number].members}
        assert reader.files(number, ["lq"]) == (found.key, {"lq": found.files["lq"]})


@pytest.mark.parametrize("form", FORMS)
def test_samples_come_back_from_every_store(form: str, store: Store) -> None:
    made = make(form, store.root)
    reader = open_dataset(store.root)
    assert reader.index == made == read_index(store.root)
    check(reader)
    order = list(range(len(reader))) * 2
    random.Random(1).shuffle(order)
    check(reader, numbers=order)
    assert [one.key for one in reader] == [one.key for one in expected()]
    for beyond in (-1, len(reader)):
        with pytest.raises(IndexError):
            reader.sample(beyond)


@pytest.mark.parametrize("form", FORMS)
def test_many_parts_are_opened_and_let_go(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from farm.shards import access, read

    monkeypatch.setattr(access, "_OPEN_FILES", 2)
    monkeypatch.setattr(access, "_OPEN_DATABASES", 2)
    monkeypatch.setattr(read, "_PLACES", 2)
    access._databases.cache_clear()
    make(form, str(tmp_path), parts=5)
    reader = open_dataset(str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    order = list(range(len(reader))) * 2
    random.Random(2).shuffle(order)
    check(reader, parts=5, numbers=order)
    assert len(os.listdir("/proc/self/fd")) <= before + 4
    access._databases.cache_clear()


def _digests(reader: Reader) -> list[tuple[str, dict[str, bytes]]]:
    return [reader.files(number, ROLES) for number in range(len(reader))]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_reader_that_is_open_serves_other_processes(form: str, method: str, tmp_path: Path) -> None:
    make(form, str(tmp_path))
    reader = open_dataset(str(tmp_path))
    here = _digests(reader)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(_digests, [reader, reader]) == [here, here]
    assert _digests(reader) == here


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("form", FORMS)
def test_a_forked_child_opens_files_of_its_own(form: str, tmp_path: Path) -> None:
    """Files of before the fork share where they are read with the parent: each would read the other's bytes."""
    make(form, str(tmp_path))
    reader = open_dataset(str(tmp_path))
    here = _digests(reader)
    child = os.fork()
    if child == 0:
        same = all(_digests(reader) == here for _ in range(20))
        os._exit(0 if same else 1)
    assert all(_digests(reader) == here for _ in range(20))
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("form", FORMS)
def test_two_readers_of_one_process_do_not_disturb_each_other(form: str, tmp_path: Path) -> None:
    make(form, str(tmp_path))
    one, other = open_dataset(str(tmp_path)), open_dataset(str(tmp_path))
    check(one)
    check(other)
    del one
    check(other)


def test_a_database_on_a_store_is_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with opened("rclone", tmp_path, monkeypatch) as store:
        made = make("lmdb", store.root, parts=1)
        check(open_dataset(store.root), parts=1)
        copies = {path.parent.name: path for path in cache_folder("datasets").rglob("data.mdb")}
        assert set(copies) == {one.sha256 for one in made.parts[0].files if one.path.endswith("data.mdb")}
        times = {path: path.stat().st_mtime_ns for path in copies.values()}
        for file in made.parts[0].files:
            if file.path.endswith("data.mdb"):
                storage.delete(storage.join(store.root, file.path))
        check(pickle.loads(pickle.dumps(open_dataset(store.root))), parts=1)
        assert {path: path.stat().st_mtime_ns for path in copies.values()} == times


def test_a_copy_that_is_not_what_the_list_names_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with opened("rclone", tmp_path, monkeypatch) as store:
        made = make("lmdb", store.root, parts=1)
        output(store.root).publish(storage.join(store.root, made.parts[0].files[0].path), b"another")
        assert kind_of(lambda: open_dataset(store.root).sample(0)) is ErrorKind.CORRUPT
        assert not [*cache_folder("datasets").rglob("*.mdb")]


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_damaged_files_are_refused_and_never_given(form: str, tmp_path: Path) -> None:
    """Each file of the data set in turn with one bit turned over, or cut, or gone."""
    make(form, str(tmp_path), parts=1)
    wanted = [(one.key, {member.role: member.data for member in one.members}) for one in expected(1)]
    rng = random.Random(3)
    for path in sorted(one for one in tmp_path.rglob("*") if one.is_file()):
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole) // 4, len(whole))] ^= 4
        damages = [bytes(flipped), whole[: len(whole) // 2], b"", None]
        for damage in damages:
            path.unlink()
            if damage is not None:
                path.write_bytes(damage)
            try:
                found = _digests(open_dataset(str(tmp_path)))
            except FarmError:
                continue
            finally:
                path.write_bytes(whole)
            assert found == wanted, f"{path} damaged and other bytes given"
    check(open_dataset(str(tmp_path)), parts=1)


@pytest.mark.parametrize("form", FORMS)
def test_a_bit_that_is_turned_over_in_a_picture_is_found(form: str, tmp_path: Path) -> None:
    made = make(form, str(tmp_path), parts=1)
    data = expected(1)[2].members[0].data
    paths = {"tar": made.parts[0].files[0].path, "lmdb": made.parts[0].files[0].path}
    path = tmp_path / paths.get(form, f"gt/{expected(1)[2].key}.png" if form == "tree" else "samples/part-0.parquet")
    whole = bytearray(path.read_bytes())
    whole[whole.index(data) + len(data) // 2] ^= 1
    path.write_bytes(whole)
    reader = open_dataset(str(tmp_path))
    assert reader.files(1, ["gt"])[1] == {"gt": expected(1)[1].members[0].data}
    with pytest.raises(ItemError, match="row 2 names other bytes than gt has") as caught:
        reader.files(2, ["gt"])
    assert caught.value.kind is ErrorKind.CORRUPT


def test_a_part_that_was_made_again_is_not_mixed_with_its_list(tmp_path: Path) -> None:
    make("tar", str(tmp_path), parts=1)
    one = SourceReport(row=row(0, "a"), status="done", samples=(pair("a", 1),))
    write_pack(spec("tar"), [one], output(str(tmp_path)))
    with pytest.raises(ItemError, match="1 samples where the data set's list says 6"):
        open_dataset(str(tmp_path)).sample(0)


# --- the list --------------------------------------------------------------------------------------------------------


def test_the_index_comes_back_and_is_the_same_bytes(tmp_path: Path) -> None:
    made = make("tar", str(tmp_path))
    before = (tmp_path / "dataset.json").read_bytes()
    write_index(replace(made, options={**made.options}), output(str(tmp_path)))
    assert (tmp_path / "dataset.json").read_bytes() == before
    values = json.loads(before)
    assert (values["schema"], values["form"], values["operation"]) == (1, "tar", "degrade")
    assert (values["roles"], values["options"]) == (list(ROLES), {"seed": 3})
    assert [part["name"] for part in values["parts"]] == ["part-0", "part-1"]
    assert set(values["parts"][0]["files"][0]) == {"path", "bytes", "sha256"}
    assert made.samples == 12


def test_what_is_no_index_is_said(tmp_path: Path) -> None:
    assert kind_of(lambda: open_dataset(str(tmp_path))) is ErrorKind.MISSING
    path = tmp_path / "dataset.json"
    for text in ("", "[]", "{}", "\0", '{"schema": 1, "parts": [{}]}', '{"schema": "x"}', '{"schema": 1, "odd": 2}'):
        path.write_text(text)
        assert kind_of(lambda: open_dataset(str(tmp_path))) is ErrorKind.CORRUPT, text
    path.write_text('{"schema": 2}')
    with pytest.raises(UsageError, match="a newer farm made this data set"):
        open_dataset(str(tmp_path))


def test_an_empty_data_set_has_no_samples(tmp_path: Path) -> None:
    empty = DatasetIndex(form="tar", operation="degrade", roles=ROLES, options={}, parts=())
    write_index(empty, output(str(tmp_path)))
    reader = open_dataset(str(tmp_path))
    assert len(reader) == 0
    assert [*reader] == []


def test_a_part_without_samples_is_passed_over(tmp_path: Path) -> None:
    failed = SourceReport(row=row(0, "x"), status="failed", reason="corrupt", message="no good")
    parts = (
        write("tar", str(tmp_path), 0).part,
        write_pack(spec("tar", "part-1"), [failed], output(str(tmp_path))).part,
        write("tar", str(tmp_path), 2).part,
    )
    index = DatasetIndex(form="tar", operation="degrade", roles=ROLES, options={}, parts=parts)
    write_index(index, output(str(tmp_path)))
    reader = open_dataset(str(tmp_path))
    assert [one.key for one in reader][:7] == [one.key for one in [*expected(3)[:6], expected(3)[12]]]
    ends = [*reader.failures()]
    assert [(one.source, one.reason) for one in ends] == [
        ("/pictures/bad_3.jpg", "truncated"),
        ("/pictures/x.jpg", "corrupt"),
        ("/pictures/bad_23.jpg", "truncated"),
    ]
    assert ends[1].message == "no good"


@pytest.mark.parametrize("form", FORMS)
def test_a_role_that_a_sample_lacks_is_left_out(form: str, tmp_path: Path) -> None:
    from tests.farm.packs import publish_tree

    samples = (pair("a", 1, ("lq",)), pair("b", 2))
    publish_tree(iter(samples if form == "tree" else ()), output(str(tmp_path)))
    report = SourceReport(row=row(0, "a"), status="done", samples=samples)
    part = write_pack(replace(spec(form), form=form), [report], output(str(tmp_path))).part
    index = DatasetIndex(form=form, operation="degrade", roles=ROLES, options={}, parts=(part,))
    write_index(index, output(str(tmp_path)))
    assert set(open_dataset(str(tmp_path)).sample(0).files) == {"lq"}
    assert set(open_dataset(str(tmp_path)).sample(1).files) == set(ROLES)
