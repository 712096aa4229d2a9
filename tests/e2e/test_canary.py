"""No credential is in anything that a run on a cluster says, writes, shows or passes on."""

from __future__ import annotations

import io
import json
import tempfile
import time
import traceback
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import pyarrow.parquet as pq
import pytest

from farm import storage
from farm.errors import FarmError
from farm.storage.objects.client import forget_stores

from ..nodes import free_port
from ..runs import Farm, ray_head
from ..s3_server import BUCKET, COS_BUCKET, S3Server, require_s3
from ..stores import reach

Make = Callable[..., Path]
pytestmark = [pytest.mark.s3, pytest.mark.timeout(600)]

HEAD = """
import sys
from ray.cluster_utils import Cluster
args = {"num_cpus": 2, "num_gpus": 0, "include_dashboard": True, "dashboard_port": int(sys.argv[1])}
cluster = Cluster(initialize_head=True, head_node_args={**args, "temp_dir": sys.argv[2]})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""
ROUTES = (
    "/api/version",
    "/api/cluster_status",
    "/api/jobs/",
    "/nodes?view=summary",
    "/logical/actors",
    "/api/actors/kill",
    "/api/v0/actors?detail=true",
    "/api/v0/jobs?detail=true",
    "/api/v0/nodes?detail=true",
    "/api/v0/tasks?detail=true&limit=1000",
    "/api/v0/workers?detail=true",
    "/api/v0/objects?detail=true",
    "/api/v0/runtime_envs?detail=true",
    "/api/v0/placement_groups?detail=true",
    "/api/snapshot",
    "/events",
    "/timezone",
)
"""what the dashboard's server answers to; those that another version of Ray does not have are left out"""
CANARIES = {
    "TENCENTCLOUD_SECRET_ID": "AKIDcanary/of+cos",
    "TENCENTCLOUD_SECRET_KEY": "canary/secret+of=cos",
    "TENCENTCLOUD_SESSION_TOKEN": "canary/token+of=cos",
}
"""in the environment of everything here: keys of a store that no run needs"""
REFUSED_TOKEN = "canary/token+that=the&store%refuses"
REFUSED = ("run", "know", "run with a wrong token")
MUST_ANSWER = {"/api/version", "/logical/actors", "/api/v0/actors?detail=true", "/api/v0/workers?detail=true"}


@pytest.fixture
def cluster() -> Iterator[tuple[dict[str, str], str, Path]]:
    """(environment of its users, URL of its dashboard, its folder) of a cluster whose workers may read the store."""
    server = require_s3()
    port = free_port()
    with (
        # Short: below it lie sockets, whose names have 107 characters at most.
        tempfile.TemporaryDirectory(prefix="farm-ray-") as folder,
        ray_head(HEAD, str(port), folder, users={**server.environment, **CANARIES}) as environment,
    ):
        yield environment, f"http://127.0.0.1:{port}", Path(folder)


