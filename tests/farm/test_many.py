"""Many files asked about at once: the same answers as one by one, in few requests."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from farm import storage
from farm.errors import ErrorKind, ItemError
from farm.records import FileStat
from farm.storage import many, objects
from tests.s3_server import BUCKET, require_s3
from tests.stores import reach

Counted = Callable[[], int]


def alone(url: str) -> FileStat | str:
    try:
        return timeless(storage.stat(url))
    except ItemError as error:
        return str(error)


def said(answers: list[FileStat | ItemError]) -> list[FileStat | str]:
    return [timeless(answer) if isinstance(answer, FileStat) else str(answer) for answer in answers]


def timeless(stat: FileStat) -> FileStat:
    """Listings give times in milliseconds, HEAD in seconds."""
    return replace(stat, mtime_ns=None) if stat.etag else stat


def test_files_of_a_disk_are_what_they_are_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    names = ["a", "folder", "link", "broken", "pipe", "gone", "a/below", "x" * 300]
    urls = [str(tmp_path / name) for name in names]
    assert said(storage.ManyStats().ask(urls)) == [alone(url) for url in urls]


def test_links_are_shown_to_who_asks(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    for name in ("good", "bad"):
        (tmp_path / name).symlink_to("a")
    refused = ItemError(ErrorKind.UNSAFE_PATH, "bad", "is a link", "name the file")
    seen: list[str] = []

    def on_link(url: str) -> None:
        seen.append(url)
        if url.endswith("bad"):
            raise refused

    urls = [str(tmp_path / name) for name in ("a", "good", "bad")]
    a, good, bad = storage.ManyStats().ask(urls, on_link=on_link)
    assert isinstance(a, FileStat)
    assert isinstance(good, FileStat)
    assert (good.bytes, bad) == (3, refused)
    assert seen == urls[1:]


@pytest.mark.parametrize("key", ["a", "b/c.png", "x/\u00e9", "x/\ue000", "x/ ", "x/\U0001f600", "a/1000"])
def test_a_page_starts_right_before_the_object_that_is_asked_for(key: str) -> None:
    before = many._before(key)
    assert before.encode() < key.encode()
    assert before.encode() >= key[:-1].encode()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Requests to the store, by kind."""
    reach(require_s3(), monkeypatch)
    counts = {"list": 0, "head": 0}
    list_page, stat = objects.list_page, objects.stat

    def listed(url: str, after: str) -> tuple[list[FileStat], bool]:
        counts["list"] += 1
        return list_page(url, after)

    def headed(url: str) -> FileStat:
        counts["head"] += 1
        return stat(url)

    monkeypatch.setattr(objects, "list_page", listed)
    monkeypatch.setattr(objects, "stat", headed)
    return counts


@pytest.fixture(scope="module")
def bucket() -> str:
    """2500 objects, and some with names that sort where nobody expects them."""
    server = require_s3()
    prefix, client = server.new_prefix(), server.client()
    names = [f"in/{at // 100:03d}/{at:06d}.png" for at in range(2500)]
    names += ["in/odd/\u00e9.png", "in/odd/\U0001f600.png", "in/odd/a b%+#.png", "in/odd/A.png", "in2/x.png"]
    folder = prefix.split("/", 3)[3]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: client.put_object(Bucket=BUCKET, Key=f"{folder}/{name}", Body=name.encode()), names))
    return prefix


@pytest.mark.s3
def test_one_page_answers_for_a_thousand_objects(counted: dict[str, int], bucket: str) -> None:
    urls = [f"{bucket}/in/{at // 100:03d}/{at:06d}.png" for at in range(2500)]
    order = list(urls)
    random.Random(1).shuffle(order)
    answers = storage.ManyStats().ask(order)
    assert counted == {"list": 3, "head": 0}
    assert [answer.url for answer in answers if isinstance(answer, FileStat)] == order
    assert said(answers[:1]) == [alone(order[0])]


@pytest.mark.s3
def test_batches_that_follow_each_other_share_a_page(counted: dict[str, int], bucket: str) -> None:
    urls = [f"{bucket}/in/{at // 100:03d}/{at:06d}.png" for at in range(2500)]
    asker = storage.ManyStats()
    for start in range(0, 2500, 250):
        assert all(isinstance(answer, FileStat) for answer in asker.ask(urls[start : start + 250]))
    assert counted["list"] <= 3 + 10
    assert counted["head"] == 0


@pytest.mark.s3
def test_what_is_missing_is_said_as_it_is_one_by_one(counted: dict[str, int], bucket: str) -> None:
    names = ["in/odd/\u00e9.png", "in/odd/\U0001f600.png", "in/odd/a b%+#.png", "in/odd/A.png", "in2/x.png"]
    names += ["in/000/000000.pn", "in/000/000000.pngx", "gone.png", "zzz", "in/odd", "in/000/000005.png"]
    urls = [f"{bucket}/{name}" for name in names]
    expected = [alone(url) for url in urls]
    counted["head"] = 0
    assert said(storage.ManyStats().ask(urls)) == expected
    assert counted["head"] == 5, "only what no page shows"
    unsure = storage.ManyStats().ask(urls, confirm=False)
    assert counted["head"] == 5
    assert [isinstance(one, FileStat) for one in unsure] == [isinstance(one, FileStat) for one in expected]
    assert all(one.kind is ErrorKind.MISSING for one in unsure if isinstance(one, ItemError))


@pytest.mark.s3
def test_objects_far_apart_are_asked_for_one_by_one(
    counted: dict[str, int], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "_TRIED_PAGES", 2)
    monkeypatch.setattr(many, "_FEW_A_PAGE", 300)
    urls = [f"{bucket}/in/{at // 100:03d}/{at:06d}.png" for at in range(0, 2500, 500)]
    answers = storage.ManyStats().ask(urls, confirm=False)
    assert all(isinstance(answer, FileStat) for answer in answers)
    assert counted == {"list": 2, "head": 1}


@pytest.mark.s3
def test_who_may_not_list_is_answered_all_the_same(
    counted: dict[str, int], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(url: str, after: str) -> tuple[list[FileStat], bool]:
        raise ItemError(ErrorKind.FORBIDDEN, url, "the store denied access", "allow it")

    monkeypatch.setattr(objects, "list_page", refused)
    urls = [f"{bucket}/in/000/{at:06d}.png" for at in range(3)]
    assert said(storage.ManyStats().ask(urls, confirm=False)) == [alone(url) for url in urls]
