from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from farm import fleet
from farm.config import WorkerConfig
from farm.errors import UnreachableError, UsageError
from farm.fleet import plan_fleet, runs_fused, wanted_gpus, workers_that_fit
from farm.gpus import say_once
from farm.tasks.base import WorkerContext
from sr_kernel import hardware

GIB = 1 << 30


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with four GPUs that torch can use."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(hardware, "visible_gpus", lambda: 4)
    monkeypatch.setattr(fleet, "compute_fault", lambda: "")
    return monkeypatch


def context() -> WorkerContext:
    return WorkerContext(
        name="upscale-m",
        run="r",
        driver_host="h",
        out="/out",
        device="cpu",
        io_threads=3,
        units_in_flight=2,
        memory_bytes=0,
    )


def test_auto_takes_what_there_is(gpus: pytest.MonkeyPatch) -> None:
    assert wanted_gpus(WorkerConfig()) == 4
    assert wanted_gpus(WorkerConfig(gpus=2)) == 2
    assert wanted_gpus(WorkerConfig(gpus=0)) == 0
    assert wanted_gpus(WorkerConfig(workers=3)) == 0
    assert wanted_gpus(WorkerConfig(gpu_ids=(0, 3))) == 2
    for wrong in (WorkerConfig(gpus=5), WorkerConfig(gpu_ids=(4,))):
        with pytest.raises(UsageError, match="this machine shows 4"):
            wanted_gpus(wrong)


def test_a_gpu_that_torch_cannot_use_is_no_gpu_and_that_is_said(
    gpus: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    say_once.cache_clear()
    gpus.setattr(fleet, "compute_fault", lambda: "RuntimeError: no kernel image")
    for _ in range(2):
        assert wanted_gpus(WorkerConfig()) == 0
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "the CPU works: the installed torch cannot compute on this machine's GPU (RuntimeError: no kernel image); "
        "`farm doctor` says what it has; --gpus 0 does not try"
    ]
    with pytest.raises(UsageError, match=r"cannot compute on this machine's GPU \(RuntimeError: no kernel image\)"):
        wanted_gpus(WorkerConfig(gpus=1))


HOPPER, AMPERE = ("NVIDIA H100", (9, 0)), ("NVIDIA A100", (8, 0))


@pytest.mark.parametrize(
    ("found", "fault", "auto", "refused"),
    [
        ((HOPPER, HOPPER), "", True, None),
        ((HOPPER,), "RuntimeError: no C compiler", False, "no C compiler"),
        ((HOPPER, AMPERE), "", False, "NVIDIA A100 is none of capability 9"),
    ],
)
def test_fused_kernels_are_taken_where_they_work_and_refused_elsewhere(
    gpus: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    found: tuple[tuple[str, tuple[int, int]], ...],
    fault: str,
    auto: bool,
    refused: str | None,
) -> None:
    """Whoever asks for them by name is told before anything starts; else rows would end one after the other."""
    say_once.cache_clear()
    gpus.setattr(hardware, "driver_gpus", lambda: found)
    gpus.setattr(fleet, "fused_fault", lambda: fault)
    assert runs_fused(WorkerConfig(), "plain") is False
    assert runs_fused(WorkerConfig(), "auto") is auto
    assert ("networks run in plain kernels" in caplog.text) == bool(fault)
    if refused is None:
        assert runs_fused(WorkerConfig(), "fused")
    else:
        with pytest.raises(UsageError, match=refused):
            runs_fused(WorkerConfig(), "fused")
    elsewhere = WorkerConfig(address="192.0.2.1:6379")
    assert [runs_fused(elsewhere, kernel) for kernel in ("plain", "auto", "fused")] == [False, False, True]


def test_actors_share_gpus_as_asked(gpus: pytest.MonkeyPatch) -> None:
    slots, config = plan_fleet(WorkerConfig(gpus=2, actors_per_gpu=2, min_gpus=1), context(), lambda unit: 1.0, 0)
    assert [(slot.name, slot.num_gpus, slot.context.device) for slot in slots] == [
        (f"upscale-m-{index}", 0.5, "cuda:0") for index in range(4)
    ]
    assert (config.embedded_gpus, config.min_workers) == (2, 2)


