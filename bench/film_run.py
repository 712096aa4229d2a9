"""The contenders of bench/video.py, each once in processes of its own, and what parts of the work cost alone."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
from film_clip import KEYFRAMES_APART, cut, repeat  # beside this file
from watch import FilmWatch, Worked, finish, start, watched

from sr_kernel.models import ModelSpec

HERE = Path(__file__).parent
ENCODERS = {"h264": "libx264", "hevc": "libx265"}
TILES = (128, 256, 400, 512)
TRIAL_FRAMES = 3
SEGMENTS_A_WORKER = 2
WARM = 3
"""times that a clip is played so that every worker has had some segments: its heap grows over the first few"""
LONGER = 10


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every contender is asked for."""

    clip: Path
    folder: Path
    """where outputs go"""
    spec: ModelSpec
    weights: Path
    codec: str
    crf: int
    preset: str
    segment_frames: int

    @property
    def codec_options(self) -> list[str]:
        return ["--crf", str(self.crf), "--preset", self.preset]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One contender, once."""

    wall_s: float
    steady_s: float
    frames: int
    px: int
    memory_mb: Mapping[str, float]
    """peak resident memory by role"""
    output: Path
    infer_s: float = 0.0
    """seconds that the farm's workers spent in their lanes"""
    join_s: float = 0.0
    """seconds of putting the segments together"""
    worked: Worked | None = None
    """processor seconds of the farm's workers"""
    precision: str = "fp32"

    @property
    def rate(self) -> float:
        """Source frames a second, steady state."""
        return self.frames / self.steady_s

    @property
    def mpx_rate(self) -> float:
        """Source megapixels a second, steady state."""
        return self.px / self.steady_s / 1e6


def segment_frames(frames: int, workers: int) -> int:
    """Frames of a segment: SEGMENTS_A_WORKER or more for every worker; 2 is the least that the farm takes.

    The farm cuts at keyframes: a divisor of what lies between two gives segments of one length.
    """
    most = -(-frames // (SEGMENTS_A_WORKER * workers))
    return next((count for count in range(most, 2, -1) if KEYFRAMES_APART % count == 0), 2)


def run_official(job: Job, tile: int) -> Run:
    output = job.folder / f"official-{tile}.mp4"
    command = [sys.executable, str(HERE / "official_video.py"), str(job.clip), str(output), str(job.weights)]
    command += ["--model", job.spec.name, "--tile", str(tile), "--encoder", ENCODERS[job.codec], *job.codec_options]
    text, wall_s, memory_mb = watched(command)
    answer = json.loads(text.splitlines()[-1])
    roles = {("process" if role == "driver" else role): value for role, value in memory_mb.items()}
    return Run(
        wall_s=wall_s,
        steady_s=answer["steady_s"],
        frames=answer["frames"],
        px=answer["px"],
        memory_mb=roles,
        output=output,
    )


def run_farm(job: Job, workers: int, *, model: str | None = None, period_s: float = 1.0) -> Run:
    """A film by the farm, `model` in place of the job's own; every worker on a core of its own."""
    out = job.folder / f"farm-{job.clip.stem}-{workers}"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "farm", "submit", str(job.clip), "--out", str(out)]
    command += ["--model", model or job.spec.name, "--weights-dir", str(job.weights.parent)]
    command += ["--gpus", "0", "--workers", str(workers), "--pin-cores"]
    command += ["--codec", job.codec, *job.codec_options, "--segment-frames", str(job.segment_frames)]
    started = time.perf_counter()
    process = start(command)
    watch = FilmWatch(process.pid, job.clip, period_s)
    watch.start()
    finish(process)
    wall_s = time.perf_counter() - started
    memory_mb = watch.stop()
    (row,) = pq.read_table(out / "results.parquet").to_pylist()
    if row["status"] != "done" or watch.opened_unix is None:
        raise SystemExit(f"{' '.join(command)}: {row['status']} {row['message']}; opened {watch.opened_unix}")
    return Run(
        wall_s=wall_s,
        steady_s=row["finished_unix"] - watch.opened_unix,
        frames=row["frames"],
        px=row["source_px"],
        memory_mb=memory_mb,
        output=Path(row["output"]),
        infer_s=row["infer_s"],
        join_s=row["total_s"],
        worked=watch.worked,
        precision=row["precision"],
    )


def best_tile(job: Job) -> int:
    """The tile size with which the official method is fastest on the first frames."""
    trial = cut(job.clip, TRIAL_FRAMES, job.folder / "trial.mp4")
    return max(TILES, key=lambda tile: run_official(replace(job, clip=trial), tile).rate)


def alone_command(job: Job) -> list[str]:
    command = [sys.executable, str(HERE / "film_alone.py"), str(job.clip), str(planes_folder(job))]
    command += ["--model", job.spec.name, "--weights-dir", str(job.weights.parent), "--codec", job.codec]
    return [*command, *job.codec_options, "--segment-frames", str(job.segment_frames)]


def planes_folder(job: Job) -> Path:
    return job.folder / "planes"


def measure_restore(job: Job) -> float:
    """Processor seconds of restoring all frames from planes to planes; keeps the results for what is measured alone."""
    planes_folder(job).mkdir()
    return json.loads(finish(start([*alone_command(job), "--restore"])))["restore_s"]


def measure_memory(job: Job, workers: int) -> dict[str, Run]:
    """The farm with a network of two convolutions over the clip played some times, and LONGER times as many."""
    sys.path.insert(0, str(HERE.parent))
    from tests.seeded import save_srvgg  # imports torch, which nothing else here does

    model = str(save_srvgg(job.folder / "tiny.pth", features=8, convs=2))
    clips = {
        f"the clip played {times} times": repeat(job.clip, times, job.folder / f"clip-{times}.mp4")
        for times in (WARM, WARM * LONGER)
    }
    return {name: run_farm(replace(job, clip=clip), workers, model=model, period_s=0.2) for name, clip in clips.items()}
