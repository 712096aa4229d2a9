"""farm doctor says what this machine has, and never falls over what it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm import doctor, storage
from farm.doctor import Finding, Gpu, supports
from sr_kernel import control_group, hardware
from tests.stores import opened

WHEEL = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
TORCH = {"version": "2.14.1", "built_for": "13.0", "available": False, "arches": WHEEL, "devices": []}


@pytest.mark.parametrize(
    ("arches", "capability", "fits"),
    [
        (WHEEL, (9, 0), True),
        (WHEEL, (8, 9), True),  # sm_86 code runs on 8.9
        (WHEEL, (7, 0), False),  # a V100 on a wheel that begins at Turing
        (WHEEL, (6, 1), False),
        (WHEEL, (11, 0), False),
        ([*WHEEL, "compute_120"], (12, 1), True),
        (["sm_50", "compute_50"], (9, 0), True),  # PTX runs on everything newer
        (["sm_90a"], (9, 0), True),
        (["sm_90a"], (9, 1), False),
        (["sm_86"], (8, 0), False),
        ([], (8, 0), False),
        (["gfx90a"], (9, 0), False),
    ],
)
def test_a_gpu_is_supported_only_where_the_wheel_holds_code_for_it(
    arches: list[str], capability: tuple[int, int], fits: bool
) -> None:
    assert supports(arches, capability) is fits


def test_an_unsupported_gpu_is_named_with_what_runs_instead() -> None:
    old = {"name": "Tesla V100", "capability": [7, 0], "bytes": 16 << 30}
    (finding,) = doctor._gpus({**TORCH, "devices": [old]}, ())
    assert not finding.ok
    assert "Tesla V100" in finding.found
    assert "7.0" in finding.found
    assert "--gpus 0" in finding.found
    assert "sm_70" in finding.advice


def test_a_gpu_that_only_the_driver_sees_is_no_silent_cpu_run() -> None:
    (finding,) = doctor._gpus(TORCH, (Gpu(name="H200", capability=(9, 0)),))
    assert not finding.ok
    assert "H200" in finding.found
    assert "CPU actors run instead" in finding.found


def test_no_gpu_is_no_fault() -> None:
    (finding,) = doctor._gpus(TORCH, ())
    assert finding.ok


def test_a_torch_that_does_not_import_is_a_finding() -> None:
    answer = doctor._ask("raise ImportError('libcudart.so.13: cannot open shared object file')")
    finding = doctor._torch(answer)
    assert not finding.ok
    assert "libcudart.so.13" in finding.found


def test_a_library_that_kills_its_process_is_a_finding() -> None:
    answer = doctor._ask("import os; os.abort()")
    (finding,) = doctor._codecs(answer)
    assert not finding.ok


def test_an_encoder_that_is_missing_is_a_finding() -> None:
    finding = doctor._films(doctor._ask(f"ENCODERS = [('h264', 'libx264'), ('x', 'no such')]\n{doctor._FILM_PROBE}"))
    assert not finding.ok
    assert "encodes h264; not x" in finding.found
    assert not doctor._films(doctor._ask("raise ImportError('libav')")).ok


def test_storage_never_says_a_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKCANARY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SKCANARY")
    monkeypatch.setenv("FARM_COS_REGION", "ap-guangzhou")
    said = repr(tuple(doctor._storage()))
    assert "CANARY" not in said
    assert "ap-guangzhou" in said


@pytest.fixture(scope="module")
def findings() -> tuple[Finding, ...]:
    return doctor.examine()


def test_this_machine_is_examined_in_every_topic(findings: tuple[Finding, ...]) -> None:
    topics = {finding.topic for finding in findings}
    expected = {"python", "ray", "torch", "gpu", "cpu", "memory", "codecs"}
    assert topics == expected | {"films", "weights", "storage", "face", "foreign", "train", "serve"}
    assert all(finding.found and "\n" not in finding.found for finding in findings)


def test_what_the_tests_run_on_is_found_in_order(findings: tuple[Finding, ...]) -> None:
    topics = ("python", "ray", "torch", "codecs", "films", "storage")
    needed = [finding for finding in findings if finding.topic in topics]
    assert all(finding.ok for finding in needed), needed


def test_bf16_is_measured_against_fp32_where_it_is_native(findings: tuple[Finding, ...]) -> None:
    (cpu,) = (finding for finding in findings if finding.topic == "cpu")
    assert "GFLOP/s" in cpu.found
    assert ("in bf16" in cpu.found) is ("bf16 native" in cpu.found)


def test_what_control_groups_leave_of_the_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cores_here", lambda: (0, 1, 2, 3))
    monkeypatch.setattr(control_group, "cores_limit", lambda: 1.5)
    monkeypatch.setattr(control_group, "memory_limit", lambda _: 1 << 29)
    assert "4 cores (control groups leave us the time of 2), bf16" in doctor._cpu({}, native=False).found
    assert " GiB (control groups leave us 0.5 GiB), " in doctor._memory().found
    monkeypatch.setattr(control_group, "cores_limit", lambda: None)
    monkeypatch.setattr(control_group, "memory_limit", lambda _: None)
    assert "control groups" not in doctor._cpu({}, native=False).found + doctor._memory().found


def test_every_finding_that_is_a_fault_says_what_to_do(findings: tuple[Finding, ...]) -> None:
    assert all(finding.advice for finding in findings if not finding.ok)


def test_a_store_that_is_not_configured_is_no_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("FARM_CONFIG", "FARM_COS_REGION", "TENCENTCLOUD_REGION", "COS_REGION", "FARM_COS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    cos = list(doctor._storage())[-1]
    assert cos.ok
    assert "not configured" in cos.found
    assert "FARM_COS_REGION" in cos.advice
    monkeypatch.setenv("FARM_COS_REGION", "ap-guangzhou")
    monkeypatch.setenv("TENCENTCLOUD_SECRET_ID", "CANARY")
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", "CANARY")
    cos = list(doctor._storage())[-1]
    assert "https://cos.ap-guangzhou.myqcloud.com, credentials configured" in cos.found
    assert "CANARY" not in str(cos)


def test_what_an_output_root_can_do_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (disk,) = doctor.examine_root(str(tmp_path))
    assert disk.ok
    with opened("rclone", tmp_path, monkeypatch) as store:
        findings = doctor.examine_root(store.root)
        assert store.root in findings[0].found
        assert [one.found for one in findings if not one.ok] == [
            "does not: makes an object only where there is none"
        ], "rclone ignores the condition"
        assert list(storage.list_files(store.root)) == []
