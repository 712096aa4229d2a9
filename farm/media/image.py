"""Pictures in and out: the door of this room.

`read_header`, `decode` and `decode_rows` refuse by rule and give upright pixels; `encode` makes a file of them with
what travelled along; `encode_piece` and `join_pieces` put a large picture together from bands in bounded memory;
`jpeg_quality` says how a file was saved.
"""

from farm.kinds import FORMAT_LIMITS
from farm.media.decode import decode, decode_rows, prove, read_header
from farm.media.encode import check_holds, encode, encode_piece
from farm.media.formats import EXTENSIONS, SOUGHT_FORMATS, check_fits, format_of
from farm.media.join import join_pieces
from farm.media.jpeg_quality import jpeg_quality
from farm.media.picture import EncodeSpec, ImageHeader, ImageMeta, Picture, Pixels, ReadLimits, Source
from farm.media.stamp import NAMESPACE

__all__ = [
    "EXTENSIONS",
    "FORMAT_LIMITS",
    "NAMESPACE",
    "SOUGHT_FORMATS",
    "EncodeSpec",
    "ImageHeader",
    "ImageMeta",
    "Picture",
    "Pixels",
    "ReadLimits",
    "Source",
    "check_fits",
    "check_holds",
    "decode",
    "decode_rows",
    "encode",
    "encode_piece",
    "format_of",
    "join_pieces",
    "jpeg_quality",
    "prove",
    "read_header",
]
