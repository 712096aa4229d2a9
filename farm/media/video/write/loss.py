"""What of a film its output does not hold and nothing else says: what lies beside pictures, and inside of frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import BinaryIO, cast

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.sidedata.sidedata import Type
from av.stream import AttachmentStream, Disposition, Stream
from av.subtitles.stream import SubtitleStream
from av.video.stream import VideoStream

from farm.film import FilmPlan
from farm.media.video.faults import check_memory
from farm.media.video.hdr import side_data
from farm.media.video.pictures.film import is_pictures
from farm.media.video.read.source import opened
from farm.media.video.write.late import demuxed
from farm.params import UpscaleParams

_IN_FRAMES: Mapping[Type, str] = MappingProxyType(
    {
        Type.A53_CC: "closed captions",
        Type.DYNAMIC_HDR_PLUS: "HDR10+ metadata",
        Type.DYNAMIC_HDR_VIVID: "HDR Vivid metadata",
        Type.DOVI_RPU_BUFFER: "Dolby Vision metadata",
        Type.DOVI_METADATA: "Dolby Vision metadata",
        Type.SPHERICAL: "spherical (360 degrees) metadata",
        Type.STEREO3D: "stereo 3D metadata",
    }
)
"""what decoders hand out with frames and encoders are not given"""
_FRAMES, _PACKETS = 4, 64
"""looked at for it, at most: films that have it have it in every frame, or in every group of a few"""


def left_behind(source: BinaryIO | None, url: str, film: FilmPlan, params: UpscaleParams) -> str | None:
    """What a film has beside the frames that become pictures, counted; sound only where it was asked for.

    Args:
        source: seekable; not closed. None: the film is made of pictures.
        url: of the source; an animated picture has nothing beside its frames.

    Raises:
        ItemError: as `opened` says.
    """
    if source is None or is_pictures(url):
        return None
    sound = params.video is None or params.video.audio != "none"
    with opened(source, url) as container:
        chapters = len(container.chapters())
        others = [stream for stream in container.streams if stream.index != film.stream_index]
        kinds = [_kind(stream) for stream in others if sound or not isinstance(stream, AudioStream)]
    counts = Counter(kind for kind in kinds if kind != "data track" or not chapters)  # MP4 has a track of chapters
    counts["chapter"] = chapters
    parts = [f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count]
    if not parts:
        return None
    listed = " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
    verb = "is" if sum(counts.values()) == 1 else "are"
    return f"{listed} {verb} left behind: pictures hold none"


def lost_in_frames(container: InputContainer, stream_index: int, output: str) -> str | None:
    """What lies inside of the film's first frames and is not in restored ones.

    Decodes a few frames from where the container stands, which is its beginning.

    Args:
        output: container that the film becomes.
    """
    stream, found, frames = container.streams[stream_index], dict[str, None](), 0
    tagged = output in ("mkv", "webm") and "stereo_mode" in stream.metadata  # from Matroska, and so into it
    lost = {kind: name for kind, name in _IN_FRAMES.items() if not (tagged and kind is Type.STEREO3D)}
    try:
        for number, packet in enumerate(demuxed(container, [stream])):
            for frame in cast("Packet[VideoStream]", packet).decode() if packet.size else ():
                found |= dict.fromkeys(lost[side.type] for side in side_data(frame) if side.type in lost)
                frames += 1
            if frames >= _FRAMES or number >= _PACKETS:
                break
    except FFmpegError as error:  # damage was judged when the frames were restored; here is only something to say
        check_memory(error)
    return f"{' and '.join(found)} in the frames {'is' if len(found) == 1 else 'are'} not kept" if found else None


def _kind(stream: Stream) -> str:
    if isinstance(stream, AudioStream):
        return "sound track"
    if isinstance(stream, SubtitleStream):
        return "subtitle track"
    if isinstance(stream, AttachmentStream):
        return "attachment"
    if isinstance(stream, VideoStream):
        return "cover picture" if stream.disposition & Disposition.attached_pic else "video track"
    return "data track"