def answers(dashboard: str, token: str) -> dict[str, str]:
    """What the dashboard's server says under each route that it has; on a busy machine some have no answer in time."""
    found: dict[str, str] = {}
    for route in ROUTES:
        request = urllib.request.Request(dashboard + route, headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                found[route] = answer.read().decode("utf-8", "replace")
        except OSError:
            continue
    return found


def with_keys(server: S3Server) -> list[str]:
    """Sources in which somebody has written keys."""
    return [
        f"s3://{server.key}:{server.secret}@{BUCKET}/a.png",
        f"{server.endpoint}/{BUCKET}/a.png?X-Amz-Credential={server.key}%2Fx&X-Amz-Signature={server.secret}",
        f"{server.endpoint}/{BUCKET}/a.png?AWSAccessKeyId={server.key}&Signature={server.secret}&Expires=1",
    ]


def unauthenticated(dashboard: str) -> dict[str, int]:
    """What the API of jobs says to somebody without a token who wants something run, and wants to know; by what was
    asked, as far as there is an answer in time."""
    body = json.dumps({"entrypoint": "true"}).encode()
    headers = {"Content-Type": "application/json"}
    found: dict[str, int] = {}
    for asked, (data, token) in zip(REFUSED, ((body, None), (None, None), (body, "Bearer " + "0" * 64)), strict=True):
        more = headers | ({"Authorization": token} if token else {})
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{dashboard}/api/jobs/", data, more), timeout=10) as ok:
                found[asked] = ok.status
        except urllib.error.HTTPError as error:
            found[asked] = 401 if error.code == 403 else error.code
        except OSError:
            continue
    return found


def command_lines() -> str:
    """Of everything that this test has started; what other tests start beside it tells its keys to a server."""
    lines: list[str] = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has ended
            lines.append(" ".join(process.cmdline()))
    return "\n".join(lines)


def test_no_credential_is_in_logs_ledger_results_processes_or_the_api_of_ray(
    slow_farm: Farm, make_picture: Make, tmp_path: Path, cluster: tuple[dict[str, str], str, Path]
) -> None:
    environment, dashboard, folder = cluster
    server = require_s3()
    source = server.new_prefix()
    client, prefix = server.client(), source.split("/", 3)[3]
    for index in range(6):
        picture = make_picture(tmp_path / f"{index}.png", 128, 96, seed=index)
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/in/{index}.png", Body=picture.read_bytes())
    client.put_object(Bucket=BUCKET, Key=f"{prefix}/in/bad.png", Body=b"no picture")
    names = [*(f"{index}.png" for index in range(6)), "bad.png", *with_keys(server)]
    manifest = "".join(json.dumps({"source": name}) + "\n" for name in names)
    client.put_object(Bucket=BUCKET, Key=f"{prefix}/in/m.jsonl", Body=manifest.encode())
    command = ("submit", f"{source}/in/m.jsonl", "--model", slow_farm.model, "--workers", "1", "--out", f"{source}/out")
    process = slow_farm.start(*command, env=environment)
    said: dict[str, str] = {}
    refusals: dict[str, int] = {}
    while process.poll() is None:
        said["command lines"] = said.get("command lines", "") + command_lines()
        refusals |= unauthenticated(dashboard)
        assert set(refusals.values()) <= {401}, "who has no token gives no work"
        said |= answers(dashboard, environment["RAY_AUTH_TOKEN"])
        time.sleep(0.5)
    said["standard output"], said["standard error"] = process.communicate()
    assert process.returncode == 3, said["standard error"]
    assert refusals.keys() == set(REFUSED), "each was answered at least once"
    assert said.keys() >= MUST_ANSWER
    actors = json.loads(said["/logical/actors"])
    assert actors["data"]["actors"], "the workers were seen"
    said |= written(server, f"{prefix}/out") | logs(folder)
    for after in (("doctor", f"{source}/out"), ("verify", f"{source}/out"), ("gc", f"{source}/out")):
        ran = slow_farm.run(*after, env=environment)
        assert ran.returncode == 0, ran.stderr
        said[" ".join(after)] = ran.stdout + ran.stderr
    said |= refused(slow_farm, server, environment, command, f"{source}/out")
    assert "raylet" in said["command lines"], "Ray was seen"
    assert "submit" in said["command lines"], "and the run"
    assert any(".farm/ledger" in name for name in said)
    assert any("raylet" in name for name in said), "the logs of Ray are there"
    (results,) = (text for name, text in said.items() if name.endswith("results.parquet"))
    assert all(f"in/{index}.png'" in results for index in range(6)), "what lies in Parquet is read"
    check_none(said, {**secrets_of(server), **CANARIES})


def secrets_of(server: S3Server) -> dict[str, str]:
    """What nobody may read of whoever goes to the store, with the right keys or with others."""
    return {"key": server.key, "secret": server.secret, "other secret": server.secret[::-1], "token": REFUSED_TOKEN}


def check_none(said: dict[str, str], secrets: dict[str, str]) -> None:
    for what, secret in secrets.items():
        for form in forms(secret):
            assert [name for name, text in said.items() if form in text] == [], f"the {what}, as {form}"


def forms(secret: str) -> set[str]:
    """As it is, percent-encoded, and as it lies in what somebody has put into base64, wherever it began there."""
    within = {b64encode(b"\0" * before + secret.encode()).decode()[before + 1 : -4] for before in range(3)}
    return {secret, quote(secret, safe=""), quote(secret), *within}


def test_every_form_of_a_secret_is_known() -> None:
    for before in range(5):
        text = b64encode(b"x" * before + CANARIES["TENCENTCLOUD_SECRET_ID"].encode() + b"behind").decode()
        assert any(form in text for form in forms(CANARIES["TENCENTCLOUD_SECRET_ID"])), text


def refused(
    farm: Farm, server: S3Server, environment: dict[str, str], command: tuple[str | Path, ...], out: str
) -> dict[str, str]:
    """What is said where the store refuses: another secret, a token, and keys of COS at a server of others."""
    other = {**environment, "AWS_SECRET_ACCESS_KEY": server.secret[::-1]}
    with_token = {**other, "AWS_SESSION_TOKEN": REFUSED_TOKEN}
    asked = [(words, env) for words in (("verify", out), command) for env in (other, with_token)]
    said: dict[str, str] = {}
    for number, (words, env) in enumerate(asked):
        ran = farm.run(*words, env=env)
        assert ran.returncode == 77, ran.stderr
        said[f"refused {number}"] = ran.stdout + ran.stderr
    elsewhere = {**environment, "FARM_COS_ENDPOINT_URL": server.endpoint}
    ran = farm.run("verify", f"cos://{COS_BUCKET}/out", env=elsewhere)
    assert ran.returncode in (69, 77), ran.stderr
    return {**said, "refused by COS": ran.stdout + ran.stderr}


def test_no_credential_is_in_a_traceback_of_what_a_store_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything that botocore's exceptions say, which a defect would print."""
    server = require_s3()
    folder = reach(server, monkeypatch).new_prefix()
    forget_stores()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret[::-1])
    said: dict[str, str] = {}
    for token in ("", REFUSED_TOKEN):
        if token:
            monkeypatch.setenv("AWS_SESSION_TOKEN", token)
            forget_stores()
        for name, call in CALLS.items():
            with pytest.raises(FarmError) as caught:
                call(f"{folder}/a.png")
            said[f"{name} {token[:6]}"] = "".join(traceback.format_exception(caught.value))
    forget_stores()
    assert all("botocore" in text for text in said.values()), said
    check_none(said, secrets_of(server))


CALLS: dict[str, Callable[[str], object]] = {
    "stat": storage.stat,
    "read": storage.read_bytes,
    "list": lambda url: list(storage.list_files(url)),
    "publish": lambda url: storage.publish(url, b"1", attempt="a"),
}


def written(server: S3Server, prefix: str) -> dict[str, str]:
    """All that lies in the output root."""
    client = server.client()
    found = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
    bodies = {one["Key"]: client.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in found}
    return {key: text_of(key, body) for key, body in bodies.items()}


def text_of(name: str, body: bytes) -> str:
    """What a file says, as it lies there; of Parquet, which is compressed, every value and all that its schema says."""
    said = body.decode("latin-1")
    if name.endswith(".parquet"):
        table = pq.read_table(io.BytesIO(body))
        said += f"{table.to_pylist()} {table.schema.metadata} {[field.metadata for field in table.schema]}"
    return said


def logs(folder: Path) -> dict[str, str]:
    """All files below a folder of Ray."""
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path): text_of(path.name, path.read_bytes()) for path in paths}
