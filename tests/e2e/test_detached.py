"""Detached runs: a job outlives who asked for it, ends in order when it is cancelled, and the head goes with all that
it has started; and the dashboard of a run that is attached."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from ..chaos.watch import check_clean, check_free, check_gone, check_identical
from ..nodes import free_port
from ..prometheus import FAST, scrape
from ..runs import REPOSITORY, Farm, actors_of, ray_head, results, save_picture
from ..waiting import wait_for

Make = Callable[..., Path]
PATIENCE_S = 150.0
ROWS = 6
HELD = "4.png"
CANARY = "canary0secret0of0a0store"
STORE = {"AWS_ACCESS_KEY_ID": "AKIACANARY0000000000", "AWS_SECRET_ACCESS_KEY": CANARY}
HEAD = """
import sys
from ray.cluster_utils import Cluster
with_dashboard = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": None}
with_dashboard["dashboard_agent_listen_port"] = 0  # any free one: other Rays of the tests have the usual one
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 0, **with_dashboard})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Home:
    """A user of a machine: whose head it is, is told from his folder for state."""

    farm: Farm
    state: Path
    port: int
    """where its head serves metrics"""

    @property
    def head(self) -> dict[str, Any]:
        """What is noted of the head."""
        return json.loads((self.state / "farm" / "head" / "head.json").read_text())

    @property
    def token(self) -> Path:
        return self.state / "farm" / "head" / "token"

    def hold(self) -> None:
        """The next run hangs at one picture, so that it is caught in the middle however fast the machine is."""
        (self.state / "hung").unlink()

    def json(self, *args: str | Path) -> dict[str, Any]:
        ran = self.farm.run(*args, "--json")
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    def detach(self, source: Path, out: Path, *flags: str | Path) -> str:
        """Id of the job."""
        port = ("--metrics-port", str(self.port))
        return self.json(*self.farm.submit_args(source, out, "--workers", "1", "--detach", *port, *flags))["job"]

    def until_ended(self, out: Path) -> dict[str, Any]:
        """The status of a root once its job is over."""

        def ended() -> dict[str, Any] | None:
            found = self.json("status", out)
            return None if found["job"]["state"] in ("pending", "running") else found

        found = wait_for(ended, "the job is over", PATIENCE_S, pause_s=1)
        assert found is not None
        return found

    def family(self) -> set[psutil.Process]:
        """The keeper and all that is below it."""
        keeper = psutil.Process(self.head["pid"])
        return {keeper, *keeper.children(recursive=True)}


@pytest.fixture(scope="module")
def home(farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    state = tmp_path_factory.mktemp("state")
    held = {"FARM_FAILPOINTS": f"decode~*/{HELD}=hang,once={state / 'hung'}"}
    environment = {"XDG_STATE_HOME": str(state), **STORE, **held, **FAST}
    user = Home(replace(farm, timeout_s=300, environment=environment), state, free_port())
    (state / "hung").touch()
    yield user
    user.farm.run("down")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, farm: Farm) -> tuple[Path, Path]:
    """A folder of pictures, and the output root of an undisturbed run over it that was attached."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(ROWS):
        save_picture(folder / "in" / f"{index}.png", 96, 80, seed=index)
    made = farm.submit(folder / "in", folder / "out", "--workers", "1")
    assert made.returncode == 0, made.stderr
    return folder / "in", folder / "out"


@contextmanager
def terminal(*command: str, environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A program on a terminal of its own, as its session's leader; closing the terminal hangs up on the session."""
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs these tests may ignore it, as nohup does
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=REPOSITORY,
        env=environment,
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        os.close(ours)
        process.wait(timeout=60)


def read_terminal(ours: int) -> str:
    """All that is said there until nobody has it open any more."""
    said = b""
    while True:
        try:
            some = os.read(ours, 4096)
        except OSError:  # what Linux says when the other side is closed
            return said.decode()
        if not some:
            return said.decode()
        said += some


