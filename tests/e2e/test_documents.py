"""Commands of the documents that outlive their command, listen, or speak to a store; and the service on a store."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ..documents import Said, Way, lines_of
from ..nodes import free_port
from ..runs import Farm, results, save_picture
from ..s3_server import VARIABLES, S3Server, require_s3
from ..waiting import wait_for
from .test_object_store import upload
from .test_serve import User

pytestmark = pytest.mark.timeout(600)
HELD = "2.png"
PATIENCE_S = 150.0


@dataclass(frozen=True)
class Reader:
    """Somebody who types what the documents say, in a folder with photos/, and has a head of his own. It has the keys
    of the store, where there is one."""

    farm: Farm
    folder: Path

    def words(self, one: Said) -> list[str]:
        """A line's, with what lies in the folder by its whole name, and small."""
        (words,) = one.words()
        names = {"FOLDER": "photos/", "8090": str(free_port())}
        words = [names.get(word, word) for word in words]
        if "..." in words:
            words = [words[0], "photos/", "--out", "restored/", *words[2:]]
        words = [str(self.folder / word) if word.endswith("/") and "://" not in word else word for word in words]
        if words[0] == "submit":
            words += ["--model", str(self.farm.model), "--gpus", "0", "--workers", "1"]
        return [*words, "--port", "0"] if words[0] == "serve" else words

    @property
    def user(self) -> User:
        return User(self.farm, self.folder / "home", self.folder)

    @property
    def hung(self) -> Path:
        """Without it the next run hangs at one picture."""
        return self.folder / "hung"


