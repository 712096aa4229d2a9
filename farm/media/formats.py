"""What kinds of picture files there are: signatures, extensions, and what each can hold. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from farm.errors import ErrorKind, ItemError
from farm.kinds import EXTENSION_FORMATS, FORMAT_LIMITS, PICTURE_EXTENSIONS, extension_of

HEAD_BYTES = 4096
"""how much of a file's beginning `sniff` wants to see"""

EXTENSIONS: Mapping[str, str] = MappingProxyType(
    {**EXTENSION_FORMATS, "apng": "png", "gif": "gif", "heic": "heic", "heif": "heic"}
)
"""lower-case extension without the dot -> format, of all that is read"""

DEEP_FORMATS = frozenset({"png", "tiff", "avif"})
"""hold more than 8 bits a sample (AVIF 12 of 16)"""
ALPHA_FORMATS = frozenset({"png", "tiff", "avif", "webp"})
SOUGHT_FORMATS = frozenset({"tiff"})
"""go back to their beginning while they are written; the others only grow"""


def format_of(url: str) -> str | None:
    """The format that a path's or URL's extension stands for, or None."""
    return EXTENSIONS.get(extension_of(url))


def misnamed(url: str, file_format: str) -> str | None:
    """A warning when the name says one kind of picture and the content another; the content is believed."""
    extension = extension_of(url)
    if extension not in PICTURE_EXTENSIONS or EXTENSIONS.get(extension) == file_format:
        return None
    return f"named .{extension} but holds {file_format}"


def check_fits(file_format: str, width: int, height: int) -> str | None:
    """None when the format can hold a picture of this size in pixels, else the sentence that says why not."""
    limit = FORMAT_LIMITS.get(file_format)
    if limit is None:
        return f"{file_format} cannot be written"
    if max(width, height) <= limit:
        return None
    return f"{width}x{height} does not fit into {file_format}, whose sides end at {limit} pixels"


_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpg"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"II+\0", "tiff"),
    (0, b"MM\0+", "tiff"),
)

_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"BM", "BMP"),
    (b"8BPS", "Photoshop"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"v/1\x01", "OpenEXR"),
    (b"P5", "PNM"),
    (b"P6", "PNM"),
    (b"\0\0\x01\0", "ICO"),
    (b"%PDF", "PDF"),
    (b"DDS ", "DDS"),
    (b"qoif", "QOI"),
    (b"#?RADIANCE", "Radiance HDR"),
)

_MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<error", b"<head", b"<body", b"{", b"[")


def sniff(head: bytes, url: str) -> str:
    """The format of a file by its first bytes, whatever its name says.

    Args:
        head: the first `HEAD_BYTES` bytes, or all of a shorter file.

    Raises:
        ItemError: EMPTY_INPUT, NOT_AN_IMAGE, CORRUPT (a damaged signature), TRUNCATED (shorter than a signature) or
            UNSUPPORTED (a picture of a kind that is not read).
    """
    if not head:
        raise ItemError(ErrorKind.EMPTY_INPUT, url, "0 bytes", "copy the file again from where it came")
    for offset, magic, name in _MAGIC:
        if head.startswith(magic, offset):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return _sniff_heif(head, url)
    raise _refusal(head, url)


def _sniff_heif(head: bytes, url: str) -> str:
    """AVIF and HEIC share one container; the brands of its first box tell them apart."""
    box = head[8 : int.from_bytes(head[:4], "big")]
    brands = {box[0:4], *(box[at : at + 4] for at in range(8, len(box), 4))}
    if brands & {b"avif", b"avis"}:
        return "avif"
    if brands & {b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1"}:
        return "heic"
    raise ItemError(ErrorKind.NOT_AN_IMAGE, url, "a film or sound file", "list it in a manifest of videos")


def _refusal(head: bytes, url: str) -> ItemError:
    """Why a file without a known signature is refused."""
    if head[1:4] == b"PNG" or head[:8] in (b"\x89PNG\n\x1a\n", b"PNG\r\n\x1a\n"):
        return ItemError(
            ErrorKind.CORRUPT, url, "a damaged PNG signature", "copy it again in binary mode, without line conversion"
        )
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text[:1024]:
        return ItemError(ErrorKind.UNSUPPORTED, url, "SVG, a drawing without pixels", "render it to PNG first")
    if text.startswith(_MARKUP):
        return ItemError(
            ErrorKind.NOT_AN_IMAGE, url, "a web page or error message in text", "fetch the picture again, check its URL"
        )
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            return ItemError(ErrorKind.UNSUPPORTED, url, f"a {name} file", "convert it to PNG or TIFF first")
    if any(magic.startswith(head) for _, magic, _ in _MAGIC):
        return ItemError(ErrorKind.TRUNCATED, url, f"only {len(head)} bytes", "copy the file again")
    return ItemError(
        ErrorKind.NOT_AN_IMAGE, url, f"no known signature (starts with {head[:8].hex(' ')})", "remove the row"
    )
