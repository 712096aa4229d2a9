"""Files of cluster/ are what their own tools want, and the commands in them are commands of ours."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from farm.cli import main

from ..metrics_page import RUNS, named
from ..outside import require, require_prometheus
from ..waiting import wait_for
from . import kuberay

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
SCRIPTS = Path(sysconfig.get_path("scripts"))
KUBERNETES = sorted((CLUSTER / "kubernetes").glob("*.yaml"))
KUBERAY = [CLUSTER / "kubernetes" / f"{name}.yaml" for name in ("raycluster", "raycronjob", "rayjob")]


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def run(*command: str | Path) -> None:
    made = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr


@pytest.mark.parametrize("script", ["cron/farm-nightly", "ray/head.sh", "ray/worker.sh"])
def test_scripts_are_sound(script: str) -> None:
    run(SCRIPTS / "shellcheck", CLUSTER / script)
    assert os.access(CLUSTER / script, os.X_OK)


def test_the_image_is_sound() -> None:
    run(SCRIPTS / "hadolint", CLUSTER / "container" / "Containerfile")
    targets = re.findall(r"^FROM \S+ AS (\S+)", (CLUSTER / "container" / "Containerfile").read_text(), re.MULTILINE)
    assert targets == ["base", "cpu", "cuda"]


def test_units_are_what_systemd_takes(tmp_path: Path) -> None:
    require("systemd", shutil.which("systemd-analyze"))
    for unit in ("farm-nightly.service", "farm-nightly.timer", "farm-failed@.service"):
        text = (CLUSTER / "cron" / unit).read_text()
        (tmp_path / unit).write_text(text.replace("/opt/farm/.venv/bin/farm", "/bin/true"))
    run("systemd-analyze", "verify", "--man=no", *sorted(tmp_path.iterdir()))


def test_a_night_starts_on_a_machine_that_has_none_of_its_folders_and_not_by_day() -> None:
    """What systemd finds out only when it starts a unit, and then the night is over."""
    service, timer = ((CLUSTER / "cron" / f"farm-nightly.{kind}").read_text() for kind in ("service", "timer"))
    places = " ".join(re.findall(r"^Read(?:Write|Only)Paths=(.*)$", service, re.MULTILINE)).split()
    assert places
    assert [place for place in places if not place.startswith("-")] == [], "which need not be there"
    written = re.findall(r"^CacheDirectory=(\S+)$", service, re.MULTILINE)
    homes = re.findall(r"(XDG_CACHE_HOME|TRITON_CACHE_DIR)=(\S+)", service)
    assert {name for name, _ in homes} == {"XDG_CACHE_HOME", "TRITON_CACHE_DIR"}, "the home may only be read"
    assert all(place.startswith(f"/var/cache/{written[0]}") for _, place in homes)
    assert "--until" in service
    assert "Persistent=false" in timer, "a night made up for at nine would work until six of the next"


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_kubernetes_takes_its_objects(path: Path) -> None:
    import kubernetes_validate as validate

    for one in documents(path):
        for known in kubernetes_objects(one):
            validate.validate(known, validate.latest_version(), strict=True)


def kubernetes_objects(one: Any) -> Iterator[Any]:
    """What Kubernetes knows of an object: all of it, or the pods of what is KubeRay's."""
    kind = one["kind"]
    if kind not in kuberay.KINDS:
        yield one
        return
    for pod in kuberay.pods(kind, one["spec"]):
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any", **pod.get("metadata", {})}, **pod}


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
def test_kuberay_takes_its_objects(path: Path) -> None:
    (one,) = documents(path)
    assert one["apiVersion"] == "ray.io/v1"
    assert list(kuberay.misfits(one["kind"], one["spec"])) == []
    pods = list(kuberay.pods(one["kind"], one["spec"]))
    assert len(pods) == 2, "of the head and of its workers"
    # Ray's second autoscaler, which Ray 2.47 and newer have by default, starts pods anew itself.
    assert all(pod["spec"].get("restartPolicy", "Never") == "Never" for pod in pods)


