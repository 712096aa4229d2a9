"""The service as it is started: every command of docs/serve.md, a run that outlives it, and one that is cancelled."""

from __future__ import annotations

import http.client
import json
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from ..chaos.watch import check_clean, check_free, check_identical
from ..outside import data_folder, require_curl
from ..runs import REPOSITORY, Farm, results, save_picture
from ..waiting import wait_for

PAGE = REPOSITORY / "docs" / "serve.md"
PATIENCE_S = 150.0
ROWS = 5
HELD = "3.png"
CANARY = "canary0secret0of0a0store"
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Api:
    """A service that listens."""

    process: subprocess.Popen[str]
    url: str
    token: str

    def ask(self, method: str, path: str, body: object = None, *, token: str | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=300)
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {**headers, **({"Content-Type": "application/json"} if text else {})})
        answer = connection.getresponse()
        said = answer.read().decode()
        assert CANARY not in said
        assert self.token not in said
        return answer.status, json.loads(said)

    def until_ended(self, run: str) -> dict[str, Any]:
        """What is said of a run once its job is over."""

        def ended() -> dict[str, Any] | None:
            status, told = self.ask("GET", f"/v1/runs/{run}")
            assert status == 200, told
            return None if told["job"]["state"] in ("pending", "running") else told

        found = wait_for(ended, "the job is over", PATIENCE_S, pause_s=1)
        assert found is not None
        return found


@dataclass(frozen=True)
class User:
    """Somebody whose farm keeps its state in a home of its own."""

    farm: Farm
    home: Path
    data: Path
    """the root"""

    @contextmanager
    def serve(self, *flags: str | Path) -> Iterator[Api]:
        """`farm serve`, ended by SIGTERM if it is still there."""
        process = self.farm.start("serve", *flags)
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            found = re.fullmatch(r"listening: (http://127\.0\.0\.1:\d+) \(it asks for a token: cat (\S+)\)\n", line)
            assert found, line + process.stderr.read()
            assert Path(found[2]) == self.home / ".local/state/farm/serve/token"
            yield Api(process, found[1], Path(found[2]).read_text())
        finally:
            process.terminate()
            process.communicate(timeout=30)

    def hold(self) -> None:
        """The next run hangs at one picture."""
        (self.home / "hung").unlink()


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory, farm: Farm) -> Iterator[User]:
    home, data = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("data")
    (home / "hung").touch()
    for index in range(ROWS):
        save_picture(data / "photos" / f"{index}.png", 48, 40, seed=index)
    environment = {
        "HOME": str(home),
        "XDG_STATE_HOME": "",
        "FARM_WEIGHTS_DIR": str(data_folder() / "weights"),
        "FARM_FAILPOINTS": f"decode~*/{HELD}=hang,once={home / 'hung'}",
        "AWS_SECRET_ACCESS_KEY": CANARY,
    }
    somebody = User(replace(farm, timeout_s=300, environment=environment), home, data)
    yield somebody
    ended = somebody.farm.run("down")
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="module")
def undisturbed(user: User, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output root of an attached run over the same pictures."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    flags = ("--model", "animevideov3", "--outscale", "2", "--format", "webp", "--quality", "90", "--workers", "1")
    made = user.farm.run("submit", user.data / "photos", *flags, "--out", out)
    assert made.returncode == 0, made.stderr
    return out


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def test_the_commands_of_the_page_do_what_it_says(user: User, undisturbed: Path) -> None:
    """All of them, in their order, in one shell; only its port and /data are others."""
    require_curl()
    (started,) = blocks("")
    program, command, *flags = shlex.split(started.replace("/data", str(user.data)))
    assert (program, command) == ("farm", "serve")
    with user.serve(*flags, "--port", "0") as api:
        script = "\n".join(blocks("sh")).replace("/data", str(user.data)).replace("http://127.0.0.1:8700", api.url)
        assert script.count("curl") == PAGE.read_text("utf-8").count("curl -s") == 9
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script + "\necho; echo $RUN"],
            cwd=user.home,
            env=user.farm.variables,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert (user.home / "header").stat().st_mode & 0o777 == 0o600
        run = ran.stdout.split()[-1]
        told = api.until_ended(run)
    out = user.data / "restored"
    assert (told["state"], told["done"], told["failed"], told["left"]) == ("finished", ROWS, 0, 0)
    assert (told["job"]["state"], told["job"]["exit_code"], told["root"]) == ("succeeded", 0, str(out))
    for said in ('"status":"ok"', '"name":"animevideov3"', f"{ROWS} done of {ROWS}", '"state":"finished"'):
        assert said in ran.stdout, said
    assert f'{{"root":"{out}","job":"","run":""}}' in ran.stdout, "it had ended before it was cancelled"
    assert json.loads((user.home / "openapi.json").read_text())["openapi"].startswith("3.")
    check_identical(out, undisturbed)
    check_clean(out)
    said = user.farm.run("status", run, "--json")
    assert json.loads(said.stdout) == told, "as the command tells it"
    assert f"{ROWS} done of {ROWS}" in user.farm.run("logs", run).stdout