def test_cpu_actors_fill_the_machine_and_keep_to_their_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(fleet.hardware, "cores_here", lambda: (2, 5))
    monkeypatch.setattr(fleet.hardware.control_group, "cores_limit", lambda: None)
    slots, _ = plan_fleet(WorkerConfig(gpus=0), context(), lambda unit: 1.0, 0)
    assert [slot.context.core for slot in slots] == [2, 5]
    one, _ = plan_fleet(WorkerConfig(workers=1), context(), lambda unit: 1.0, 0)
    assert [slot.context.core for slot in one] == [None], "two runs side by side must not sit on one core"


@pytest.mark.parametrize(
    ("quota", "workers", "pinned"), [(None, 4, True), (4.0, 4, True), (3.5, 4, False), (2.0, 2, False), (0.5, 1, False)]
)
def test_a_quota_of_time_gets_as_many_workers_as_it_keeps_busy_on_no_core_of_their_own(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, workers: int, pinned: bool
) -> None:
    """As of `docker run --cpus 2` on a machine of many cores."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(fleet.hardware, "cores_here", lambda: (0, 1, 2, 3))
    monkeypatch.setattr(fleet.hardware.control_group, "cores_limit", lambda: quota)
    slots, _ = plan_fleet(WorkerConfig(gpus=0), context(), lambda unit: 1.0, 0)
    assert len(slots) == workers
    assert [slot.context.core is not None for slot in slots] == [pinned] * workers
    asked, _ = plan_fleet(WorkerConfig(workers=3, pin_cores=True), context(), lambda unit: 1.0, 0)
    assert [slot.context.core for slot in asked] == [0, 1, 2], "who asks for it is obeyed"


def test_whole_bodies_get_the_memory_they_need() -> None:
    assert workers_that_fit(8, 0, 16 * GIB) == 8
    assert workers_that_fit(2, 0, 24 * GIB) == 2
    assert workers_that_fit(8, 4 * GIB, 16 * GIB) == 2
    assert workers_that_fit(2, 7 * GIB, 8 * GIB) == 1


def test_no_more_workers_are_started_than_the_memory_beside_pictures_holds() -> None:
    """As in a container of little memory on a machine of many cores."""
    assert workers_that_fit(64, 0, 16 * GIB) == 12
    assert workers_that_fit(64, 4 * GIB, 16 * GIB) == 2
    assert workers_that_fit(2, 0, GIB // 2) == 1
    assert all(workers_that_fit(cores, 0, 2 * GIB * cores) == cores for cores in range(1, 129)), (
        "2 GB a core are enough"
    )


@pytest.mark.parametrize("worker", [WorkerConfig(gpus=0), WorkerConfig()], ids=["its CPUs", "its GPUs"])
def test_a_cluster_is_asked_whom_it_lets_in_before_it_is_asked_what_it_has(
    monkeypatch: pytest.MonkeyPatch, worker: WorkerConfig
) -> None:
    def refuse(address: str, *, insecure: bool) -> None:
        raise UnreachableError(f"{address} insecure={insecure}")

    monkeypatch.setattr(fleet.access, "check_cluster", refuse)
    with pytest.raises(UnreachableError, match=r"^192\.0\.2\.1:6379 insecure=False$"):
        fleet.worker_count(replace(worker, address="192.0.2.1:6379"), 0)


@pytest.mark.parametrize("worker", [WorkerConfig(workers=4), WorkerConfig(gpus=4, priority=3)], ids=["CPUs", "GPUs"])
def test_on_a_cluster_each_worker_asks_its_own_machine_what_memory_it_has(
    monkeypatch: pytest.MonkeyPatch, worker: WorkerConfig
) -> None:
    """The command's machine may be a small head, and the workers' others."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(hardware, "memory_bytes", lambda: 8 * GIB)
    here, _ = plan_fleet(WorkerConfig(workers=4), context(), lambda unit: 1.0, 0)
    assert {slot.context.memory_bytes for slot in here} == {int(0.6 * 8 * GIB / 4)}
    slots, config = plan_fleet(replace(worker, address="192.0.2.1:6379"), context(), lambda unit: 1.0, 0)
    assert {slot.context.memory_bytes for slot in slots} == {0}
    assert config.priority == worker.priority
