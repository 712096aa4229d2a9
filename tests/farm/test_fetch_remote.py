"""A model may be a weight file on an object store, pinned by its digest."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from farm import fetch, storage
from farm.errors import ModelError
from farm.storage.objects import client
from tests.faulty_proxy import FaultyProxy
from tests.seeded import save_srvgg
from tests.stores import S3_KINDS, opened

pytestmark = pytest.mark.s3


@dataclass(frozen=True)
class Weights:
    """A seeded network on a store, and the way there."""

    url: str
    data: bytes
    proxy: FaultyProxy

    @property
    def model(self) -> str:
        return f"{self.url}#sha256={hashlib.sha256(self.data).hexdigest()}"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/farm"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Weights]:
    data = save_srvgg(tmp_path / "mine.pth", features=8, convs=2).read_bytes()
    with opened("s3-path", tmp_path, monkeypatch) as store:
        assert store.server is not None
        proxy = FaultyProxy(store.server.endpoint)
        monkeypatch.setenv("FARM_S3_ENDPOINT_URL", proxy.url)
        url = storage.join(store.root, "models #1/mine.pth")
        storage.publish(url, data, attempt="test")
        proxy.clear()
        yield Weights(url=url, data=data, proxy=proxy)
        client.forget_stores()
        proxy.close()


def failure(model: str) -> str:
    with pytest.raises(ModelError) as caught:
        fetch.resolve(model)
    return str(caught.value)


def test_it_is_fetched_once_and_described(weights: Weights, cache: Path) -> None:
    resolved = fetch.resolve(weights.model)
    assert (resolved.spec.name, resolved.spec.arch, resolved.spec.features) == ("file:mine", "srvgg", 8)
    assert resolved.path == weights.model, "every node fetches it for itself"
    assert resolved.sha256 == hashlib.sha256(weights.data).hexdigest()
    path = fetch.ensure_file(weights.model)
    assert path.read_bytes() == weights.data
    assert path.stem == "mine"
    assert path.is_relative_to(cache)
    assert fetch.obtain(resolved) == path
    assert weights.proxy.count("get") == 1
    shutil.rmtree(cache / "weights")
    fetch.model._describe.cache_clear()
    weights.proxy.clear()
    assert fetch.resolve(weights.model) == resolved
    assert weights.proxy.count() == 0, "what is in it is remembered"
    assert fetch.ensure_file(weights.model).read_bytes() == weights.data


def test_an_interrupted_download_is_taken_up_where_it_ended(weights: Weights) -> None:
    path = fetch.ensure_file(weights.model)
    path.rename(path.with_name(".mine.pth.part"))
    part = path.with_name(".mine.pth.part")
    part.write_bytes(weights.data[:1000])
    weights.proxy.clear()
    assert fetch.ensure_file(weights.model).read_bytes() == weights.data
    assert [one.headers["Range"] for one in weights.proxy.seen if one.what == "get"] == [
        f"bytes=1000-{len(weights.data) - 1}"
    ]


def test_a_damaged_file_in_the_cache_is_replaced(weights: Weights) -> None:
    fetch.ensure_file(weights.model).write_bytes(weights.data[:-1] + b"x")
    assert fetch.ensure_file(weights.model).read_bytes() == weights.data


def test_another_file_than_the_pinned_one_is_refused_and_not_kept(weights: Weights, cache: Path) -> None:
    text = failure(f"{weights.url}#sha256={'0' * 64}")
    assert "holds another file" in text
    assert [path for path in cache.rglob("*") if path.is_file() and not path.name.endswith(".lock")] == []


@pytest.mark.parametrize("tail", ["", "#sha256=", "#sha256=abc", "#md5=0123"])
def test_a_url_without_a_digest_is_refused_before_anything_is_asked(weights: Weights, tail: str) -> None:
    text = failure(weights.url + tail)
    assert "#sha256=HEX" in text
    assert weights.proxy.count() == 0


def test_what_is_missing_or_no_weight_file_is_said(weights: Weights) -> None:
    missing = weights.url.replace("mine.pth", "none.pth")
    text = failure(f"{missing}#sha256={'0' * 64}")
    assert "no such object" in text
    assert missing in text
    assert ".pth or .safetensors" in failure(f"{weights.url}.zip#sha256={'0' * 64}")


@pytest.mark.parametrize("kind", S3_KINDS)
def test_every_store_serves_weights(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    with opened(kind, tmp_path, monkeypatch) as store:
        url = storage.join(store.root, "mine.pth")
        storage.publish(url, b"weights", attempt="test")
        model = f"{url}#sha256={hashlib.sha256(b'weights').hexdigest()}"
        assert fetch.ensure_file(model).read_bytes() == b"weights"
