"""The service of runs: who gets in, what may be named, what becomes of it, and what it never says."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from farm import cli
from farm.cli import main
from farm.config import RunConfig
from farm.errors import (
    BusyError,
    ConfigurationError,
    CredentialsError,
    ErrorKind,
    FarmError,
    InterruptedRun,
    ItemError,
    SuspectError,
    UnreachableError,
    UsageError,
)
from farm.jobs import Job, kept
from farm.serve import bearer, server
from farm.serve.faults import RefusedRequest
from farm.serve.fields import MODEL_NAMES, OPTIONS, Option
from farm.serve.guard import Guard
from farm.serve.request import RunRequest
from farm.serve.roots import Roots
from farm.serve.settings import ServeConfig

from .service import ID, SHOWN, TOKEN, Service, all_errors, tree

ROUTES = ("/v1/runs", f"/v1/runs/{ID}", f"/v1/runs/{ID}/log", "/v1/models", "/v1/health", "/openapi.json")
CANARY = "canary0secret0of0a0store"


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user without a head, whose environment holds secrets."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    return tmp_path / "state" / "farm"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


@pytest.fixture
def service(root: Path) -> Service:
    return Service((str(root),))


@pytest.mark.parametrize(
    "shown",
    [
        [],
        [b"Bearer " + b"0" * 64],
        [b"Bearer"],
        [b"Bearer "],
        [b""],
        [b"Basic " + TOKEN.encode()],
        [TOKEN.encode()],
        [b"Bearer " + TOKEN[:-1].encode()],
        [b"Bearer " + TOKEN.encode() + b"0"],
        [b"Bearer \xff\xfe"],
        [b"Bearer " + TOKEN.encode(), b"Bearer " + TOKEN.encode()],
    ],
    ids=repr,
)
def test_nobody_without_the_token_gets_anything(service: Service, shown: list[bytes]) -> None:
    client = service.client(shown=False)
    headers = [(b"authorization", value) for value in shown]
    for path in (*ROUTES, "/", "/docs", "/nothing"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401, path
        assert answer.json()["class"] == "Unauthorized"
        assert answer.headers["www-authenticate"] == "Bearer"
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "HEAD"):
        assert client.request(method, "/v1/runs", headers=headers).status_code == 401
    assert not service.handed.runs


def test_who_has_the_token_gets_in(service: Service) -> None:
    client = service.client()
    assert client.get("/v1/health").json()["status"] == "ok"
    assert client.get("/v1/health", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200
    assert {"title", "version"} <= set(client.get("/openapi.json").json()["info"])
    answer = client.get("/v1/health")
    assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-store", "nosniff")
    named = client.get("/v1/models").json()["models"]
    names = {name for row in named for name in (row["name"], *row["also"])}
    assert names == set(MODEL_NAMES)
    assert (client.get("/docs").status_code, client.get("/nothing").json()["class"]) == (404, "NotFound")
    wrong = client.put("/v1/runs")
    assert (wrong.status_code, wrong.json()["class"]) == (405, "MethodNotAllowed")
    assert wrong.headers["allow"] == "GET, POST"


def test_a_run_is_handed_over_with_the_words_of_the_command(service: Service, root: Path) -> None:
    body = {"manifest": f"{root}/in-link/", "out": f"{root}/new/out", "model": "animevideov3", "tta": True}
    answer = service.client().post("/v1/runs", json=body)
    assert (answer.status_code, answer.json()) == (202, {"id": ID, "root": f"{root}/new/out", "state": "pending"})
    assert answer.headers["location"] == f"/v1/runs/{ID}"
    ((config, words),) = service.handed.runs
    assert words == ["--model=animevideov3", "--tta", f"--out={root}/new/out", "--", f"{root}/photos"]
    assert (config.manifest, config.output.out, config.model.tta) == (f"{root}/photos", f"{root}/new/out", True)


def config_of(words: list[str]) -> RunConfig:
    """What `farm submit WORDS` would run."""
    submit = cast(click.Group, main).commands["submit"]
    flags = dict(submit.make_context("submit", list(words)).params)
    return cli._config(flags.pop("manifest"), flags)


def values_of(option: Option) -> st.SearchStrategy[Any]:
    """What a request may say of it."""
    special: dict[str, st.SearchStrategy[Any]] = {
        "models": st.lists(st.sampled_from(MODEL_NAMES), max_size=3),
        "size": st.lists(st.integers(1, 999_999), min_size=2, max_size=2),
        "fps": st.sampled_from(["25", "29.97", "24000/1001", "23.976", "0.5"]),
        "name": st.sampled_from(["{stem}.{ext}", "-x{row}", "a b'{scale}\"$(x);{ext}", "=", "é{model}"]),
        "preset": st.sampled_from(["slow", "medium", "-slow", "p5"]),
        "pix_fmt": st.sampled_from(["auto", "yuv420p", "--dry-run"]),
        "max_time_s": st.integers(1, 8_640_000),
    }
    if option.asked in special:
        return special[option.asked]
    if get_origin(option.kind) is Literal:
        return st.sampled_from(get_args(option.kind))
    if option.kind is bool:
        return st.booleans()
    return st.floats(0.0, 1.0) if option.kind is float else st.integers(0, 70)


@given(st.fixed_dictionaries({}, optional={option.asked: values_of(option) for option in OPTIONS}))
def test_the_words_mean_what_the_request_means(asked: dict[str, Any]) -> None:
    """Where one of them contradicts itself, so does the other."""
    try:
        request = RunRequest(manifest="/in/-m.csv", out="/out/-o", **asked)
    except ValidationError:
        return
    words = request.words("/in/-m.csv", "/out/-o")
    try:
        config = request.config("/in/-m.csv", "/out/-o")
    except UsageError:
        with pytest.raises(UsageError):
            config_of(words)
        return
    assert config_of(words) == config


def test_every_option_is_said_to_the_command_and_none_of_these_can_be() -> None:
    flags = {name for param in cast(click.Group, main).commands["submit"].params for name in param.opts}
    flags |= {name for param in cast(click.Group, main).commands["submit"].params for name in param.secondary_opts}
    assert {option.flag for option in OPTIONS} <= flags
    asked = set(RunRequest.model_fields)
    assert asked == {option.asked for option in OPTIONS} | {"manifest", "out"}
    closed = {"weights_dir", "address", "insecure", "dashboard", "metrics_port", "gpu_ids", "root", "parser", "dry_run"}
    assert not asked & closed
    assert RunRequest(manifest="/a", out="/b", fps="29.97").config("/a", "/b").video.fps == Fraction(30000, 1001)


def outside(root: Path) -> dict[str, str]:
    return {
        "elsewhere": "/etc/passwd",
        "the root's parent": str(root.parent),
        "dots": f"{root}/../root-beside",
        "dots that come back": f"{root}/photos/../photos",
        "a name that begins like the root": f"{root}-beside",
        "a link to a folder": f"{root}/out-link",
        "below a link": f"{root}/out-link/x/y",
        "a glob below a link": f"{root}/out-link/*.png",
        "a glob outside": "/*",
        "a link to a file": f"{root}/file-link.csv",
        "a link to what is not there": f"{root}/new-link",
        "below that": f"{root}/new-link/x",
        "a URL of a file": "file:///etc/passwd",
        "a URL with dots": f"file://{root}/%2e%2e/root-beside/m.csv",
        "another machine's": f"file://host{root}/m.csv",
        "a store": "s3://bucket/key",
        "another store": "cos://bucket-1/key",
        "another scheme": "https://example.org/m.csv",
        "two slashes": "//etc/passwd",
    }


@pytest.mark.parametrize("what", outside(Path("/r")))
def test_nothing_outside_the_roots_can_be_named(service: Service, root: Path, what: str) -> None:
    named, inside = outside(root)[what], f"{root}/photos"
    for body in ({"manifest": named, "out": f"{root}/o"}, {"manifest": inside, "out": named}):
        status, fault = service.start(**body)
        assert (status, fault["class"]) == (403, "Forbidden"), fault
        assert "root-beside" not in fault["message"].replace(named, ""), "where a link leads is nobody's business"
    assert not service.handed.runs


@pytest.mark.parametrize("named", ["", "photos", "./photos", "~/photos", "-x", "a\0b", "/a\nb", "/" + "x" * 5000])
def test_what_is_no_place_is_refused(service: Service, root: Path, named: str) -> None:
    status, fault = service.start(manifest=f"{root}/photos", out=named)
    assert (status, fault["class"]) == (422, "InvalidRequest")
    assert not service.handed.runs


def test_what_lies_in_a_root_may_be_named(service: Service, root: Path) -> None:
    for named in ("m.csv", "photos", "photos/*.png", "in-link/*.png", "photos/a.png"):
        assert service.start(manifest=f"{root}/{named}", out=f"{root}/o")[0] == 202, named
    assert service.start(manifest=f"file://{root}/m.csv", out=str(root))[0] == 202
    given = {str(config.manifest) for config, _ in service.handed.runs}
    assert f"{root}/photos/*.png" in given
    assert not any("in-link" in one or one.startswith("file:") for one in given), "links are resolved, and stay so"
    for named in ("nothing", "round", "photos/nothing.xyz"):
        status, fault = service.start(manifest=f"{root}/{named}", out=f"{root}/o")
        assert (status, fault["class"]) == (422, "ManifestError"), named


def test_a_root_on_a_store_holds_what_lies_below_it(root: Path) -> None:
    roots = Roots(["s3://bucket/a/b/", str(root)])
    assert roots.admit("out", "s3://bucket/a/b/c") == "s3://bucket/a/b/c"
    assert roots.admit("out", "S3://bucket/a/b/") == "s3://bucket/a/b"
    for named in (
        "s3://bucket/a",
        "s3://bucket/a/bc",
        "s3://bucket/a/b/../c",
        "s3://bucket/a/b//c",
        "s3://bucket/a/b/./c",
    ):
        with pytest.raises(RefusedRequest) as refused:
            roots.admit("out", named)
        assert refused.value.status == 403
    with pytest.raises(RefusedRequest):
        roots.admit("out", "s3://me:secret9@bucket/a/b/c")
    with pytest.raises(UsageError, match="credentials"):
        Roots(["s3://me:secret9@bucket/a"])
    with pytest.raises(UsageError, match="no folder"):
        Roots([f"{root}/nothing"])


@pytest.mark.parametrize(
    "more",
    [
        {"entrypoint": "sh -c true"},
        {"runtime_env": {"env_vars": {"A": "b"}}},
        {"env": {"LD_PRELOAD": "x"}},
        {"weights_dir": "/tmp"},
        {"address": "host:6379"},
        {"gpu_ids": [0]},
        {"root": "/"},
        {"words": ["--address=x"]},
        {"Model": "x4plus"},
        {"model": "/tmp/evil.pth"},
        {"model": "file:evil"},
        {"model": "s3://bucket/evil.pth#sha256=00"},
        {"model": "RealESRGAN_x4plus_netD"},
        {"models": ["x4plus", "/tmp/evil.pth"]},
        {"face_model": "/tmp/evil.pth"},
        {"face_parser": "/tmp/evil.pth"},
        {"name": "{stem.__class__}"},
        {"name": "{stem:>999999999}"},
        {"name": "../{stem}"},
        {"fps": "1/0"},
        {"fps": "٣"},
        {"fps": "1e9"},
        {"preset": "slow --dry-run"},
        {"tta": "yes"},
        {"tta": 1},
        {"tile_px": "256"},
        {"tile_px": 3},
        {"tile_px": 1.5},
        {"tile_px": -1},
        {"tile_px": 10**400},
        {"workers": 0},
        {"workers": 4096},
        {"workers": 1, "gpus": 1},
        {"outscale": 17},
        {"max_pixels_in": 10**12},
        {"size": [1]},
        {"size": [0, 1]},
        {"crf": 64},
        {"codec": "prores", "container": "webm"},
    ],
    ids=lambda one: json.dumps(one)[:60],
)
def test_nothing_but_farm_parameters_can_be_asked_for(service: Service, root: Path, more: dict[str, Any]) -> None:
    status, fault = service.start(manifest=f"{root}/photos", out=f"{root}/o", **more)
    assert status == 422, fault
    assert fault["class"] in ("InvalidRequest", "UsageError")
    assert fault["message"]
    assert not service.handed.runs


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"manifest": "\\ud800", "out": "/o"}',
        b'{"\\ud800": 1, "manifest": "/m", "out": "/o"}',
        b'{"manifest": "/m", "out": "/o", "denoise": NaN}',
        b'{"manifest": "/m", "out": "/o", "outscale": Infinity}',
        b"[" * 30_000,
        b'{"a":' * 10_000,
    ],
    ids=lambda one: repr(one)[:40],
)
def test_what_is_no_request_is_an_error_of_its_sender(service: Service, content: bytes) -> None:
    answer = service.client().post("/v1/runs", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    assert set(answer.json()) == {"class", "message"}
    assert answer.json()["message"].isprintable()
    assert not service.handed.runs


def test_a_body_is_small_however_it_comes(service: Service, root: Path) -> None:
    large = json.dumps({"manifest": f"{root}/photos", "out": f"{root}/o", "name": "x" * (64 << 10)}).encode()

    def pieces() -> Iterator[bytes]:
        yield from (large[at : at + 1000] for at in range(0, len(large), 1000))

    client = service.client()
    for content in (large, pieces()):
        answer = client.post("/v1/runs", content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["class"]) == (413, "TooLarge")
    said = client.post("/v1/runs", content=b"{}", headers={"Content-Length": "9" * 30})
    assert said.status_code == 413
    small = json.dumps({"manifest": f"{root}/photos", "out": f"{root}/o"}).encode()
    pieced = client.post("/v1/runs", content=iter([small[:9], small[9:]]), headers={"Content-Type": "application/json"})
    assert pieced.status_code == 202


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    sent: list[Any] = []

    async def nothing() -> Any:
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    async def never(*_: Any) -> None:
        raise AssertionError("it got in")

    headers = [(name.lower().encode(), value.encode()) for name, value in SHOWN.items()]
    guard = Guard(never, TOKEN, body_s=0.05)
    asyncio.run(guard({"type": "http", "headers": headers}, nothing, send))
    assert (sent[0]["status"], json.loads(sent[1]["body"])["class"]) == (408, "TooSlow")
    sent.clear()
    asyncio.run(guard({"type": "websocket", "headers": headers}, nothing, send))
    assert sent == [], "a web socket is not accepted"


def made(kind: type[FarmError]) -> FarmError:
    """One of that class, with a credential in it."""
    if kind.__init__ not in (FarmError.__init__, ItemError.__init__, SuspectError.__init__, InterruptedRun.__init__):
        return kind("s3://me:secret9@bucket/x", "does not fit")  # pyright: ignore[reportCallIssue]
    if issubclass(kind, ItemError):
        more = ("seam",) if issubclass(kind, SuspectError) else ()
        return kind(ErrorKind.MISSING, "s3://me:secret9@bucket/x", "is not there", "put it there", *more)
    return kind(15) if issubclass(kind, InterruptedRun) else kind("s3://me:secret9@bucket/x: does not work; mend it")


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_of_the_farm_is_an_answer(service: Service, root: Path, kind: type[FarmError]) -> None:
    service.handed.error = made(kind)
    status, fault = service.start(manifest=f"{root}/photos", out=f"{root}/o")
    known = {UsageError: 422, BusyError: 409, UnreachableError: 503, CredentialsError: 502, ConfigurationError: 500}
    assert status == known.get(kind, status)
    assert 400 <= status < 600
    assert fault == {"class": kind.__name__, "message": str(service.handed.error)}
    assert "secret9" not in fault["message"]


def test_a_defect_is_an_answer_that_says_nothing_of_what_it_holds(service: Service, root: Path) -> None:
    service.handed.error = KeyError(CANARY)
    status, fault = service.start(manifest=f"{root}/photos", out=f"{root}/o")
    assert (status, fault["class"]) == (500, "InternalError")
    assert CANARY not in fault["message"]


JOB = Job(
    id=ID,
    state="failed",
    root="/elsewhere",
    manifest="/in",
    message="",
    exit_code=65,
    began_unix=1.0,
    ended_unix=2.0,
)


class KeptJobs:
    """As JobsClient, as far as keeping needs it."""

    def __init__(self, *jobs: Job, said: str = "") -> None:
        self._jobs = list(jobs)
        self._said = said

    def jobs(self) -> list[Job]:
        return self._jobs

    def log(self, job: str) -> str:
        return self._said


def numbered(number: int, root: str) -> Job:
    return replace(JOB, id=f"farm-20260101T000000Z-{number:08x}", root=root, began_unix=float(number))


def test_runs_below_the_roots_are_listed_and_no_others(service: Service, root: Path) -> None:
    inside = [numbered(number, f"{root}/o{number}") for number in range(3)]
    others = [numbered(9, "/elsewhere"), numbered(10, f"{root}/out-link/o"), numbered(11, f"{root}-beside")]
    kept.keep(cast(Any, KeptJobs(*inside, *others)))
    client = service.client()
    found = client.get("/v1/runs").json()
    assert found["runs"] == [asdict(job) for job in reversed(inside)]
    assert found["left_out"] == 0
    some = client.get("/v1/runs", params={"limit": 1}).json()
    assert ([run["id"] for run in some["runs"]], some["left_out"]) == ([inside[2].id], 2)
    for run in (*(job.id for job in others), ID.replace("1", "7")):
        for path in (f"/v1/runs/{run}", f"/v1/runs/{run}/log"):
            assert (client.get(path).status_code, client.get(path).json()["class"]) == (404, "NotFound")
        assert client.post(f"/v1/runs/{run}/cancel").status_code == 404
    for path in ("/v1/runs?limits=1", "/v1/health?a", "/v1/models?limit=1", f"/v1/runs/{inside[0].id}?lines=1"):
        answer = client.get(path)
        assert (answer.status_code, "is no parameter here" in answer.text) == (422, True), path
    for wrong in ("farm-1", "..%2f..%2fetc", "*", f"{ID}x"):
        assert client.get(f"/v1/runs/{wrong}").status_code in (404, 422)
    for limit in (0, -1, 1001, "x", "9" * 5000):
        assert client.get("/v1/runs", params={"limit": limit}).status_code == 422


def test_a_run_is_told_as_farm_status_tells_it(service: Service, root: Path) -> None:
    job = numbered(1, f"{root}/o")
    kept.keep(cast(Any, KeptJobs(job)))
    told = service.client().get(f"/v1/runs/{job.id}").json()
    assert told == {"root": f"{root}/o", "state": "failed", "job": {**asdict(job), "dashboard": ""}}
    said = CliRunner().invoke(main, ["status", job.id, "--json"])
    assert (said.exit_code, json.loads(said.stdout)) == (0, told)
    cancelled = service.client().post(f"/v1/runs/{job.id}/cancel").json()
    assert cancelled == {"root": f"{root}/o", "job": "", "run": ""}, "it had ended"
    ended = CliRunner().invoke(main, ["cancel", job.id, "--json"])
    assert json.loads(ended.stdout) == cancelled


def test_a_log_is_given_by_its_end_and_without_credentials(service: Service, root: Path, state: Path) -> None:
    job = numbered(1, f"{root}/o")
    said = "".join(f"line {number}\n" for number in range(500)) + "s3://me:secret9@bucket/x?X-Amz-Signature=secret9\n"
    kept.keep(cast(Any, KeptJobs(job, said=said)))
    client = service.client()
    log = client.get(f"/v1/runs/{job.id}/log").json()
    assert (len(log["lines"]), log["left_out"], log["id"], log["state"]) == (200, 301, job.id, "failed")
    assert log["lines"][-2] == "line 499"
    assert "secret9" not in log["lines"][-1]
    assert client.get(f"/v1/runs/{job.id}/log", params={"lines": 1}).json()["left_out"] == 500
    assert client.get(f"/v1/runs/{job.id}/log", params={"lines": 10_001}).status_code == 422
    (state / "jobs" / f"{job.id}.log").unlink()
    assert client.get(f"/v1/runs/{job.id}/log").status_code == 404


def test_no_answer_holds_a_secret(service: Service, root: Path) -> None:
    kept.keep(cast(Any, KeptJobs(numbered(1, f"{root}/o"))))
    client = service.client()
    answers = [client.get(path) for path in (*ROUTES, f"/v1/runs/{numbered(1, '').id}", f"/nothing?x={TOKEN}")]
    answers.append(client.post("/v1/runs", json={"manifest": f"{root}/photos", "out": f"{root}/o"}))
    answers.append(client.post("/v1/runs", json={"manifest": "/etc/passwd", "out": TOKEN, "model": TOKEN}))
    for answer in answers:
        said = answer.text + repr(answer.headers)
        for secret in (TOKEN, CANARY, "/no/answer/has/it"):
            assert secret not in said, answer.url


def test_a_token_is_made_once_and_for_this_user_alone(tmp_path: Path, state: Path) -> None:
    path = bearer.default_file()
    assert path == state / "serve" / "token"
    token = bearer.obtain_token(path)
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    assert bearer.obtain_token(path) == token
    assert [one.name for one in path.parent.iterdir()] == ["token"]
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        bearer.obtain_token(path)
    path.chmod(0o600)
    for text in ("", "short", "x" * 31, "a b" * 20, "é" * 40):
        path.write_text(text)
        with pytest.raises(ConfigurationError, match="no token of 32"):
            bearer.obtain_token(path)
    with pytest.raises(ConfigurationError, match="no file of this user's"):
        bearer.obtain_token(Path("/dev/null"))


def served(*args: str) -> tuple[int, str]:
    """How `farm serve` ends that must not start."""
    ended = CliRunner().invoke(main, ["serve", *args])
    return ended.exit_code, ended.stderr


def test_it_does_not_start_where_it_would_not_be_safe(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = served()
    assert (code, "--allow-root: missing" in said) == (2, True)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", ""):
        code, said = served("--allow-root", str(root), "--host", host)
        assert (code, "TLS" in said) == (78, True), host
    code, said = served("--allow-root", f"{root}/nothing")
    assert (code, "no folder" in said) == (2, True)
    assert served("--allow-root", str(root), "--port", "70000")[0] == 2
    exposed = tmp_path / "token"
    exposed.write_text("x" * 64)
    exposed.chmod(0o644)
    code, said = served("--allow-root", str(root), "--port", "0", "--token-file", str(exposed))
    assert (code, "chmod 600" in said, "x" * 64 in said) == (78, True, False)
    with server._listen(ServeConfig(roots=(str(root),), port=0)) as taken:
        code, said = served("--allow-root", str(root), "--port", str(taken.getsockname()[1]))
        assert (code, "cannot be had" in said) == (2, True)
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    code, said = served("--allow-root", str(root))
    assert (code, "pip install 'sr-farm[serve]'" in said) == (2, True)


SLOW = """
import time
from fastapi import FastAPI
from farm.console import leave
from farm.serve import server
from farm.serve.settings import ServeConfig
app = FastAPI()
@app.get("/")
def slow() -> None:
    print("asked", flush=True)
    time.sleep(60)