def test_no_other_file_has_objects_of_kuberay() -> None:
    kinds = {path: {one["kind"] for one in documents(path)} for path in KUBERNETES}
    assert {path for path, found in kinds.items() if found & {"RayCluster", "RayJob", "RayCronJob", "RayService"}} == {
        *KUBERAY
    }


def test_every_cluster_asks_for_a_token() -> None:
    (cluster,) = documents(CLUSTER / "kubernetes" / "raycluster.yaml")
    assert cluster["spec"]["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"backoffLimit": "0"}, "spec.backoffLimit: '0' is no int"),
        ({"backoffLimit": True}, "spec.backoffLimit: True is no int"),
        ({"timeZone": "Etc/UTC"}, "spec.timeZone is no field of KubeRay 1.6.2"),
        ({"submissionMode": "Sidecar"}, "spec.submissionMode: 'Sidecar' is none of "),
        ({"shutdownAfterJobFinishes": False}, "spec: ttlSecondsAfterFinished wants shutdownAfterJobFinishes"),
        ({"rayClusterSpec": {"headGroupSpec": {}}}, "spec.rayClusterSpec.headGroupSpec.template is missing"),
        ({"rayClusterSpec": {"authOptions": {"mode": "on"}}}, "spec.rayClusterSpec.authOptions.mode: 'on' is none of "),
    ],
)
def test_what_kuberay_would_refuse_is_found(change: dict[str, Any], said: str) -> None:
    (job,) = documents(CLUSTER / "kubernetes" / "rayjob.yaml")
    assert any(one.startswith(said) for one in kuberay.misfits("RayJob", {**job["spec"], **change}))


def test_every_night_and_once_are_the_same_job_and_the_same_cluster() -> None:
    (job,), (nightly,) = (documents(CLUSTER / "kubernetes" / name) for name in ("rayjob.yaml", "raycronjob.yaml"))
    (cluster,) = documents(CLUSTER / "kubernetes" / "raycluster.yaml")
    assert nightly["spec"]["jobTemplate"] == job["spec"]
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]


def test_no_credential_is_anywhere_but_in_a_mounted_file() -> None:
    for path in (path for path in CLUSTER.rglob("*") if path.is_file()):
        text = path.read_text()
        assert not re.search(r"(?i)secret_access_key|AKIA[0-9A-Z]{12}|runtimeEnvYAML|--runtime-env", text), path


def test_prometheus_takes_its_file() -> None:
    require_prometheus()
    run("promtool", "check", "config", CLUSTER / "metrics" / "prometheus.yml")


QUERY_TEST = """
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - series: "{metric}{{run='a'}}"
        values: _ _ _ 1 1 1 1 1 3 3
    promql_expr_test:
      - {{expr: '{query}', eval_time: 60s, exp_samples: [{{labels: "{{}}", value: 1}}]}}
      - {{expr: '{query}', eval_time: 120s, exp_samples: [{{labels: "{{}}", value: 2}}]}}
"""
"""what Prometheus is to answer of a counter that is not there while it is 0: its first event, and its next two"""


@pytest.mark.parametrize("title", ["Rows ended", "Trouble"])
def test_the_first_event_of_a_kind_is_shown_too(title: str, tmp_path: Path) -> None:
    require_prometheus()
    _, panels = RUNS.panels()
    (panel,) = [one for one in panels if one["title"] == title]
    for number, target in enumerate(panel["targets"]):
        (metric,) = named(target["expr"])
        query = target["expr"].replace("$__rate_interval", "1m").replace("$run", ".*")
        (tmp_path / f"{number}.yml").write_text(QUERY_TEST.format(metric=metric, query=query))
        run("promtool", "test", "rules", tmp_path / f"{number}.yml")