def test_a_run_goes_on_when_the_service_ends_and_is_cancelled_through_another(user: User, undisturbed: Path) -> None:
    out = user.data / "held"
    body = {
        "manifest": f"{user.data}/photos",
        "out": str(out),
        **{"model": "animevideov3", "outscale": 2, "format": "webp", "quality": 90, "workers": 1},
    }
    flags = ("--allow-root", user.data, "--port", "0")
    user.hold()
    with user.serve(*flags) as api:
        listening = {one.laddr.ip for one in psutil.Process(api.process.pid).net_connections() if not one.raddr}
        assert listening == {"127.0.0.1"}
        assert api.ask("GET", "/v1/runs", token="0" * 64)[0] == 401
        assert api.ask("POST", "/v1/runs", {**body, "manifest": "/etc"})[0] == 403
        status, started = api.ask("POST", "/v1/runs", body)
        assert (status, started["root"]) == (202, str(out))
        run = started["id"]
        until_some(out, 2)
        status, fault = api.ask("POST", "/v1/runs", body)
        assert (status, fault["class"]) == (409, "BusyError"), fault
        ended_s = end(api.process, signal.SIGTERM)
        assert (api.process.returncode, ended_s < 6) == (143, True), ended_s
    told = json.loads(user.farm.run("status", run, "--json").stdout)
    assert (told["state"], told["job"]["state"]) == ("running", "running")
    with user.serve(*flags) as api:
        assert run in [one["id"] for one in api.ask("GET", "/v1/runs")[1]["runs"]]
        assert api.ask("POST", f"/v1/runs/{run}/cancel") == (200, {"root": str(out), "job": run, "run": ""})
        _, told = api.ask("GET", f"/v1/runs/{run}")
        assert (told["state"], told["job"]["state"]) == ("stopped", "stopped")
        assert told["done"] >= 2
        assert told["left"] > 0, "it was cancelled in the middle"
        check_free(out)
        lines = api.ask("GET", f"/v1/runs/{run}/log")[1]["lines"]
        assert any("run the same command again to finish" in line for line in lines)
        status, again = api.ask("POST", "/v1/runs", body)
        assert status == 202
        told = api.until_ended(again["id"])
        assert (told["state"], told["done"], told["job"]["state"]) == ("finished", ROWS, "succeeded")
        older = api.ask("GET", f"/v1/runs/{run}")[1]["job"]
        assert (older["id"], older["state"]) == (run, "stopped")
        end(api.process, signal.SIGINT)
        assert api.process.returncode == 130
    check_identical(out, undisturbed)
    check_clean(out)
    assert [row["status"] for row in results(out)] == ["done"] * ROWS


def end(process: subprocess.Popen[str], signum: int) -> float:
    """Seconds that it takes."""
    began = time.monotonic()
    process.send_signal(signum)
    process.wait(timeout=60)
    return time.monotonic() - began


def until_some(out: Path, rows: int) -> None:
    """Wait until a run has written so many entries."""
    entries = ".farm/ledger/shard-*/*.jsonl"
    wait_for(
        lambda: sum(path.read_bytes().count(b"\n") for path in out.glob(entries)) >= rows,
        "the run gets on",
        PATIENCE_S,
    )
