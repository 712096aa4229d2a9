"""Clips of a film, cut to the frame, and what ffmpeg and ffprobe say of a film. Debian's programs, in bench/ only."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

KEYFRAMES_APART = 48
"""of a clip: about what a film has, so that a worker that starts inside decodes frames that it does not show"""


@dataclass(frozen=True, kw_only=True)
class Film:
    """What a film's header says of its video, and how many frames really decode."""

    width: int
    height: int
    rate: str
    """frames a second on average, as NUM/DEN"""
    frames: int
    has_audio: bool


def probe(film: Path) -> Film:
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(film)]
    streams = json.loads(_said(command).stdout)["streams"]
    video = next(stream for stream in streams if stream["codec_type"] == "video")
    return Film(
        width=video["width"],
        height=video["height"],
        rate=video["avg_frame_rate"],
        frames=int(video["nb_read_frames"]),
        has_audio=any(stream["codec_type"] == "audio" for stream in streams),
    )


def cut(film: Path, frames: int, clip: Path) -> Path:
    """The first frames of a film, bit for bit in lossless H.264, with their sound."""
    command = [*_reading(film), "-map", "0:v:0", "-map", "0:a?", "-frames:v", str(frames), "-shortest"]
    command += ["-fps_mode", "passthrough", "-c:v", "libx264", "-preset", "ultrafast", "-qp", "0"]
    _said([*command, "-g", str(KEYFRAMES_APART), "-c:a", "copy", str(clip)])
    found = probe(clip).frames
    if found != frames:
        raise SystemExit(f"{film} has {found} frames, {frames} were asked for")
    return clip


def repeat(clip: Path, times: int, longer: Path) -> Path:
    """A clip played several times over, nothing encoded again."""
    _said([*_reading(clip, "-stream_loop", str(times - 1)), "-map", "0", "-c", "copy", str(longer)])
    return longer


def psnr_db(one: Path, other: Path) -> float:
    """How near two films are, over all frames and planes; infinite for equal ones."""
    command = ["ffmpeg", "-v", "info", "-nostdin", "-i", str(one), "-i", str(other)]
    said = _said([*command, "-lavfi", "[0:v][1:v]psnr", "-f", "null", "-"]).stderr
    found = re.search(r"average:(inf|[\d.]+)", said)
    if found is None:
        raise SystemExit(f"{one} and {other} cannot be compared: {said[-500:]}")
    return float(found[1])


def _reading(film: Path, *options: str) -> list[str]:
    return ["ffmpeg", "-v", "error", "-nostdin", "-y", *options, "-i", str(film)]


def _said(command: list[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-500:]}")
    return done