with server._listen(ServeConfig(roots=("/",), port=0)) as listening:
    print(server._url(listening), flush=True)
    signum = server._run(app, listening)
leave(128 + signum, stopped=True)
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_soon_whatever_is_under_way(signum: int) -> None:
    with subprocess.Popen([sys.executable, "-c", SLOW], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        connection = http.client.HTTPConnection(process.stdout.readline().strip().removeprefix("http://"), timeout=60)
        connection.request("GET", "/")
        assert process.stdout.readline() == "asked\n"
        began = time.monotonic()
        process.send_signal(signum)
        assert process.wait(timeout=60) == 128 + signum
        assert time.monotonic() - began < 10
        connection.close()


def test_no_other_command_loads_what_it_stands_on() -> None:
    check = (
        "import sys, farm.cli\nprint(*(n for n in ('fastapi', 'starlette', 'pydantic', 'uvicorn') if n in sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == ""


def test_the_description_names_every_option_with_its_bounds(service: Service) -> None:
    found = service.client().get("/openapi.json").json()
    properties = found["components"]["schemas"]["RunRequest"]["properties"]
    assert set(properties) == set(RunRequest.model_fields)
    assert properties["tile_px"]["default"] == 0
    assert "16..4096" in properties["tile_px"]["description"]
    assert set(properties["model"]["enum"]) == set(MODEL_NAMES)
    assert found["components"]["schemas"]["RunRequest"]["additionalProperties"] is False
    assert found["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    operations = [one for path in found["paths"].values() for one in path.values()]
    assert all(one["security"] == [{"HTTPBearer": []}] for one in operations)
    assert len({one["operationId"] for one in operations}) == len(operations) == 7