def test_a_detached_run_outlives_its_terminal_and_ends_as_an_attached_one(
    home: Home, pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    source, undisturbed = pictures
    out = tmp_path / "out"
    words = home.farm.submit_args(source, out, "--workers", "1", "--detach", "--metrics-port", str(home.port))
    shell = f'{sys.executable} -m farm "$@"; echo said $?; exec sleep 600'
    with terminal("sh", "-c", shell, "sh", *map(str, words), environment=home.farm.variables) as (sh, ours):
        said = ""
        while "said " not in said:
            said += os.read(ours, 4096).decode()
        assert re.search(r"said 0\b", said), said
        assert "dashboard: http://127.0.0.1:" in said
        here = {one.pid for one in psutil.process_iter() if _session(one.pid) == sh.pid}
        assert here == {sh.pid}, "nothing of the run belongs to the terminal"
    assert sh.returncode == -1, "the terminal was closed upon it"
    ended = home.until_ended(out)
    assert (ended["state"], ended["done"], ended["failed"], ended["left"]) == ("finished", ROWS, 0, 0)
    assert (ended["job"]["state"], ended["job"]["exit_code"], ended["job"]["root"]) == ("succeeded", 0, str(out))
    check_identical(out, undisturbed)
    check_clean(out)
    job = ended["job"]["id"]
    assert job in said
    assert home.json("status", job)["done"] == ROWS
    for named in (job, str(out)):
        logs = home.farm.run("logs", named, "--follow")
        assert logs.returncode == 0, logs.stderr
        assert f"{ROWS} done of {ROWS}" in logs.stdout
    listed = home.json("list", tmp_path)
    assert (listed["root"], listed["state"], listed["job"]["id"]) == (str(out), "finished", job)
    done = ("ray_farm_items_total", "done")
    wait_for(lambda: scrape(home.port, set()).get(done) == ROWS, "the head serves the run's metrics", 20)
    page = tmp_path / "report.html"
    assert f"{ROWS} done, 0 failed" in home.farm.run("report", out, "-o", page).stderr
    assert page.stat().st_size > 5_000


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def until_some(out: Path, rows: int) -> None:
    """Wait until a run has written so many entries."""
    entries = ".farm/ledger/shard-*/*.jsonl"
    wait_for(
        lambda: sum(path.read_bytes().count(b"\n") for path in out.glob(entries)) >= rows,
        "the run gets on",
        PATIENCE_S,
    )


def test_cancel_leaves_a_run_that_the_same_command_finishes(
    home: Home, pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    source, undisturbed = pictures
    out = tmp_path / "out"
    home.hold()
    job = home.detach(source, out)
    until_some(out, 2)
    second = home.farm.run(*home.farm.submit_args(source, out, "--workers", "1", "--detach"))
    assert second.returncode == 75, second.stderr
    asked = time.monotonic()
    assert home.json("cancel", out) == {"root": str(out), "job": job, "run": ""}
    assert time.monotonic() - asked < 40
    found = home.json("status", out)
    assert (found["state"], found["job"]["state"]) == ("stopped", "stopped")
    assert found["done"] >= 2
    assert found["left"] > 0, "it was cancelled in the middle"
    check_free(out)
    assert "run the same command again to finish" in home.farm.run("logs", job).stdout
    again = home.farm.run("cancel", job)
    assert (again.returncode, "nobody works there" in again.stderr) == (0, True)
    home.detach(source, out)
    ended = home.until_ended(out)
    assert (ended["state"], ended["job"]["state"], ended["done"]) == ("finished", "succeeded", ROWS)
    check_identical(out, undisturbed)
    check_clean(out)


def test_an_attached_run_is_cancelled_by_its_output_root(
    home: Home, pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    source, out = pictures[0], tmp_path / "out"
    home.hold()
    driver = home.farm.start(*home.farm.submit_args(source, out, "--workers", "1"))
    until_some(out, 1)
    ended = home.farm.run("cancel", out)
    _, said = driver.communicate(timeout=60)
    assert (ended.returncode, driver.returncode) == (0, 143), said
    assert "the same command does what is left" in ended.stderr
    check_free(out)


def get(url: str, path: str, token: str = "") -> tuple[int, str]:
    host = url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode("utf-8", "replace")


def test_the_head_lets_nobody_in_and_shows_no_secret(home: Home, pictures: tuple[Path, Path], tmp_path: Path) -> None:
    home.detach(pictures[0], tmp_path / "out", "--limit", "1")
    home.until_ended(tmp_path / "out")
    head, token = home.head, home.token.read_text()
    assert home.token.stat().st_mode & 0o777 == 0o600
    assert home.token.parent.stat().st_mode & 0o777 == 0o700
    listening = {
        one.laddr.ip
        for process in home.family()
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }
    assert listening, "Ray was seen"
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert get(head["dashboard"], "/api/jobs/")[0] == 401
    assert get(head["dashboard"], "/api/jobs/", "0" * 64)[0] == 403
    status, shown = get(head["dashboard"], "/api/jobs/", token)
    assert (status, "farm_root" in shown) == (200, True), shown
    for secret in (CANARY, token, STORE["AWS_ACCESS_KEY_ID"]):
        assert secret not in shown
    asked = home.farm.run("submit", "s3://me:secret9@bucket/x/", "--out", tmp_path / "o", "--detach")
    assert asked.returncode in (2, 65)
    assert "secret9" not in asked.stderr


def test_a_detached_run_may_begin_with_a_sample(home: Home, pictures: tuple[Path, Path], tmp_path: Path) -> None:
    source, undisturbed = pictures
    out = tmp_path / "out"
    job = home.detach(source, out, "--sample", "2", "--yes")
    ended = home.until_ended(out)
    assert (ended["state"], ended["done"], ended["job"]["exit_code"]) == ("finished", ROWS, 0)
    assert f"sample: 2 of {ROWS} rows to do" in home.farm.run("logs", job).stdout
    assert "Before and after" in (out / "sample.html").read_text("utf-8")
    (out / "sample.html").unlink()
    check_identical(out, undisturbed)


def test_down_ends_what_the_head_has_started_and_nothing_else(
    home: Home, pictures: tuple[Path, Path], tmp_path: Path, cluster: dict[str, str]
) -> None:
    source, undisturbed = pictures
    out = tmp_path / "out"
    home.hold()
    job = home.detach(source, out)
    until_some(out, 1)
    family, folder = home.family(), Path(home.head["folder"])
    assert len(family) > 5
    ended = home.json("down")
    assert (ended["was_there"], ended["jobs"], ended["warning"]) == (True, [job], "")
    check_gone(family, 5)
    assert not folder.exists()
    assert not home.token.exists()
    check_free(out)
    assert "run the same command again to finish" in home.farm.run("logs", job).stdout, "it is kept"
    assert home.json("status", out)["job"]["state"] == "stopped"
    other = home.farm.submit(source, tmp_path / "other", "--workers", "1", "--limit", "1", env=cluster)
    assert other.returncode == 0, "another Ray of this machine is still there"
    finished = home.farm.submit(source, out, "--workers", "1")
    assert finished.returncode == 0, finished.stderr
    check_identical(out, undisturbed)
    assert home.json("down") == {"was_there": False, "processes": 0, "jobs": [], "warning": ""}


@pytest.fixture(scope="module")
def cluster_with_jobs() -> Iterator[dict[str, str]]:
    """Environment of a user of somebody's cluster, which serves a dashboard."""
    with ray_head(HEAD) as environment:
        yield environment


def test_a_run_is_detached_to_a_cluster(
    farm: Farm, pictures: tuple[Path, Path], tmp_path: Path, cluster_with_jobs: dict[str, str]
) -> None:
    user = replace(farm, timeout_s=300, environment={**cluster_with_jobs, "XDG_STATE_HOME": str(tmp_path / "state")})
    out = tmp_path / "out"
    made = user.submit(pictures[0], out, "--limit", "2", "--detach", "--json")
    assert made.returncode == 0, made.stderr
    said = json.loads(made.stdout)
    assert said["token"] is None
    assert not (tmp_path / "state").exists(), "no head of its own was started"
    followed = user.run("logs", said["job"], "--follow", "--json")
    assert followed.returncode == 0, followed.stderr
    *texts, last = map(json.loads, followed.stdout.splitlines())
    assert "2 done of 2" in "".join(line["log"] for line in texts)
    assert last["job"]["state"] == "succeeded"
    assert [row["status"] for row in results(out)] == ["done"] * 2
    address = cluster_with_jobs["RAY_ADDRESS"]
    without = {name: value for name, value in user.environment.items() if name != "RAY_ADDRESS"}
    status = replace(farm, environment=without).run("status", out, "--address", address, "--json")
    assert json.loads(status.stdout)["job"]["id"] == said["job"]


def test_a_cluster_without_a_dashboard_says_so_and_status_goes_on(
    farm: Farm, pictures: tuple[Path, Path], tmp_path: Path, cluster: dict[str, str]
) -> None:
    made = farm.submit(pictures[0], tmp_path / "out", "--workers", "1", "--detach", env=cluster)
    assert made.returncode == 69, made.stderr
    assert "serves no dashboard" in made.stderr
    status = farm.run("status", pictures[1], "--json", env=cluster)
    assert (status.returncode, json.loads(status.stdout)["job"]) == (0, None)
    assert "detached runs are left out" in status.stderr


def test_the_dashboard_of_an_attached_run_is_there_while_it_works_for_who_has_its_token(
    farm: Farm, pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    """Its worker is stopped as soon as there is one, and so the run lasts until enough was seen."""
    driver = farm.start(*farm.submit_args(pictures[0], tmp_path / "out", "--workers", "1", "--dashboard"))
    assert driver.stderr is not None
    line = next(line for line in driver.stderr if line.startswith("dashboard: "))
    found = re.fullmatch(r"dashboard: (http://127\.0\.0\.1:\d+) \(it asks for a token: cat (\S+)\)\n", line)
    assert found, line
    (worker,) = wait_for(lambda: actors_of(driver), "a worker", PATIENCE_S)
    os.kill(worker, signal.SIGSTOP)
    url, token = found[1], Path(found[2])
    assert token.stat().st_mode & 0o777 == 0o600
    status, page = get(url, "/")
    assert (status, "<html" in page) == (200, True)
    assert get(url, "/nodes?view=summary")[0] == 401
    assert get(url, "/nodes?view=summary", token.read_text())[0] == 200
    family = set(psutil.Process(driver.pid).children(recursive=True))
    assert any("dashboard.py" in " ".join(one.cmdline()) for one in family)
    os.kill(worker, signal.SIGCONT)
    _, said = driver.communicate(timeout=150)
    assert driver.returncode == 0, said
    check_gone(family, 5)
    assert not token.parent.exists()
