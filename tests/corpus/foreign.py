"""What is no picture that is read: pages, scripts, drawings and formats of others, under the names of pictures.

Some name a URL; whoever renders them asks it. `asked` says where, so that a test can see that nobody did.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator

from tests.corpus.case import FOREIGN, Case

NOWHERE = "http://127.0.0.1:9/canary"


def foreign(asked: str = NOWHERE) -> Iterator[Case]:
    """All of this file."""
    for number in (0, 1):
        ends = frozenset({"empty_input"} if number == 0 else FOREIGN)
        for extension in ("png", "jpg", "webp", "tif", "gif", "avif"):
            yield Case(name=f"tiny/{number}-byte-{extension}.{extension}", data=b"x" * number, ends=ends)
    for name, head in (("png", b"\x89PNG"), ("jpg", b"\xff\xd8"), ("webp", b"RIFF"), ("tif", b"II*"), ("gif", b"GIF8")):
        ends = FOREIGN | frozenset({"truncated", "corrupt"})
        for length in range(1, len(head) + 1):
            yield Case(name=f"tiny/head-{length}-{name}.{name}", data=head[:length], ends=ends)
    for family, files in (("pages", _PAGES), ("drawings", _drawings(asked)), ("formats", _FORMATS)):
        for at, (name, data) in enumerate(files.items()):
            extension = ("jpg", "png", "webp", "tif", "gif", "avif")[at % 6]
            yield Case(name=f"{family}/{name}.{extension}", data=data, ends=FOREIGN)
            other = "png" if extension == "jpg" else "jpg"
            yield Case(name=f"{family}/{name}-too.{other}", data=data + b"\n" * 40, ends=FOREIGN)


_PAGES = {
    "html": b"<!DOCTYPE html>\n<html><body><h1>404 Not Found</h1></body></html>",
    "html-late": b"\n" * 900 + b"<html><body>error</body></html>",
    "html-bom": b"\xef\xbb\xbf<html><body>error</body></html>",
    "html-utf16": "<!DOCTYPE html><html>error</html>".encode("utf-16"),
    "xml": b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>gone</Message></Error>',
    "denied": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "json": b'{"error": {"code": 404, "message": "not found"}}',
    "text": b"this is no picture at all\n" * 9,
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n",
    "php": b"<?php system($_GET['c']); ?>",
    "script": b"#!/bin/sh\ntouch /tmp/owned\n",
    "numbers": b"1 2 3\n4 5 6\n7 8 9\n",
    "matrix": b"3 3\n1 2 3\n4 5 6\n7 8 9\n",
    "csv": b"1,2,3\n4,5,6\n",
    "spaces": b" " * 4096,
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "http": b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n\x1a\n",
    "base64": b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
    "data-url": b"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
}


def _drawings(asked: str) -> dict[str, bytes]:
    svg, use = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
    entity = (
        f'<!DOCTYPE svg [<!ENTITY x SYSTEM "{asked}">]><svg xmlns="{svg}" width="9" height="9"><text>&x;</text></svg>'
    )
    laughs = '<!DOCTYPE svg [<!ENTITY a0 "ha">'
    laughs += "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    return {
        "svg": f'<svg xmlns="{svg}" width="9" height="9"/>'.encode(),
        "svg-xml": f'<?xml version="1.0"?>\n<svg xmlns="{svg}" width="9" height="9"/>'.encode(),
        "svg-image": f'<svg xmlns="{svg}" xmlns:x="{use}"><image x:href="{asked}"/></svg>'.encode(),
        "svg-file": f'<svg xmlns="{svg}" xmlns:x="{use}"><image x:href="file:///etc/passwd"/></svg>'.encode(),
        "svg-entity": entity.encode(),
        "svg-laughs": f'{laughs}]><svg xmlns="{svg}"><text>&a9;</text></svg>'.encode(),
        "svg-late": b"<!-- " + b"x" * 2000 + f' --><svg xmlns="{svg}" width="9" height="9"/>'.encode(),
        "svgz": gzip.compress(f'<svg xmlns="{svg}"/>'.encode(), mtime=0),
        "mvg": f"push graphic-context\nviewbox 0 0 9 9\nimage over 0,0 0,0 '{asked}'\npop graphic-context\n".encode(),
        "mvg-shell": b"push graphic-context\nfill 'url(https://x/\"|touch /tmp/owned\")'\npop graphic-context\n",
        "msl": f'<?xml version="1.0"?><image><read filename="{asked}"/></image>'.encode(),
        "ps": b"%!PS-Adobe-3.0\n(/etc/passwd) (r) file\nshowpage\n",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%pipe%touch /tmp/owned\nshowpage\n",
        "eps-dos": b"\xc5\xd0\xd3\xc6" + bytes(28) + b"%!PS\n",
        "pdf": b"%PDF-1.7\n1 0 obj\n<</Type/Catalog>>\nendobj\ntrailer<</Root 1 0 R>>\n",
        "url": f"[InternetShortcut]\nURL={asked}\n".encode(),
        "playlist": f"#EXTM3U\n{asked}\n".encode(),
        "dash": f'<?xml version="1.0"?><MPD><BaseURL>{asked}</BaseURL></MPD>'.encode(),
        "vrt": f"<VRTDataset><SourceFilename>/vsicurl/{asked}</SourceFilename></VRTDataset>".encode(),
    }  # fmt: skip


_FORMATS = {
    "bmp": b"BM" + bytes(60),
    "photoshop": b"8BPS\0\1" + bytes(60),
    "jxl": b"\xff\x0a" + bytes(60),
    "jxl-box": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(60),
    "jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
    "j2k": b"\xff\x4f\xff\x51" + bytes(60),
    "exr": b"v/1\x01" + bytes(60),
    "pbm": b"P1\n2 2\n0 1 1 0\n",
    "pgm": b"P2\n2 2\n255\n0 1 2 3\n",
    "ppm": b"P6\n2 2\n255\n" + bytes(12),
    "pfm": b"PF\n2 2\n-1.0\n" + bytes(48),
    "pam": b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 3\nMAXVAL 255\nENDHDR\n" + bytes(12),
    "ico": b"\0\0\1\0\1\0" + bytes(60),
    "cursor": b"\0\0\2\0\1\0" + bytes(60),
    "dds": b"DDS " + bytes(124),
    "qoi": b"qoif" + bytes(60),
    "hdr": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 2 +X 2\n" + bytes(16),
    "fits": b"SIMPLE  =                    T" + b" " * 2000,
    "nifti": b"\x5c\1\0\0" + bytes(344),
    "matlab": b"MATLAB 5.0 MAT-file" + bytes(200),
    "vips": b"\x08\xf2\xa6\xb6" + bytes(60),
    "xcf": b"gimp xcf file\0" + bytes(60),
    "tga": b"\0\0\2" + bytes(9) + b"\2\0\2\0\x18\0" + bytes(12),
    "pcx": b"\x0a\5\1\x08" + bytes(124),
    "sun": b"\x59\xa6\x6a\x95" + bytes(60),
    "sgi": b"\1\xda\0\1" + bytes(508),
    "xbm": b"#define x_width 8\n#define x_height 1\nstatic char x_bits[] = { 0x00 };\n",
    "xpm": b'/* XPM */\nstatic char *x[] = {"1 1 1 1","a c #000000","a"};\n',
    "wmf": b"\xd7\xcd\xc6\x9a" + bytes(60),
    "emf": b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(60),
    "dicom": bytes(128) + b"DICM" + bytes(60),
    "djvu": b"AT&TFORM" + bytes(60),
    "mp4": b"\0\0\0\x18ftypisom\0\0\0\0isomavc1" + bytes(60),
    "mkv": b"\x1a\x45\xdf\xa3" + bytes(60),
    "avi": b"RIFF\x40\0\0\0AVI LIST" + bytes(60),
    "wav": b"RIFF\x40\0\0\0WAVEfmt " + bytes(60),
    "zip": b"PK\3\4" + bytes(60),
    "gzip": b"\x1f\x8b\x08" + bytes(60),
    "elf": b"\x7fELF\2\1\1" + bytes(60),
    "exe": b"MZ" + bytes(60),
    "sqlite": b"SQLite format 3\0" + bytes(60),
    "pickle": b"\x80\4cos\nsystem\n(S'touch /tmp/owned'\ntR.",
    "ogg": b"OggS" + bytes(60),
    "mng": b"\x8aMNG\r\n\x1a\n" + bytes(60),
    "jng": b"\x8bJNG\r\n\x1a\n" + bytes(60),
}
