"""What must be equal between a film and what the farm made of it, as an independent reader sees both."""

from __future__ import annotations

from fractions import Fraction

from ..media_reader import Packet, Probe
from ..moving_pattern import frame_number


def check_times(source: Probe, output: Probe) -> None:
    """Every frame is shown when it was, to a tick; a film that starts before 0 may be moved where nothing may."""
    there, here = source.times(), output.times()
    assert len(here) == len(there), f"{len(there)} frames in, {len(here)} out"
    shift = shift_of(source, output)
    tick = output.time_base()
    pairs = enumerate(zip(there, here, strict=True))
    late = {number: (float(a), float(b)) for number, (a, b) in pairs if abs(b - a - shift) > tick}
    assert not late, f"times moved by more than a tick of {tick} besides {float(shift)} s: {late}"


def shift_of(source: Probe, output: Probe) -> Fraction:
    """By how much the whole film was moved: 0, or so far that its first frame or its first sound starts at 0."""
    shift = output.times()[0] - source.times()[0]
    tick = max(output.time_base(), Fraction(1, 1000))
    if abs(shift) <= output.time_base():
        return Fraction(0)
    first = first_time(source)
    assert first < 0, f"moved by {float(shift)} s although nothing starts before 0"
    assert abs(output.times()[0]) <= tick or abs(shift + first) <= tick, f"moved by {float(shift)} s"
    return shift


def first_time(probe: Probe) -> Fraction:
    """The earliest of what is copied or restored: sound, and shown frames of the film."""
    sound = [packet.pts for stream in probe.streams("audio") for packet in probe.packets(stream)]
    return min([probe.times()[0], *(pts for pts in sound if pts is not None)])


def check_sound(source: Probe, output: Probe) -> None:
    """Every audio stream bit for bit, in sync with the frames."""
    wanted, found = source.sound(), output.sound()
    assert [len(stream) for stream in found] == [len(stream) for stream in wanted]
    assert found == wanted
    shift = shift_of(source, output)
    for before, after in zip(source.streams("audio"), output.streams("audio"), strict=True):
        assert after["codec_name"] == before["codec_name"]
        tick = Fraction(after["time_base"]) + Fraction(1, 1000)
        gaps = time_gaps(source.packets(before), output.packets(after), shift)
        moved = [float(gap) for gap in gaps if abs(gap - shift) > tick]
        assert not moved, f"sound moved by {moved[:5]} s where the film moved by {float(shift)} s"
    assert output.tags("audio") == source.tags("audio")
    assert output.dispositions("audio") == source.dispositions("audio")


def time_gaps(before: list[Packet], after: list[Packet], shift: Fraction) -> list[Fraction]:
    """How far packets were moved, each by its own time.

    A packet may lose its time only where nothing can say it: before 0, where the source does not say it either.
    """
    gaps: list[Fraction] = []
    for number, (a, b) in enumerate(zip(before, after, strict=True)):
        if a.pts is not None and b.pts is not None:
            gaps.append(b.pts - a.pts)
        else:
            assert a.pts is None or a.pts + shift < 0, f"packet {number} of {a.pts} s says no time any more"
    return gaps


def check_subtitles(source: Probe, output: Probe) -> None:
    """Every subtitle stream with its words, times, languages and marks."""
    assert output.tags("subtitle") == source.tags("subtitle")
    assert output.dispositions("subtitle") == source.dispositions("subtitle")
    shift = shift_of(source, output)
    for before, after in zip(source.texts(), output.texts(), strict=True):
        assert [words for _, words in after] == [words for _, words in before]
        assert all(abs(b - a - shift) < 0.003 for (a, _), (b, _) in zip(before, after, strict=True))


def check_rest(source: Probe, output: Probe) -> None:
    """Chapters, attachments, cover art, further video tracks and what people wrote."""
    shift = shift_of(source, output)
    assert [title for *_, title in output.chapters()] == [title for *_, title in source.chapters()]
    for (a0, a1, _), (b0, b1, _) in zip(source.chapters(), output.chapters(), strict=True):
        assert abs(b0 - a0 - shift) < Fraction(3, 1000)
        assert abs(b1 - a1 - shift) < Fraction(3, 1000) + (shift if shift else 0)
    assert [attached(output, stream) for stream in output.streams("attachment")] == [
        attached(source, stream) for stream in source.streams("attachment")
    ]
    covers = [[packet.digest for packet in source.packets(stream)] for stream in source.covers]
    assert [[packet.digest for packet in output.packets(stream)] for stream in output.covers] == covers
    assert output.metadata().items() >= source.metadata().items()
    assert output.tags("video") == source.tags("video")
    others = [stream["index"] for stream in source.streams("video")].index(source.video["index"])
    wanted, found = source.digests("video"), output.digests("video")
    assert len(found) == len(wanted)
    assert found[:others] + found[others + 1 :] == wanted[:others] + wanted[others + 1 :]


def attached(probe: Probe, stream: dict[str, object]) -> tuple[str, str, object]:
    """Name, kind and size of an attached file."""
    tags = stream["tags"]
    assert isinstance(tags, dict), probe.path
    return tags["filename"], tags["mimetype"], stream.get("extradata_size")


def check_picture(source: Probe, output: Probe, scale: int) -> None:
    """Size, aspect, rotation, colours and HDR metadata."""
    for side in ("width", "height"):
        assert output.video[side] == source.video[side] * scale
    assert output.aspect() == source.aspect()
    assert output.matrix() == source.matrix()
    assert output.colour().items() >= source.colour().items()
    assert output.mastering() == source.mastering()
    depths = output.depth(), source.depth()
    assert depths[0] == depths[1] or depths[0] > depths[1] > 10, depths  # ffv1 has no alpha of 12 bits, but of 16
    assert output.video.get("field_order") in (None, "progressive", "unknown")


def check_numbers(output: Probe, frames: int) -> None:
    """Every frame is itself: none lost, repeated or out of order."""
    assert output.complaints() == ""
    assert [frame_number(pixels) for pixels in output.rgb()] == list(range(frames))
