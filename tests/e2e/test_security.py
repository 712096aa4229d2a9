"""Nobody gets in (S1, S2, S5): a cluster that lets everybody in is refused, what a run starts listens for itself alone,
and whatever a manifest says, outputs lie below their root."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from farm import access
from farm.errors import ConfigurationError

from ..farm.hostile_rows import HOSTILE_ROWS, plant
from ..heads import head
from ..nodes import free_port
from ..runs import Farm, files, results

Make = Callable[..., Path]
Address = tuple[str, int]
JOBS = ("/api/jobs/", "/api/job_agent/jobs/")
"""of the dashboard, and of the agent that every node has: who may post there runs what he likes"""
OPEN_HEAD = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0, "include_dashboard": False})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@dataclass
class Watched:
    """A run of a hostile manifest, and what was seen of it while it worked."""

    out: Path
    code: int = -1
    said: str = ""
    listening: set[Address] = field(default_factory=set)
    answers: dict[tuple[int, str], tuple[int, str]] = field(default_factory=dict)
    """status and text of an unauthenticated POST, by port and path; 0 where HTTP is not spoken"""


def listeners(driver: int) -> set[Address]:
    """Where the driver and all that it has started listen."""
    found: set[Address] = set()
    for process in (psutil.Process(driver), *psutil.Process(driver).children(recursive=True)):
        try:
            found |= {one.laddr for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN}
        except psutil.Error:  # it has ended
            continue
    return found


def post(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        body = json.dumps({"entrypoint": "touch stolen"})
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


@pytest.fixture(scope="module")
def watched(slow_farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    folder = tmp_path_factory.mktemp("hostile")
    out = Watched(out=folder / "out")
    manifest = plant(folder)
    # With metrics, for which Ray runs its agents: they speak HTTP, and nothing else of a run does.
    flags = ("--model", slow_farm.model, "--workers", "1", "--out", out.out, "--metrics-port", str(free_port()))
    process = slow_farm.start("submit", manifest, *flags)
    try:
        while process.poll() is None:
            seen = listeners(process.pid)
            for _, port in seen - out.listening:
                out.answers |= {(port, path): post(port, path) for path in JOBS}
            out.listening |= seen
            time.sleep(0.3)
    finally:
        said, errors = process.communicate(timeout=120)
    out.code, out.said = process.returncode, said + errors
    return out


def test_what_a_run_starts_listens_on_loopback_alone(watched: Watched) -> None:
    assert len(watched.listening) >= 5, "Ray was seen"
    hosts = {ipaddress.ip_address(host) for host, _ in watched.listening}
    assert all((getattr(host, "ipv4_mapped", None) or host).is_loopback for host in hosts), watched.listening


def test_nobody_without_the_token_gives_a_run_work(watched: Watched) -> None:
    spoken = {status for status, _ in watched.answers.values() if status}
    assert spoken, "some of them speak HTTP"
    assert not any("submission_id" in text or "job_id" in text for _, text in watched.answers.values())
    assert 401 in spoken, watched.answers


def test_hostile_rows_fail_alone_and_no_output_leaves_its_root(watched: Watched) -> None:
    assert watched.code == 3, watched.said
    found = {int(str(row["row"])): row for row in results(watched.out)}
    assert len(found) == len(HOSTILE_ROWS) + 2
    for at, hostile in enumerate(HOSTILE_ROWS):
        row = found[at]
        assert (row["status"], row["error"]) == ("failed", hostile.kind.value), (hostile, row)
    assert files(watched.out) == {"good_4x.png", "renamed/good too.png", "results.parquet"}
    below = {path.relative_to(watched.out.parent).parts[0] for path in watched.out.parent.rglob("*")}
    assert below == {"in", "out", "secret.png"}
    assert (watched.out.parent / "secret.png").read_bytes() == b"not yours"
    assert "\x1b" not in watched.said
    assert "SECRET2" not in watched.said


def test_damage_is_found_and_the_same_command_mends_it(
    watched: Watched, slow_farm: Farm, cluster: dict[str, str]
) -> None:
    harmed = watched.out / "renamed" / "good too.png"
    before = harmed.read_bytes()
    harmed.write_bytes(before[:-40] + bytes([before[-40] ^ 1]) + before[-39:])
    found = slow_farm.run("verify", watched.out, "--quiet")
    assert found.returncode == 3
    assert f"corrupt: {harmed}: sha256" in found.stderr
    other = (watched.out / "good_4x.png").stat().st_mtime_ns
    manifest = watched.out.parent / "in" / "m.jsonl"
    flags = ("--workers", "1", "--out", watched.out, "--verify-outputs")
    mended = slow_farm.run("submit", manifest, "--model", slow_farm.model, *flags, env=cluster)
    assert "1 done, 1 done before" in mended.stderr, mended.stderr
    assert harmed.read_bytes() == before
    assert (watched.out / "good_4x.png").stat().st_mtime_ns == other
    assert slow_farm.run("verify", watched.out, "--quiet").returncode == 0


@pytest.fixture(scope="module")
def open_cluster() -> Iterator[str]:
    """Address of a cluster that authenticates nobody."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    open_to_all = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with head(OPEN_HEAD, env=open_to_all, base=environment) as started:
        yield started.line(r"\S+:\d+\s*$")


def test_a_cluster_that_lets_everybody_in_is_refused_unless_that_is_wanted(
    farm: Farm, make_picture: Make, tmp_path: Path, open_cluster: str, cluster: dict[str, str]
) -> None:
    picture = make_picture(tmp_path / "a.png")
    command = ("submit", picture, "--model", farm.model, "--workers", "1", "--out", tmp_path / "out")
    made = farm.run(*command, "--address", open_cluster)
    assert made.returncode == 78, made.stderr
    assert f"cluster {open_cluster} lets everybody in" in made.stderr
    assert not (tmp_path / "out" / "a_4x.png").exists()
    by_loopback = f"127.0.0.1:{open_cluster.rpartition(':')[2]}"
    with pytest.raises(ConfigurationError, match="lets everybody in"):
        access.check_cluster(by_loopback, insecure=False)
    access.check_cluster(by_loopback, insecure=True)
    assert access.asks_for_token(cluster["RAY_ADDRESS"])
