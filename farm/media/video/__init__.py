"""Films in and out: the door of this room, and the only user of PyAV.

`read_film` reads a film's packets once and cuts it into segments; `iter_frames` shows the frames of one segment, out of
a `FilmReader` that may stay open for the next one; `SegmentEncoder` encodes them once; `join_film` puts segments
together and copies all else. Films made of pictures, numbered or animated, go through the same door. `read_frames` and
`iter_chosen` show single frames by their numbers.
"""

from farm.kinds import is_sequence
from farm.media.video.chosen import FilmFrames, iter_chosen, read_frames
from farm.media.video.film import iter_frames, join_film, read_film
from farm.media.video.pictures.sequence import stat as sequence_stat
from farm.media.video.pictures.still_frames import encode_still, frame_name, sequence_index, turned
from farm.media.video.read.damage import listed as frame_ranges
from farm.media.video.read.reader import FilmReader
from farm.media.video.values import DecoderConfig, FilmCut, Frame, Joined
from farm.media.video.write.encode import SegmentEncoder
from farm.media.video.write.loss import left_behind
from farm.media.video.write.memory import encoder_bytes
from farm.media.video.write.piece import UnfitPiecesError

__all__ = [
    "DecoderConfig",
    "FilmCut",
    "FilmFrames",
    "FilmReader",
    "Frame",
    "Joined",
    "SegmentEncoder",
    "UnfitPiecesError",
    "encode_still",
    "encoder_bytes",
    "frame_name",
    "frame_ranges",
    "is_sequence",
    "iter_chosen",
    "iter_frames",
    "join_film",
    "left_behind",
    "read_film",
    "read_frames",
    "sequence_index",
    "sequence_stat",
    "turned",
]
