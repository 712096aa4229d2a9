"""Joined films as an independent reader sees them, beside what they were made of."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from tests.farm.media.films import Source, probe

FAST = {"preset": "ultrafast"}
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-bf", "2", "-threads", "1")


def streams(path: Path, kind: str) -> list[dict[str, Any]]:
    """Streams of one kind but for cover art, as ffprobe shows them."""
    found = probe(path, "-show_streams")["streams"]
    return [one for one in found if one["codec_type"] == kind and not one["disposition"]["attached_pic"]]


def packets(path: Path, stream: int) -> list[tuple[Fraction, str]]:
    """(seconds, digest) of every packet."""
    found = probe(
        path,
        *("-select_streams", str(stream), "-show_entries", "packet=pts,data_hash:stream=time_base"),
        *("-show_data_hash", "md5"),
    )
    base = Fraction(found["streams"][0]["time_base"])
    return [(one["pts"] * base, one["data_hash"]) for one in found["packets"]]


def check_video(out: Path, source: Source) -> None:
    """Every frame is there, at its time within one tick of the output."""
    index = [one["index"] for one in streams(out, "video")][_rank(source)]
    found = probe(
        out, "-select_streams", str(index), "-show_entries", "frame=pts:stream=time_base,codec_name,sample_aspect_ratio"
    )
    base = Fraction(found["streams"][0]["time_base"])
    times = [frame["pts"] * base for frame in found["frames"]]
    wanted = [pts * source.film.time_base for pts in source.pts]
    assert len(times) == len(wanted)
    assert max(abs(one - other) for one, other in zip(times, wanted, strict=True)) < base
    if out.suffix in (".mp4", ".mov"):
        assert times == wanted
    shape = Fraction(found["streams"][0].get("sample_aspect_ratio", "1:1").replace(":", "/"))
    assert shape == (source.film.sample_aspect or 1)


def _rank(source: Source) -> int:
    """Which of the film's video streams is the restored one."""
    with av.open(str(source.path)) as container:
        return [one.index for one in container.streams.video].index(source.film.stream_index)


def check_copied(out: Path, path: Path, kind: str) -> None:
    """Every stream of a kind has the same packets, at their times within one tick."""
    ours, theirs = streams(out, kind), streams(path, kind)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one["codec_name"] == other["codec_name"]
        assert one["disposition"] == {**other["disposition"], "default": one["disposition"]["default"]}
        language = other.get("tags", {}).get("language", "und")
        assert one.get("tags", {}).get("language", "und") == language
        have, want = packets(out, one["index"]), packets(path, other["index"])
        assert [digest for _, digest in have] == [digest for _, digest in want]
        tick = max(Fraction(one["time_base"]), Fraction(other["time_base"]))
        assert all(abs(a - b) <= tick for (a, _), (b, _) in zip(have, want, strict=True))


def lavfi(graph: str, seconds: float = 1) -> tuple[str, ...]:
    """An input of FFmpeg's program that it makes itself."""
    return "-f", "lavfi", "-t", str(seconds), "-i", graph


PICTURE = lavfi("testsrc2=s=160x96:r=24")
