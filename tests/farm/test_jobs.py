"""What is decided about detached runs before Ray is asked for anything."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner

from farm import access, fleet, jobs, storage
from farm.cli import main
from farm.config import ModelConfig, OutputConfig, RunConfig, WorkerConfig
from farm.errors import BusyError, CredentialsError, FarmError, UnreachableError, UsageError
from farm.job_commands import RememberingCommand, words_without
from farm.jobs import handover, head, kept, known, settings
from farm.jobs.known import Found
from farm.jobs.record import Job
from farm.lock import lease
from sr_kernel import hardware
from tests.s3_server import require_s3
from tests.stores import reach

JOB = Job(
    id="farm-20260101T000000Z-00000001",
    state="succeeded",
    root="/out",
    manifest="/in",
    message="",
    exit_code=0,
    began_unix=1.0,
    ended_unix=2.0,
)


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "farm"


def test_settings_go_with_a_job_on_this_machine_and_keys_never_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "TENCENTCLOUD_SECRET_KEY"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "canary")
    monkeypatch.setenv("FARM_WEIGHTS_DIR", "/weights")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.example.org")
    passed = settings.variables(is_here=True)
    assert passed["FARM_WEIGHTS_DIR"] == "/weights"
    assert passed["AWS_ENDPOINT_URL_S3"] == "https://s3.example.org"
    assert "canary" not in passed.values()
    assert set(settings.variables(is_here=False)) == {settings.STOP_WAIT}


@pytest.mark.parametrize(
    "url", ["https://me:secret9@mirror.example.org/", "https://m.example.org/x?X-Amz-Signature=secret9"]
)
def test_a_variable_with_a_credential_in_it_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("FARM_WEIGHTS_MIRROR", url)
    with pytest.raises(UsageError, match="FARM_WEIGHTS_MIRROR: holds a credential") as refused:
        settings.variables(is_here=True)
    assert "secret9" not in str(refused.value)


def test_no_name_that_is_passed_sounds_like_a_secret() -> None:
    words = ("SECRET", "TOKEN", "KEY", "PASSWORD")
    assert not [name for name in settings.PASSED if any(word in name for word in words)]


def remembered(*args: str) -> list[str]:
    """What of a command line would be handed over."""

    @click.command(cls=RememberingCommand)
    @click.argument("words", nargs=-1)
    @click.option("--detach", is_flag=True)
    @click.option("--name")
    @click.option("--port")
    def command(**_: Any) -> None:
        click.echo(json.dumps(words_without("--detach", valued="--port")))

    return json.loads(CliRunner().invoke(command, args).stdout)


def test_the_words_of_the_command_are_handed_over_as_they_are() -> None:
    assert remembered("--name", "a b", "--detach", "x;y") == ["--name", "a b", "x;y"]
    assert remembered("--detach", "--", "--detach", "-x") == ["--", "--detach", "-x"]
    assert remembered("--port", "8090", "x", "--detach", "--port=8090", "--", "--port") == ["x", "--", "--port"]
    assert remembered() == []


def test_a_shell_gives_the_command_the_same_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "it's; here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    words = ["a b", "$(touch stolen)", "'", "-x"]
    line = handover._entrypoint(words, is_here=True)
    program = line.partition(" && exec ")[2].split(" submit ")[0]
    shown = line.replace(f"exec {program}", "exec printf '%s\\n'")
    assert os.popen(shown).read().splitlines() == ["submit", *words]
    assert not (folder / "stolen").exists()
    assert handover._entrypoint(["a b"], is_here=False) == "exec farm submit 'a b'"


def test_a_command_with_a_credential_in_it_is_refused() -> None:
    with pytest.raises(UsageError, match="holds a credential") as refused:
        handover._entrypoint(["https://h/x.pth?X-Amz-Signature=secret9"], is_here=True)
    assert "secret9" not in str(refused.value)
    with pytest.raises(UsageError, match="not UTF-8"):
        handover._entrypoint(["\udcff"], is_here=True)


def test_paths_of_this_folder_are_refused_for_another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.pth").touch()
    good = RunConfig(manifest="s3://bucket/in", output=OutputConfig(out="/shared/out"))
    handover._check_paths(good, "head:6379")
    for bad in (
        replace(good, manifest="photos/"),
        replace(good, output=OutputConfig(out="out")),
        replace(good, model=ModelConfig(model="my.pth")),
        replace(good, model=ModelConfig(weights_dir="weights")),
    ):
        with pytest.raises(UsageError, match="is a path of this folder, which the head of head:6379 does not know"):
            handover._check_paths(bad, "head:6379")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("pictures.csv", "--out", "out"), 65, "manifest: {here}/pictures.csv: "),
        ((".", "--model", "x4plos"), 78, "model x4plos: not known; did you mean x4plus?"),
        ((".", "--models", "box,my.pth"), 78, "my.pth"),
        ((".", "--root", "."), 2, "--root: goes with manifest files"),
        (
            (".", "--metrics-port", "8090", "--address", "127.0.0.1:1"),
            2,
            "--metrics-port 8090: is of a Ray on this machine",
        ),
    ],
)
def test_what_is_misspelt_is_told_before_anything_is_handed_over(
    args: tuple[str, ...], code: int, said: str, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = CliRunner().invoke(main, ["submit", *args, "--detach"])
    assert made.exit_code == code, made.output
    assert said.format(here=tmp_path) in made.stderr
    assert (made.stdout, state.exists()) == ("", False), "no head was started"


def test_without_the_dashboards_packages_their_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"--detach: .*pip install 'sr-farm\[dashboard\]'"):
        handover.detach(RunConfig(manifest="."), ["."])
    with pytest.raises(UsageError, match="--dashboard: "):
        fleet.prepare_ray(WorkerConfig(dashboard=True))


def test_a_head_is_of_this_machine_by_its_address() -> None:
    assert access.is_here("127.0.0.1:6379")
    assert access.is_here("auto")
    assert not access.is_here("192.0.2.1:6379"), "an address that nobody has"
    assert not access.is_here("no-such-host.invalid:6379")


def test_the_newest_job_of_a_root_is_meant_and_one_that_works_before_all() -> None:
    old = replace(JOB, id="farm-20250101T000000Z-00000001", state="running")
    other = replace(JOB, root="/elsewhere")
    assert Found(jobs=[other, JOB]).of("/out") == JOB
    assert Found(jobs=[JOB, old]).of("/out") == old
    assert Found(jobs=[other]).of("/out") is None
    assert known.find(JOB.id, Found(jobs=[JOB])) == JOB
    with pytest.raises(UsageError, match="this machine knows no detached run"):
        known.find("/out", Found(jobs=[]))


def test_jobs_of_a_head_that_has_ended_are_kept_for_their_user_alone(state: Path) -> None:
    class Client:
        """As JobsClient, as far as keeping needs it."""

        def jobs(self) -> list[Job]:
            return [replace(JOB, id=f"farm-20260101T{number:06}Z-00000001") for number in range(60)]

        def log(self, job: str) -> str:
            return f"said by {job}"

    kept.keep(cast(Any, Client()))
    found = jobs.find_jobs(WorkerConfig()).jobs
    assert [job.id for job in found] == [f"farm-20260101T{number:06}Z-00000001" for number in range(59, 9, -1)]
    assert asdict(found[0]) == {**asdict(JOB), "id": found[0].id}
    job, text = jobs.read_log("/out", WorkerConfig())
    assert (job.id, text) == (found[0].id, f"said by {found[0].id}")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (state / "jobs").iterdir()}
    assert (modes, stat.S_IMODE((state / "jobs").stat().st_mode)) == ({0o600}, 0o700)
    (state / "jobs" / "farm-20270101T000000Z-00000001.json").write_text('{"of": "another version"}')
    assert len(jobs.find_jobs(WorkerConfig()).jobs) == 50


def test_a_note_of_a_head_that_is_gone_is_no_head(state: Path) -> None:
    assert (head.read_head(), jobs.down().was_there) == (None, False)
    folder = state / "head"
    folder.mkdir(parents=True)
    gone = head.Head(pid=os.getpid(), started="1", address="", dashboard="", folder=str(state / "ray"), cpus=1, gpus=0)
    head.note_head(gone)
    head.token_file().write_text("token")
    assert head.read_head() is None, "the id is another process' by now"
    ended = jobs.down()
    assert (ended.was_there, ended.processes) == (True, 0)
    assert sorted(path.name for path in folder.iterdir()) == ["starting"]


HOLD = """
import sys
from farm.lock import RunLock
with RunLock(sys.argv[1]) as lock:
    print(lock.run, flush=True)
    sys.stdin.read()