@pytest.fixture(scope="module")
def reader(farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("reader")
    for index in range(3):
        save_picture(folder / "photos" / f"{index}.png", 48, 40, seed=index)
    environment = {"HOME": str(folder / "home"), "XDG_STATE_HOME": "", "RAY_ADDRESS": "", "FARM_WEIGHTS_DIR": ""}
    environment["FARM_FAILPOINTS"] = f"decode~*/{HELD}=hang,once={folder / 'hung'}"
    if all(map(os.environ.get, VARIABLES)):
        environment |= require_s3().environment
    reader = Reader(replace(farm, timeout_s=300, environment=environment), folder)
    reader.hung.touch()
    yield reader
    ended = reader.farm.run("down")
    assert ended.returncode == 0, ended.stderr


@dataclass(frozen=True)
class Bucket:
    """A fresh prefix of the real server, in place of the buckets that documents name."""

    server: S3Server
    url: str

    def words(self, one: Said, farm: Farm, folder: Path) -> list[str]:
        line = re.sub(r"s3://(?:bucket|archive)(?=/)", self.url, one.line)
        words = [str(folder / word) if word == "tonight.parquet" else word for word in shlex.split(line)]
        words = [str(farm.model) if word == "x4plus" else word for word in words]
        if words[0] == "submit":
            words += ["--gpus", "0", "--workers", "1", *(() if "--model" in words else ("--model", str(farm.model)))]
        return words

    def read(self, name: str) -> bytes:
        key = f"{self.url.split('/', 3)[3]}/{name}"
        return self.server.client().get_object(Bucket=self.server.bucket, Key=key)["Body"].read()


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    server = require_s3()
    for index in range(2):
        save_picture(tmp_path / "photos" / f"{index}.png", 48, 40, seed=index)
    bucket = Bucket(server, server.new_prefix())
    upload(server, tmp_path / "photos", f"{bucket.url}/photos")
    return bucket


@pytest.mark.s3
def test_nights_from_bucket_to_bucket_go_as_their_pages_say(farm: Farm, bucket: Bucket, tmp_path: Path) -> None:
    """First those of docs/nightly.md, with the night that they prepare; then the next one of manifests/SCHEMA.md."""
    environment = {**bucket.server.environment, "RAY_ADDRESS": ""}

    def ran(words: list[str]) -> str:
        made = farm.run(*words, env=environment)
        assert made.returncode == 0, (words, made.stdout, made.stderr)
        return made.stdout + made.stderr

    nightly = [one for one in lines_of(Way.STORE) if one.page.name == "nightly.md"]
    others = [one for one in lines_of(Way.STORE) if one.page.name != "nightly.md"]
    assert {one.page.name for one in others} == {"SCHEMA.md"}
    for one in nightly:
        words = bucket.words(one, farm, tmp_path)
        said = ran(words)
        if "--dry-run" in words:
            assert "2 to do" in said
            ran([word for word in words if word != "--dry-run"])
    assert json.loads(said)["done"] == 2
    save_picture(tmp_path / "new" / "late.png", 48, 40, seed=9)
    upload(bucket.server, tmp_path / "new", f"{bucket.url}/photos")
    for one in others:
        said = ran(bucket.words(one, farm, tmp_path))
    assert "1 done" in said
    assert len(pq.read_table(io.BytesIO(bucket.read("photos.parquet")))) == 3
    assert bucket.read("restored/late_4x.png")


@pytest.mark.s3
def test_the_service_starts_looks_at_and_cancels_runs_on_a_store(
    reader: Reader, bucket: Bucket, tmp_path: Path
) -> None:
    save_picture(tmp_path / "more" / HELD, 48, 40, seed=7)
    upload(bucket.server, tmp_path / "more", f"{bucket.url}/photos")
    out = f"{bucket.url}/restored"
    body: dict[str, Any] = {"manifest": f"{bucket.url}/photos/", "out": out, "outscale": 2, "workers": 1}
    reader.hung.unlink()
    with reader.user.serve("--allow-root", bucket.url, "--port", "0") as api:
        outside = {**body, "out": f"{bucket.url.rpartition('/')[0]}/elsewhere"}
        assert api.ask("POST", "/v1/runs", outside)[0] == 403
        status, started = api.ask("POST", "/v1/runs", body)
        assert (status, started.get("root")) == (202, out), started
        run = f"/v1/runs/{started['id']}"
        wait_for(reader.hung.exists, "it hangs at one picture", PATIENCE_S)
        wait_for(lambda: api.ask("GET", run)[1]["state"] == "running", "it is seen at work", PATIENCE_S, pause_s=1)
        status, fault = api.ask("POST", "/v1/runs", body)
        assert (status, fault["class"]) == (409, "BusyError"), fault
        assert api.ask("POST", f"{run}/cancel")[0] == 200
        told = api.ask("GET", run)[1]
        assert (told["state"], told["job"]["state"], told["left"] > 0) == ("stopped", "stopped", True), told
        again = api.ask("POST", "/v1/runs", body)[1]
        told = api.until_ended(again["id"])
        assert (told["state"], told["done"], told["failed"], told["left"]) == ("finished", 3, 0, 0), told
        assert "done before of 3" in "\n".join(api.ask("GET", f"/v1/runs/{again['id']}/log")[1]["lines"])
        assert started["id"] in [one["id"] for one in api.ask("GET", "/v1/runs")[1]["runs"]]
    rows = pq.read_table(io.BytesIO(bucket.read("restored/results.parquet"))).to_pylist()
    assert [(row["status"], row["output"]) for row in rows] == [
        ("done", f"{out}/{index}_2x.png") for index in range(3)
    ], rows
    assert all(bucket.read(f"restored/{index}_2x.png").startswith(b"\x89PNG") for index in range(3))
    assert not bucket.server.open_uploads(out)


def test_what_stays_does_what_its_page_says(reader: Reader) -> None:
    """In the order of the pages; the last line of docs/detached-runs.md ends the head."""
    said: dict[str, str] = {}
    ended: dict[tuple[str, ...], str] = {}
    for one in lines_of(Way.STAYS):
        words = reader.words(one)
        if tuple(words) in ended:  # two pages say it
            said[one.line] = ended[tuple(words)]
            continue
        if words[0] == "serve":
            with reader.user.serve(*words[1:]) as api:
                assert api.ask("GET", "/v1/health")[0] == 200
            assert api.process.returncode == 143
            continue
        ran = reader.farm.run(*words)
        assert ran.returncode == 0, (one.line, ran.stdout, ran.stderr)
        said[one.line] = ended[tuple(words)] = ran.stdout + ran.stderr
    assert re.search(r"^farm-\d{8}T\d{6}Z-[0-9a-f]{8}$", said["submit photos/ --out restored/ --detach"], re.MULTILINE)
    assert "3 done of 3" in said["logs restored/ --follow"]
    assert "nobody works there" in said["cancel restored/"]
    assert "the head has ended" in said["down"]
    assert [row["status"] for row in results(reader.folder / "restored")] == ["done"] * 3
    assert [row["status"] for row in results(reader.folder / "photos" / "farm-out")] == ["done"] * 3
