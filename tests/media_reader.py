"""The independent reader of films: Debian's ffprobe and ffmpeg, which share no code of ours and no build with PyAV."""

from __future__ import annotations

import functools
import json
import re
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .moving_pattern import run_ffmpeg
from .outside import require_ffmpeg

Record = dict[str, Any]
COLOUR_KEYS = ("color_range", "color_space", "color_transfer", "color_primaries")
UNSAID = ("unknown", "unspecified", "reserved", None)


@dataclass(frozen=True)
class Packet:
    """What is stored of one packet."""

    pts: Fraction | None
    """seconds"""
    duration: Fraction | None
    """seconds"""
    digest: str
    """of the data, as ffprobe writes it"""
    shown: bool
    """false for what an edit list leaves out"""


def track_names(path: Path) -> list[str]:
    """The `name` of each track of an MP4 or MOV; empty where it has none."""

    def boxes(data: bytes, name: bytes) -> list[bytes]:
        found, at = list[bytes](), 0
        while at + 8 <= len(data):
            size, head = int.from_bytes(data[at : at + 4], "big"), 8
            if size == 1:
                size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
            size = size or len(data) - at
            if data[at + 4 : at + 8] == name:
                found.append(data[at + head : at + size])
            at += max(size, 8)
        return found

    tracks = [track for moov in boxes(path.read_bytes(), b"moov") for track in boxes(moov, b"trak")]
    named = [[one for udta in boxes(track, b"udta") for one in boxes(udta, b"name")] for track in tracks]
    return [names[0].rstrip(b"\0").decode() if names else "" for names in named]


