"""What is tried on this machine's GPUs, and for how long the answer holds; programs of this test stand in for torch."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from farm import gpus
from sr_kernel import hardware

SAYS = """#!/bin/sh
echo "$*" >> "$0.asked"
test -e "$0.broken" && exit 9
case "$1" in
    -L) echo "GPU 0: NVIDIA H100 (UUID: GPU-1)" ;;
    *) echo "NVIDIA H100, 9.0, $(cat "$0.version")" ;;
esac
"""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The driver's program, of a machine with one GPU; beside it lie its version and a line for each call."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(SAYS)
    program.chmod(0o755)
    program.with_name("nvidia-smi.version").write_text("595.1")
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    another_process()
    return program


def another_process() -> None:
    """Forget what this one was told."""
    gpus._fault.cache_clear()
    gpus.say_once.cache_clear()
    hardware._answer.cache_clear()


def counting(program: str, tmp_path: Path) -> tuple[str, Path]:
    """A program that notes each time it is run."""
    noted = tmp_path / "runs"
    return f"open({str(noted)!r}, 'a').write('x')\n{program}", noted


def test_what_works_is_asked_once_for_all_processes(driver: Path, tmp_path: Path) -> None:
    program, runs = counting("", tmp_path)
    for _ in range(2):
        assert gpus._fault(program, "it") == gpus._fault(program, "it") == ""
        another_process()
    assert runs.read_text() == "x"


def test_what_fails_is_asked_again_by_the_next_process_alone(driver: Path, tmp_path: Path) -> None:
    """A driver may just be being loaded; but a run must not be planned for a CPU and started on a GPU."""
    program, runs = counting("import sys; sys.exit('the GPU is busy')", tmp_path)
    assert gpus._fault(program, "it") == gpus._fault(program, "it") == "the GPU is busy"
    another_process()
    assert gpus._fault(program, "it") == "the GPU is busy"
    assert runs.read_text() == "xx"


@pytest.mark.parametrize("left", [b"", b"ye", b"no", b"\xff"])
def test_a_mark_that_is_no_yes_says_nothing(driver: Path, tmp_path: Path, left: bytes) -> None:
    program, runs = counting("", tmp_path)
    mark = gpus._mark(program)
    mark.parent.mkdir(parents=True)
    mark.write_bytes(left)
    assert gpus._fault(program, "it") == ""
    assert runs.read_text() == "x"
    assert mark.read_text() == "yes"
    assert list(mark.parent.iterdir()) == [mark]


def test_another_driver_or_choice_of_gpus_is_tried_anew(
    driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, runs = counting("", tmp_path)
    gpus._fault(program, "it")
    another_process()
    driver.with_name("nvidia-smi.version").write_text("600.2")
    gpus._fault(program, "it")
    another_process()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    gpus._fault(program, "it")
    assert runs.read_text() == "xxx"


def test_what_other_kernels_gave_says_nothing_of_these(
    driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, runs = counting("", tmp_path)
    gpus._fault(program, "it")
    another_process()
    fused = tmp_path / "sr_kernel" / "fused"
    shutil.copytree(Path(hardware.__file__).parent / "fused", fused)
    monkeypatch.setattr(hardware, "__file__", str(fused.parent / "hardware.py"))
    gpus._fault(program, "it")
    assert runs.read_text() == "x", "the same kernels elsewhere"
    another_process()
    (fused / "conv.cu").write_text("others")
    gpus._fault(program, "it")
    assert runs.read_text() == "xx"


def test_a_gpu_that_does_not_answer_and_a_process_that_is_killed_are_faults(
    driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "_LIMIT_S", 0.5)
    assert gpus._fault("import time; time.sleep(60)", "it") == "no answer in 0.5 s"
    monkeypatch.setattr(gpus, "_LIMIT_S", 60.0)
    assert gpus._fault("import os; os.kill(os.getpid(), 9)", "it") == "its process ended with -9"


def test_without_a_gpu_both_trials_say_so(driver: Path) -> None:
    """The real ones: torch is here, and no GPU that it could use, or one that it can."""
    import torch

    if torch.cuda.is_available():
        assert gpus.compute_fault() == ""
    else:
        assert "Torch not compiled with CUDA" in gpus.compute_fault() or "NVIDIA" in gpus.compute_fault()
        assert gpus.fused_fault() != ""


def test_the_driver_is_asked_each_question_once_and_again_where_it_did_not_answer(driver: Path) -> None:
    broken, asked = driver.with_name("nvidia-smi.broken"), driver.with_name("nvidia-smi.asked")
    broken.touch()
    assert (hardware.visible_gpus(), hardware.driver_gpus(), hardware.driver_version()) == (0, (), "")
    broken.unlink()
    asked.unlink()
    for _ in range(3):
        assert hardware.visible_gpus() == 1
        assert hardware.driver_gpus() == (("NVIDIA H100", (9, 0)),)
        assert hardware.driver_version() == "595.1"
    assert len(asked.read_text().splitlines()) == 2
