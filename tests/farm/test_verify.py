"""What lies in an output root is read and compared with what the ledger says: everything, once, and nothing else."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import CliRunner

from farm import failpoints, storage
from farm.cli import main
from farm.errors import ErrorKind, ItemError, UsageError
from farm.media import image
from farm.progress import size
from farm.records import ItemStatus
from farm.verify import Verified, VerifyConfig, verify
from tests.farm.outputs import SIZE, Root, film, flipped, overwrite, part, picture, pictures, sequence
from tests.outside import public_folder, without_rights
from tests.stores import opened, output, raised


@pytest.fixture(params=["file", pytest.param("s3-path", marks=pytest.mark.s3)])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with opened(request.param, tmp_path, monkeypatch) as found:
        yield found.root


def look(url: str, **options: object) -> Verified:
    return verify(VerifyConfig(root=url, **options))  # pyright: ignore[reportArgumentType]


def harm(url: str) -> None:
    """One bit in the middle."""
    data = storage.read_bytes(url)
    overwrite(url, flipped(data, len(data) // 2, 3))


def test_films_sequences_and_training_data_are_read_file_by_file(url: str) -> None:
    root = Root(url)
    made = root.put("a.mp4", film(), (96, 64), frames=40)
    frames = list(sequence(root, "b", 3))
    tree, tar, parquet = (part(root, form, number) for number, form in enumerate(("tree", "tar", "parquet")))
    root.close()
    found = look(url)
    assert (found.outputs, found.damaged, found.unjudged) == (5, 0, 0)
    assert found.files == 1 + 4 + (2 + 18) + 3 + 2
    sample = next(one.url for one in storage.list_files(storage.join(url, "gt")))
    harmed = [made, frames[1], sample, storage.join(url, tar[0]), storage.join(url, parquet[-1])]
    for one in harmed:
        harm(one)
    storage.delete(frames[2])
    storage.delete(storage.join(url, tree[0]))
    found = look(url)
    assert found.damaged == 5
    message = "\n".join(message for one in found.named for message in one.messages)
    assert all(f"corrupt: {one}: sha256" in message for one in harmed if one != sample)
    assert f"missing: {frames[2]}: " in message
    assert f"missing: {storage.join(url, tree[0])}: " in message
    assert "--verify-outputs" in message
    assert f"delete {storage.join(url, 'b/frames.json')} and run" in message


def test_a_sample_of_a_tree_that_is_damaged_is_named(tmp_path: Path) -> None:
    root = Root(str(tmp_path))
    part(root, "tree", 0)
    root.close()
    sample = sorted((tmp_path / "lq").rglob("*.png"))[0]
    harm(str(sample))
    (one,) = look(root.url).named
    assert f"corrupt: {sample}: sha256" in one.messages[0]


def test_a_sequence_of_an_earlier_version_is_decoded(tmp_path: Path) -> None:
    root = Root(str(tmp_path))
    frames = list(sequence(root, "b", 3, digests=False))
    root.close()
    assert look(root.url).damaged == 0
    overwrite(frames[0], picture(0, "png")[:-60])
    overwrite(frames[1], b"")
    (one,) = look(root.url).named
    assert f"truncated: {frames[0]}: " in one.messages[0]
    assert f"empty_input: {frames[1]}: " in one.messages[1]


@pytest.mark.parametrize("form", ["png", "jpg", "webp", "tiff", "avif", "mp4"])
def test_what_was_damaged_before_its_digest_was_taken_is_found_by_decoding(tmp_path: Path, form: str) -> None:
    data = film() if form == "mp4" else picture(1, form)
    root = Root(str(tmp_path))
    root.put(f"cut.{form}", data[: len(data) * 3 // 5], SIZE, frames=40 * (form == "mp4"))
    root.put(f"other.{form}", data, (SIZE[0], SIZE[1] + 2), frames=40 * (form == "mp4"))
    root.close()
    assert look(root.url, decode=False).damaged == 0
    found = look(root.url)
    assert found.damaged == 2
    assert f"other.{form}: 96 x 64" in found.named[1].messages[0]
    assert "(recorded: 96 x 66" in found.named[1].messages[0]


def test_a_frame_that_is_missing_is_found(tmp_path: Path) -> None:
    root = Root(str(tmp_path))
    root.put("a.mp4", film(), (96, 64), frames=41)
    root.close()
    assert "96 x 64, 40 frames (recorded: 96 x 64, 41 frames)" in look(root.url).named[0].messages[0]


def test_large_files_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.verify._WHOLE_BYTES", 1000)
    root = pictures(str(tmp_path), 10)
    root.close()
    assert look(root.url).damaged == 0
    harm(root.entries[3].output)
    assert [one.output for one in look(root.url).named] == [root.entries[3].output]


def test_shares_hold_every_output_once(tmp_path: Path) -> None:
    root = pictures(str(tmp_path), 20)
    root.close()
    for one in root.entries:
        storage.delete(one.output)
    seen = Counter(one.output for share in range(1, 8) for one in look(root.url, share=share, shares=7).named)
    assert seen == Counter(one.output for one in root.entries)
    moved = pictures(str(tmp_path / "elsewhere"), 20)
    moved.close()
    for one in moved.entries:
        storage.delete(one.output)
    for share in (1, 5):
        names = [
            {one.output.removeprefix(each.url) for one in look(each.url, share=share, shares=7).named}
            for each in (root, moved)
        ]
        assert names[0] == names[1], "a share is of names, wherever the root lies"


def test_only_what_counts_is_looked_at(tmp_path: Path) -> None:
    root = pictures(str(tmp_path), 5)
    first = root.entries[0]
    root.entries.append(replace(first, key="failed", status=ItemStatus.FAILED, output=f"{tmp_path}/no.png"))
    root.entries.append(replace(first, key="piece", output=f"{tmp_path}/.farm/parts/x", extent=(0, 8)))
    overwrite(first.output, b"made anew")
    made = output(root.url).publish(first.output, picture(99, "png"))
    root.note(made, SIZE)
    root.close()
    found = look(root.url)
    assert (found.outputs, found.damaged) == (5, 0)


def test_what_cannot_be_read_just_now_is_said_and_not_called_damaged(url: str) -> None:
    """A disk that fails, or a store that has too much to do after all tries: nothing is known of what it holds."""
    root = pictures(url, 5)
    root.close()
    failpoints.arm("storage.read~*/1.jpg=503;storage.stat~*/3.tiff=503")
    try:
        found = look(url)
        ran = CliRunner().invoke(main, ["verify", url, "--quiet"])
    finally:
        failpoints.disarm()
    assert (found.outputs, found.damaged, found.unread, found.unjudged, found.named) == (5, 0, 2, 0, [])
    assert ran.exit_code == found.exit_code == (69 if "://" in url else 74)
    assert "3 outputs as recorded, 0 damaged or missing, 2 that could not be read" in ran.output
    for entry in (root.entries[1], root.entries[3]):
        assert f"not read: {entry.output}: " in ran.output
    assert "make it anew" not in ran.output
    harm(root.entries[0].output)
    assert look(url).exit_code == 3


def test_a_list_of_parts_that_cannot_be_read_ends_it(url: str) -> None:
    pictures(url, 3).close()
    failpoints.arm("storage.*~*/dataset.json=503")
    try:
        ran = CliRunner().invoke(main, ["verify", url])
    finally:
        failpoints.disarm()
    assert ran.exit_code == (69 if "://" in url else 74), ran.output
    assert "dataset.json: " in ran.output


def test_what_we_may_not_read_is_not_called_damaged() -> None:
    with public_folder() as folder:
        root = pictures(str(folder), 3)
        root.close()
        Path(root.entries[1].output).chmod(0)
        with without_rights():
            found = look(root.url)
    assert (found.damaged, found.unread, found.exit_code) == (0, 1, 77)


def test_what_is_no_file_any_more_is_damage_and_not_a_decoder_that_is_lacking(tmp_path: Path) -> None:
    root = pictures(str(tmp_path), 3)
    root.close()
    output = Path(root.entries[1].output)
    output.unlink()
    os.mkfifo(output)
    found = look(root.url)
    assert (found.damaged, found.unjudged, found.exit_code) == (1, 0, 3)
    assert (
        f"{output}: not a regular file; run the same submit again with --verify-outputs" in found.named[0].messages[0]
    )


def test_an_output_whose_decoder_is_lacking_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(_file: object, name: str, _limits: object) -> NoReturn:
        raise ItemError(ErrorKind.UNSUPPORTED, name, "no decoder", "install one")

    root = pictures(str(tmp_path), 3)
    root.close()
    monkeypatch.setattr(image, "prove", lacking)
    found = look(root.url)
    assert (found.damaged, found.unread, found.unjudged, found.exit_code) == (0, 0, 3, 0)


def test_what_a_run_makes_anew_meanwhile_is_not_called_damaged(tmp_path: Path) -> None:
    root = pictures(str(tmp_path), 5)
    root.close()
    harm(root.entries[1].output)
    again = Root(root.url, entries=list(root.entries))

    def run(_: Verified) -> None:
        if len(again.entries) == 5:
            again.note(output(root.url).publish(root.entries[1].output, picture(50, "jpg")), SIZE)
            again.close()

    assert verify(VerifyConfig(root=root.url, workers=1), run).damaged == 0


def test_parts_that_a_data_set_no_longer_has_are_not_missed(tmp_path: Path) -> None:
    from tests.farm import packs

    root = Root(str(tmp_path))
    part(root, "tar", 7)
    index = packs.make("tar", root.url, parts=1)
    root.close()
    for path in tmp_path.rglob("part-7*"):
        path.unlink()
    assert [one.name for one in index.parts] == ["part-0"]
    assert (look(root.url).outputs, look(root.url).damaged) == (0, 0)


def test_a_root_without_a_ledger_is_said(tmp_path: Path) -> None:
    assert "no ledger" in str(raised(UsageError, lambda: look(str(tmp_path))))


def test_the_command_names_what_is_wrong_and_is_quiet_else(tmp_path: Path) -> None:
    root = pictures(str(tmp_path), 5)
    root.put("bad\x1b[31m\n.png", picture(7, "png"), SIZE)
    root.close()
    run = lambda *flags: CliRunner().invoke(main, ["verify", str(tmp_path), *flags])  # noqa: E731
    whole = run()
    assert whole.exit_code == 0, whole.output
    nbytes = sum(entry.bytes for entry in root.entries)
    assert whole.output.startswith(f"6 outputs as recorded, 0 damaged or missing ({size(nbytes)}) in ")
    assert run("--quiet").output == ""
    storage.delete(root.entries[-1].output)
    wrong = run("--quiet", "--workers", "1")
    assert wrong.exit_code == 3
    assert "missing: " in wrong.output
    assert "bad\\x1b[31m\\x0a.png" in wrong.output
    assert "5 outputs as recorded, 1 damaged or missing" in wrong.output
    assert run("--subset", "0/7").exit_code == 2
    assert run("--subset", "8/7").exit_code == 2
    assert CliRunner().invoke(main, ["verify", str(tmp_path / "none")]).exit_code == 2