class Probe:
    """Everything that a test wants to know of one film. Looked up when it is asked for, once."""

    def __init__(self, path: Path) -> None:
        require_ffmpeg()
        self.path = path
        # Of a transport stream of fewer than ten packets FFmpeg takes the packets' heads for video.
        named = ("-f", "mpegts") if path.suffix == ".ts" else ()
        self._input = (*named, "-i", str(path))
        self._decoded: dict[str, tuple[bytes, str]] = {}

    @functools.cached_property
    def head(self) -> Record:
        """Streams, chapters, container, packets and frames: all that one reading tells."""
        what = ("streams", "chapters", "format", "packets", "frames")
        show = [f"-show_{name}" for name in what]
        command = ["ffprobe", "-v", "error", "-of", "json", *show, "-show_data_hash", "md5", *self._input]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, f"{self.path}: {done.stderr.decode()}"
        return json.loads(done.stdout)

    @functools.cached_property
    def frames(self) -> list[Record]:
        """Every frame of the film that a decoder shows, with its side data."""
        return [row for row in self._rows("frame") if row["stream_index"] == self.video["index"]]

    def _rows(self, kind: str) -> list[Record]:
        return [row for row in self.head["packets_and_frames"] if row["type"] == kind]

    def streams(self, kind: str) -> list[Record]:
        """Streams of one kind in their order: video, audio, subtitle, attachment. Cover art is no video here."""
        found = [stream for stream in self.head["streams"] if stream.get("codec_type") == kind]
        return [stream for stream in found if not stream["disposition"]["attached_pic"]] if kind == "video" else found

    @property
    def video(self) -> Record:
        """The film's own video stream: the one of most samples a second, as FFmpeg chooses among several."""
        chosen = [stream for stream in self.streams("video") if stream["disposition"]["default"]]
        return (chosen or self.streams("video"))[0]

    @property
    def covers(self) -> list[Record]:
        """Cover art, as streams."""
        return [stream for stream in self.head["streams"] if stream["disposition"]["attached_pic"]]

    @property
    def attachments(self) -> list[Record]:
        """Attached files, pictures among them: Matroska's cover art is read as a picture by FFmpeg."""
        return [*self.streams("attachment"), *self.covers]

    def time_base(self) -> Fraction:
        """Seconds a tick of the film's video."""
        return Fraction(self.video["time_base"])

    def times(self) -> list[Fraction]:
        """Seconds at which each frame is shown, exact."""
        stamps = [frame.get("pts", frame.get("best_effort_timestamp")) for frame in self.frames]
        times = [None if stamp is None else int(stamp) * self.time_base() for stamp in stamps]
        for index, time in enumerate(times):
            if time is None:  # a program stream need not say it: the step before, once more
                before, last = times[index - 2], times[index - 1]
                assert before is not None, self.path
                assert last is not None, self.path
                times[index] = 2 * last - before
        return [time for time in times if time is not None]

    def packets(self, stream: Record) -> list[Packet]:
        """Packets of one stream, in the order of the file."""
        base = Fraction(stream["time_base"])

        def seconds(value: object) -> Fraction | None:
            return None if value is None else int(str(value)) * base

        return [
            Packet(seconds(row.get("pts")), seconds(row.get("duration")), row["data_hash"], "D" not in row["flags"])
            for row in self._rows("packet")
            if row["stream_index"] == stream["index"]
        ]

    def digests(self, kind: str) -> list[tuple[str, ...]]:
        """Digests of all packets, one tuple a stream of this kind."""
        return [tuple(packet.digest for packet in self.packets(stream)) for stream in self.streams(kind)]

    def sound(self) -> list[tuple[str, ...]]:
        """Digests of the audio packets, one tuple a stream; AAC without the headers that only MPEG streams need."""
        if self.head["format"]["format_name"] != "mpegts":
            return self.digests("audio")
        streams: list[tuple[str, ...]] = []
        for stream in self.streams("audio"):
            bare = ("-bsf:a", "aac_adtstoasc") if stream["codec_name"] == "aac" else ()
            how = ("-map", f"0:{stream['index']}", "-c", "copy", *bare, "-f", "framemd5", "-")
            lines = run_ffmpeg(*self._input, *how).decode().splitlines()
            streams.append(tuple(f"MD5:{line.split(',')[5].strip()}" for line in lines if not line.startswith("#")))
        return streams

    def texts(self) -> list[list[tuple[float, str]]]:
        """(second, words) of every subtitle, one list a stream: what a viewer reads, however it is stored."""
        found: list[list[tuple[float, str]]] = []
        for stream in self.streams("subtitle"):
            written = run_ffmpeg("-copyts", *self._input, "-map", f"0:{stream['index']}", "-f", "srt", "-").decode()
            cues = [cue.splitlines() for cue in written.strip().split("\n\n") if cue]
            found.append([(_seconds(cue[1]), re.sub(r"<[^>]+>", "", "\n".join(cue[2:]))) for cue in cues])
        return found

    def metadata(self) -> dict[str, str]:
        """Tags of the film that a person wrote; keys in lower case."""
        own = ("encoder", "major_brand", "minor_version", "compatible_brands", "creation_time", "duration")
        tags = self.head["format"].get("tags", {})
        return {key.lower(): value for key, value in tags.items() if key.lower() not in own}

    def tags(self, kind: str) -> list[dict[str, str]]:
        """Language and title of each stream of one kind; `und` and nothing said are the same.

        What MP4 and MOV call their tracks, Debian's ffprobe does not show.
        """
        names = track_names(self.path) if self.head["format"]["format_name"].startswith("mov,") else []
        rows = [
            {
                **({"title": names[stream["index"]]} if any(names[stream["index"] :][:1]) else {}),
                **stream.get("tags", {}),
            }
            for stream in self.streams(kind)
        ]
        return [
            {name: row[name] for name in ("language", "title") if row.get(name) not in (None, "und")} for row in rows
        ]

    def dispositions(self, kind: str) -> list[set[str]]:
        """Which marks each stream of one kind carries: default, forced, comment and so on."""
        return [{name for name, on in stream["disposition"].items() if on} for stream in self.streams(kind)]

    def chapters(self) -> list[tuple[Fraction, Fraction, str]]:
        """(start, end, title) in seconds."""
        return [
            (
                chapter["start"] * Fraction(chapter["time_base"]),
                chapter["end"] * Fraction(chapter["time_base"]),
                chapter.get("tags", {}).get("title", ""),
            )
            for chapter in self.head["chapters"]
        ]

    def colour(self) -> dict[str, str]:
        """Range, matrix, transfer and primaries, as far as they are said."""
        return {key: self.video[key] for key in COLOUR_KEYS if self.video.get(key) not in UNSAID}

    def aspect(self) -> Fraction:
        """Width by height of one sample; 1 where nothing is said."""
        width, _, height = self.video.get("sample_aspect_ratio", "1:1").partition(":")
        return Fraction(int(width), int(height)) if int(width) and int(height) else Fraction(1)

    def matrix(self) -> str | None:
        """The display matrix's upper 2x2, as ffprobe writes it; None: upright. Translations depend on the size."""
        for side in self.video.get("side_data_list", []):
            if "displaymatrix" in side:
                rows = [line.split()[1:3] for line in side["displaymatrix"].strip().splitlines()[:2]]
                return str([[int(value) for value in row] for row in rows])
        return None

    def mastering(self) -> dict[str, Any]:
        """HDR mastering display and content light level, of the container or of the first frame."""
        found: dict[str, Any] = {}
        for side in [*self.frames[0].get("side_data_list", []), *self.video.get("side_data_list", [])]:
            if side["side_data_type"] in ("Mastering display metadata", "Content light level metadata"):
                found |= {key: _number(value) for key, value in side.items() if key != "side_data_type"}
        return found

    def depth(self) -> int:
        """Bits a sample of the film's pixel format."""
        found = re.search(r"(?:p|gray)(\d+)(?:le|be)$", self.video["pix_fmt"])
        return int(found[1]) if found else 8

    def raw(self, pix_fmt: str) -> bytes:
        """All shown frames as raw samples, not rotated, none repeated or left out."""
        return self._decode(pix_fmt)[0]

    def _decode(self, pix_fmt: str) -> tuple[bytes, str]:
        """Samples, and what the decoder complained of."""
        if pix_fmt not in self._decoded:
            where = ("-noautorotate", *self._input, "-map", f"0:{self.video['index']}", "-fps_mode", "passthrough")
            how = ("-sws_flags", "accurate_rnd+full_chroma_int+bitexact", "-f", "rawvideo", "-pix_fmt", pix_fmt, "-")
            command = [require_ffmpeg(), "-nostdin", "-v", "error", *where, *how]
            done = subprocess.run(command, capture_output=True, check=False)
            lines = done.stderr.decode().splitlines()
            complaints = [line for line in lines if "to muxer in stream" not in line]  # that is about what we write
            self._decoded[pix_fmt] = done.stdout, "\n".join(complaints)
        return self._decoded[pix_fmt]

    def rgb(self) -> NDArray[np.uint8]:
        """All frames, NHWC."""
        return np.frombuffer(self.raw("rgb24"), np.uint8).reshape(-1, self.video["height"], self.video["width"], 3)

    def gbr(self, *, depth: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """All frames of a film that holds planar RGB of this depth, NHWC, sample by sample as they are stored."""
        raw = self.raw("gbrp" if depth == 8 else f"gbrp{depth}le")
        samples = np.frombuffer(raw, np.uint8) if depth == 8 else np.frombuffer(raw, "<u2").astype(np.uint16)
        planes = samples.reshape(-1, 3, self.video["height"], self.video["width"])
        return planes[:, [2, 0, 1]].transpose(0, 2, 3, 1)

    def frame_digests(self) -> list[str]:
        """Digest of each shown frame's samples in the film's own pixel format."""
        where = ("-map", f"0:{self.video['index']}", "-fps_mode", "passthrough")
        lines = run_ffmpeg("-noautorotate", *self._input, *where, "-f", "framemd5", "-").decode().splitlines()
        return [line.rpartition(",")[2].strip() for line in lines if not line.startswith("#")]

    def complaints(self) -> str:
        """What a decoder says against the film; empty when it is sound."""
        return self._decode("rgb24")[1]


def _seconds(cue: str) -> float:
    """When a cue `00:00:01,250 --> ...` begins."""
    hours, minutes, seconds = cue.split(" ")[0].replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _number(value: object) -> object:
    """Rationals that are written differently are equal: 34500/50000 is 69/100."""
    return float(Fraction(value)) if isinstance(value, str) and "/" in value else value
