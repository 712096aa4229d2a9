"""What kinds of picture files there are: signatures, extensions, and what each can hold. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

from farm.errors import ErrorKind, ItemError

HEAD_BYTES = 4096
"""how much of a file's beginning `sniff` wants to see"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatSpec:
    """One kind of picture file."""

    name: str
    extensions: tuple[str, ...]
    """lower case, without the dot; the first is the usual one"""
    max_side_px: int
    """longest side that can be written; 0 for a format that is only read"""
    deep: bool
    """holds more than 8 bits a sample"""
    alpha: bool
    same: str
    """what `--format same` writes for a source of this kind"""


# JPEG's header has 16 bits for a side, libjpeg stops at 65 500; AVIF's limit is libvips' own.
FORMATS: Mapping[str, FormatSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            FormatSpec(
                name="png", extensions=("png", "apng"), max_side_px=10_000_000, deep=True, alpha=True, same="png"
            ),
            FormatSpec(
                name="jpg",
                extensions=("jpg", "jpeg", "jpe", "jfif"),
                max_side_px=65_500,
                deep=False,
                alpha=False,
                same="jpg",
            ),
            FormatSpec(name="webp", extensions=("webp",), max_side_px=16_383, deep=False, alpha=True, same="webp"),
            FormatSpec(
                name="tiff", extensions=("tiff", "tif"), max_side_px=10_000_000, deep=True, alpha=True, same="tiff"
            ),
            FormatSpec(name="avif", extensions=("avif",), max_side_px=16_384, deep=True, alpha=True, same="avif"),
            FormatSpec(name="gif", extensions=("gif",), max_side_px=0, deep=False, alpha=True, same="png"),
            FormatSpec(name="heic", extensions=("heic", "heif"), max_side_px=0, deep=True, alpha=True, same="avif"),
        )
    }
)

EXTENSIONS: Mapping[str, str] = MappingProxyType(
    {extension: spec.name for spec in FORMATS.values() for extension in spec.extensions}
)
"""lower-case extension without the dot -> format"""

FORMAT_LIMITS: Mapping[str, int] = MappingProxyType(
    {spec.name: spec.max_side_px for spec in FORMATS.values() if spec.max_side_px}
)
"""format that can be written -> longest side in pixels"""


def format_of(url: str) -> str | None:
    """The format that a path's or URL's extension stands for, or None."""
    path = urlsplit(url).path if "://" in url else url
    name = path.rsplit("/", 1)[-1]
    return EXTENSIONS.get(name.rsplit(".", 1)[-1].lower()) if "." in name else None


def same_format(source_format: str) -> str:
    """What is written for a source of this format when nobody asked for another: itself where it can be written."""
    return FORMATS[source_format].same


def check_fits(format: str, width: int, height: int) -> str | None:
    """None when the format can hold a picture of this size in pixels, else the sentence that says why not."""
    limit = FORMAT_LIMITS.get(format)
    if limit is None:
        return f"{format} cannot be written"
    if max(width, height) <= limit:
        return None
    return f"{width}x{height} does not fit into {format}, whose sides end at {limit} pixels"


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
