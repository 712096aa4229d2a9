"""No credential is in anything that a run on a cluster says, writes, shows or passes on."""

from __future__ import annotations

import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from ..nodes import free_port
from ..runs import Farm, ray_head
from ..s3_server import BUCKET, S3Server, require_s3

Make = Callable[..., Path]
pytestmark = pytest.mark.s3

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
MUST_ANSWER = {"/api/version", "/logical/actors", "/api/v0/actors?detail=true", "/api/v0/workers?detail=true"}


@pytest.fixture
def cluster() -> Iterator[tuple[dict[str, str], str, Path]]:
    """(environment of its users, URL of its dashboard, its folder) of a cluster whose workers may read the store."""
    server = require_s3()
    port = free_port()
    with (
        # Short: below it lie sockets, whose names have 107 characters at most.
        tempfile.TemporaryDirectory(prefix="farm-ray-") as folder,
        ray_head(HEAD, str(port), folder, users=server.environment) as environment,
    ):
        yield environment, f"http://127.0.0.1:{port}", Path(folder)


def answers(dashboard: str, token: str) -> dict[str, str]:
    """What the dashboard's server says under each route that it has."""
    found: dict[str, str] = {}
    for route in ROUTES:
        request = urllib.request.Request(dashboard + route, headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                found[route] = answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError:
            continue
    return found


def with_keys(server: S3Server) -> list[str]:
    """Sources in which somebody has written keys."""
    return [
        f"s3://{server.key}:{server.secret}@{BUCKET}/a.png",
        f"{server.endpoint}/{BUCKET}/a.png?X-Amz-Credential={server.key}%2Fx&X-Amz-Signature={server.secret}",
        f"{server.endpoint}/{BUCKET}/a.png?AWSAccessKeyId={server.key}&Signature={server.secret}&Expires=1",
    ]


def unauthenticated(dashboard: str) -> set[int]:
    """What the API of jobs says to somebody without a token who wants something run, and wants to know."""
    body = json.dumps({"entrypoint": "true"}).encode()
    headers = {"Content-Type": "application/json"}
    found: set[int] = set()
    for data, token in ((body, None), (None, None), (body, "Bearer " + "0" * 64)):
        more = headers | ({"Authorization": token} if token else {})
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{dashboard}/api/jobs/", data, more), timeout=10) as ok:
                found.add(ok.status)
        except urllib.error.HTTPError as error:
            found.add(401 if error.code == 403 else error.code)
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
    while process.poll() is None:
        said["command lines"] = said.get("command lines", "") + command_lines()
        assert unauthenticated(dashboard) == {401}, "who has no token gives no work"
        said |= answers(dashboard, environment["RAY_AUTH_TOKEN"])
        time.sleep(0.5)
    said["standard output"], said["standard error"] = process.communicate()
    assert process.returncode == 3, said["standard error"]
    assert said.keys() >= MUST_ANSWER
    actors = json.loads(said["/logical/actors"])
    assert actors["data"]["actors"], "the workers were seen"
    said |= written(server, f"{prefix}/out") | logs(folder)
    for after in (("doctor", f"{source}/out"), ("verify", f"{source}/out"), ("gc", f"{source}/out")):
        ran = slow_farm.run(*after, env=environment)
        assert ran.returncode == 0, ran.stderr
        said[" ".join(after)] = ran.stdout + ran.stderr
    wrong = slow_farm.run("verify", f"{source}/out", env={**environment, "AWS_SECRET_ACCESS_KEY": server.secret[::-1]})
    assert wrong.returncode == 77, wrong.stderr
    said["refused keys"] = wrong.stdout + wrong.stderr.replace(server.secret[::-1], server.secret)
    assert "raylet" in said["command lines"], "Ray was seen"
    assert "submit" in said["command lines"], "and the run"
    assert any(name.endswith("results.parquet") for name in said)
    assert any(".farm/ledger" in name for name in said)
    assert any("raylet" in name for name in said), "the logs of Ray are there"
    for name, text in said.items():
        for what, secret in {"key": server.key, "secret": server.secret}.items():
            assert secret not in text, f"the {what} is in {name}"


def written(server: S3Server, prefix: str) -> dict[str, str]:
    """All that lies in the output root."""
    client = server.client()
    found = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
    bodies = {one["Key"]: client.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in found}
    return {key: body.decode("latin-1") for key, body in bodies.items()}


def logs(folder: Path) -> dict[str, str]:
    """All files below a folder of Ray."""
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path): path.read_bytes().decode("latin-1") for path in paths}