"""


def test_a_run_of_this_machine_is_cancelled_though_no_cluster_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nobody = "127.0.0.1:1"
    monkeypatch.setenv("RAY_ADDRESS", nobody)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        run = holder.stdout.readline().strip()
        with pytest.raises(UnreachableError):
            jobs.cancel(str(tmp_path), WorkerConfig(address=nobody))
        assert holder.poll() is None, "a cluster was named, and its job is meant"
        assert jobs.cancel(str(tmp_path), WorkerConfig()) == jobs.Cancelled(root=str(tmp_path), run=run)
        assert holder.wait(timeout=60) == -signal.SIGTERM
    with pytest.raises(UnreachableError):
        jobs.cancel(str(tmp_path), WorkerConfig())


@pytest.mark.s3
def test_a_run_of_this_machine_is_cancelled_on_a_store_too_and_no_other_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = reach(require_s3(), monkeypatch).new_prefix()
    monkeypatch.setenv(lease.VARIABLE, "5")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        run = holder.stdout.readline().strip()
        with pytest.raises(BusyError, match=f"run {run} "):
            handover._check_free(root)
        assert jobs.cancel(root, WorkerConfig()) == jobs.Cancelled(root=root, run=run)
        assert holder.wait(timeout=60) == -signal.SIGTERM
    said = {"run": run, "pid": os.getpid(), "host": socket.gethostname(), "lease_s": 60.0, "released": False}
    assert storage.create(storage.join(root, ".farm", "lock", "0000000009.json"), json.dumps(said).encode(), limit_s=10)
    with pytest.raises(UsageError, match=f"process {os.getpid()} is not the run {run} here"):
        jobs.cancel(root, WorkerConfig())


@pytest.mark.parametrize("error", [CredentialsError("no keys"), UnreachableError("no such host")])
def test_a_store_that_the_head_alone_reaches_hinders_nobody_from_handing_over(
    error: FarmError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> None:
        raise error

    monkeypatch.setattr(handover.lock, "current_holder", refuse)
    handover._check_free("s3://there/out")


def test_a_port_that_somebody_has_is_told_before_a_head_is_started(state: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match=r"cannot be had \(Address already in use\)"):
            head.start_head(1, 0, taken.getsockname()[1])
    assert not head.token_file().exists()


def test_a_head_has_all_gpus_whatever_the_run_asks_for_that_starts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    there = head.Head(pid=1, started="1", address="", dashboard="", folder="", cpus=64, gpus=4)
    started: list[int] = []

    def start_head(_cpus: int, gpus: int, _port: int | None) -> head.Head:
        started.append(gpus)
        return there

    monkeypatch.setattr(head, "start_head", start_head)
    monkeypatch.setattr(hardware, "visible_gpus", lambda: 4)
    monkeypatch.setattr(fleet, "compute_fault", lambda: "")
    for worker in (WorkerConfig(gpus=2), WorkerConfig(gpus=0), WorkerConfig(workers=3), WorkerConfig()):
        assert handover._head(worker) == there
    assert started == [4] * 4
    with pytest.raises(UsageError, match="serves metrics at a port of its own"):
        handover._head(WorkerConfig(workers=3, metrics_port=8090))
    there = replace(there, gpus=0)
    assert handover._head(WorkerConfig(workers=3)) == there
    with pytest.raises(UsageError, match="--gpus: 2 asked for"):
        handover._head(WorkerConfig(gpus=2))


def test_json_of_a_quiet_run_that_is_not_detached_is_a_usage_error(tmp_path: Path) -> None:
    made = CliRunner().invoke(main, ["submit", str(tmp_path), "--json", "--quiet"])
    assert made.exit_code == 2
    assert "--json: says what a run does while it works" in made.stderr


def test_cancel_of_what_is_no_output_root_is_a_usage_error(tmp_path: Path) -> None:
    made = CliRunner().invoke(main, ["cancel", str(tmp_path)])
    assert (made.exit_code, "no output root" in made.stderr) == (2, True)
    made = CliRunner().invoke(main, ["cancel", JOB.id])
    assert (made.exit_code, "knows no detached run" in made.stderr) == (2, True)
