"""XMP: what made a file is written into it, and what others wrote stays, as far as it is still true.

Packets are edited as text, so that properties we know nothing about keep their bytes (XMP specification part 1, 7).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

NAMESPACE = "urn:farm:restored:1.0/"
"""the farm's own XMP namespace, always bound to the prefix `farm`"""

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_EMPTY = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    f' <rdf:RDF xmlns:rdf="{_RDF}">\n'
    " </rdf:RDF>\n"
    "</x:xmpmeta>\n"
    '<?xpacket end="w"?>'
)
_OURS = re.compile(rf"\s*<(\w+):Description [^<>]*xmlns:farm=\"{re.escape(NAMESPACE)}\"[^<>]*/>")
_END = re.compile(r"\s*</(\w+):RDF\s*>(?!.*</\w+:RDF\s*>)", re.DOTALL)
_EMPTY_RDF = re.compile(r"<(\w+):RDF([^<>]*)/>")
_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_CONTROL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def upright_xmp(packet: bytes | None, width: int, height: int) -> bytes | None:
    """A packet whose orientation and pixel dimensions are those of an upright picture of this size.

    Only properties that are there are changed. A packet that is not well-formed is dropped: None.
    """
    text = _parse(packet)
    if text is None:
        return None
    for name, value in (
        ("tiff:Orientation", 1),
        ("tiff:ImageWidth", width),
        ("tiff:ImageLength", height),
        ("exif:PixelXDimension", width),
        ("exif:PixelYDimension", height),
    ):
        text = re.sub(rf"({name}\s*=\s*[\"'])\s*\d+\s*([\"'])", rf"\g<1>{value}\g<2>", text)
        text = re.sub(rf"(<{name}[^<>]*>)\s*\d+\s*(</{name}\s*>)", rf"\g<1>{value}\g<2>", text)
    return text.encode()


def stamped_xmp(packet: bytes | None, stamp: Mapping[str, str]) -> bytes:
    """A packet with the stamp as attributes in `NAMESPACE`, beside what was there; an earlier stamp is replaced.

    Raises:
        ValueError: a key is not an XML name.
    """
    text = _OURS.sub("", _parse(packet) or _EMPTY)
    text = _EMPTY_RDF.sub(r"<\1:RDF\2></\1:RDF>", text)
    if not _END.search(text):  # well-formed, but no RDF to write into
        text = _EMPTY
    prefix = _prefix(text)
    attributes = "".join(f"\n    farm:{_name(key)}={quoteattr(_CONTROL.sub(' ', stamp[key]))}" for key in stamp)
    ours = f'\n  <{prefix}:Description {prefix}:about="" xmlns:farm="{NAMESPACE}"{attributes}/>'
    return _END.sub(lambda end: ours + end.group(0), text).encode()


def _parse(packet: bytes | None) -> str | None:
    """The packet as text, or None when there is none that may be trusted."""
    if packet is None:
        return None
    head = packet[:4]
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    try:
        text = packet.decode(encoding).strip("\0\ufeff \t\r\n")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:  # XMP has neither; an expander of entities is an attack
            return None
        ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError):
        return None
    return text


def _prefix(text: str) -> str:
    match = _END.search(text)
    return match.group(1) if match else "rdf"


def _name(key: str) -> str:
    if not _NAME.fullmatch(key):
        raise ValueError(f"not an XML name: {key!r}")
    return key