def test_grafana_is_given_the_prometheus_and_the_folder_of_the_dashboard() -> None:
    (source,) = documents(CLUSTER / "metrics" / "grafana-datasource.yaml")
    (provider,) = documents(CLUSTER / "metrics" / "grafana-provider.yaml")
    assert (source["apiVersion"], provider["apiVersion"]) == (1, 1)
    assert [(one["type"], one["access"]) for one in source["datasources"]] == [("prometheus", "proxy")]
    assert [(one["type"], one["options"]["path"]) for one in provider["providers"]] == [
        ("file", "/var/lib/grafana/dashboards")
    ]


@pytest.mark.parametrize("name", ["on-premise", "aws"])
def test_ray_up_takes_its_files(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(yaml.safe_load((CLUSTER / "ray" / f"{name}.yaml").read_text())))


def commands() -> list[tuple[str, list[str]]]:
    """(where it stands, words after `farm`) of every command of ours in cluster/."""
    found: list[tuple[str, list[str]]] = []
    for path in sorted(path for path in CLUSTER.rglob("*") if path.is_file()):
        lines = re.sub(r"\\\\\n#? *", " ", path.read_text()).splitlines()
        if path in KUBERNETES:
            lines += entrypoints(path)
        for line in lines:
            said = re.search(r"(?:\bfarm|farm-nightly \S+|farm:cpu) ((?:submit |verify |s3://).*)", line)
            if said is None or "printf" in line:
                continue
            words = shlex.split(said[1].replace("$(date +\\%u)", "3").replace("${UNTIL}", "06:00"))
            found.append((path.name, ["submit", *words] if words[0].startswith("s3:") else words))
    return found


def entrypoints(path: Path) -> list[str]:
    """Of jobs, whose lines YAML folds."""
    specs = [one["spec"] for one in documents(path) if one["kind"] in ("RayJob", "RayCronJob")]
    return [spec.get("jobTemplate", spec)["entrypoint"] for spec in specs]


@pytest.mark.parametrize(("where", "words"), commands())
def test_commands_have_only_flags_that_there_are(where: str, words: list[str]) -> None:
    command = main.commands[words[0]]
    assert isinstance(command.make_context(where, words[1:]), click.Context)


def test_there_are_commands_to_look_at() -> None:
    expected = {"crontab", "farm-nightly", "farm-nightly.service", "Containerfile", "on-premise.yaml"}
    assert {where for where, _ in commands()} == expected | {
        "raycluster.yaml",
        "rayjob.yaml",
        "raycronjob.yaml",
        "prometheus.yml",
    }


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """Instead of `farm`: says what it was given, and ends with the code of its last argument, when it is told to."""
    path = tmp_path / "farm"
    path.write_text(
        '#!/bin/bash\ntrap "echo drained; exit 143" TERM\necho "$@"\n'
        '[ "${@: -1}" != wait ] || { touch "$0.waits"; sleep 30 & wait $!; }\nexit "${@: -1}"\n'
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("code", "ends", "says"), [(0, 0, False), (75, 0, False), (3, 3, True), (74, 74, True)])
def test_a_night_is_silent_unless_somebody_should_look(
    stand_in: Path, tmp_path: Path, code: int, ends: int, says: bool
) -> None:
    log = tmp_path / "log"
    made = subprocess.run(
        [CLUSTER / "cron" / "farm-nightly", log, "s3://bucket/in", "--out", "a b", str(code)],
        env={**os.environ, "FARM": str(stand_in)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (made.returncode, bool(made.stdout)) == (ends, says)
    assert f"submit s3://bucket/in --out a b {code}" in log.read_text()
    assert f"ended with {code}" in log.read_text()


def test_a_night_that_is_stopped_lets_the_farm_drain(stand_in: Path, tmp_path: Path) -> None:
    night = subprocess.Popen(
        [CLUSTER / "cron" / "farm-nightly", tmp_path / "log", "in", "wait"],
        env={**os.environ, "FARM": str(stand_in)},
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for((tmp_path / "farm.waits").exists, "the farm works", 20)
    night.send_signal(signal.SIGTERM)
    said, _ = night.communicate(timeout=20)
    assert night.returncode == 143
    assert "drained" in said
