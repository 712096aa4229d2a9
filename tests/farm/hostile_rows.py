"""Rows of manifests that try to leave where they belong, to read what they must not, or to write over what is ours."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from farm.errors import ErrorKind
from tests.pictures import photo, png_of

HOSTILE = [
    "../a.png",
    "a/../../b.png",
    "a/..",
    "..",
    "/etc/../a.png",
    "/..",
    "./../a.png",
    "a/./../../b.png",
    "a\0.png",
    "\0",
    "\0../a.png",
    "a\ud800.png",
    "\udcff.png",
    ".",
    "./",
    "/",
    "a/",
    "a/.",
    "//",
    "http://host/a.png",
    "https://host/a.png",
    "HTTP://host/a.png",
    "ftp://host/a.png",
    "gs://bucket/a.png",
    "az://bucket/a.png",
    "hdfs://host/a.png",
    "ssh://host/a.png",
    "sftp://host/a.png",
    "smb://host/share/a.png",
    "data://text/plain,a",
    "memory://a.png",
    "github://org:repo@main/a.png",
    "reference://a.png",
    "local://a.png",
    "javascript://%0aalert(1)",
    "x-y.z+1://a.png",
    "simplecache::s3://bucket/a.png",
    "filecache::http://host/a.png",
    "zip://a.png::s3://bucket/a.zip",
    "s3://bucket/a.zip::http://host/a.png",
    "s3://bucket/http://host/a.png",
    "a/http://host/a.png",
    " http://host/a.png",
    "\nhttp://host/a.png",
    "s3://",
    "s3:///a.png",
    "s3://bucket",
    "s3://bucket/",
    "s3://KEY:SECRET@bucket/a.png",
    "s3://user@bucket/a.png",
    "s3://bucket:9000/a.png",
    "s3://b%2f/a.png",
    "s3://bu cket/a.png",
    "s3://-bucket/a.png",
    "s3://bucket/../other/a.png",
    "s3://bucket/a/..",
    "cos://bucket/a/../b.png",
    "cos:///a.png",
    "file://host/a.png",
    "file://../a.png",
    "file:///a/../b.png",
    "file:///a/%2e%2e/b.png",
    "file:///a%2f..%2fb.png",
    "file:///a%00.png",
    "file:///%ff.png",
    "file://",
    "file:///",
]
"""sources that no manifest may name, on a disk or a store: refused by what they are"""


@dataclass(frozen=True, kw_only=True)
class HostileRow:
    """A row that must fail, and how."""

    source: str
    kind: ErrorKind
    values: dict[str, object] = field(default_factory=dict)


def _row(source: str, kind: ErrorKind, /, **values: object) -> HostileRow:
    return HostileRow(source=source, kind=kind, values=values)


OUTPUTS = (
    "../stolen.png",
    "a/../../stolen.png",
    "/tmp/stolen.png",
    "//tmp/stolen.png",
    "file:///tmp/stolen.png",
    "s3://bucket/stolen.png",
    "a/http://host/stolen.png",
    ".farm/lock.png",
    ".farm/ledger/shard-00000.png",
    "./.farm/tmp/x.png",
    "a/.farm/x.png",
    "a/./../.farm/x.png",
    "a\0.png",
    "b" * 252 + ".png",
)
"""where outputs must not lie"""
FILES = (
    _row("fifo.png", ErrorKind.UNSUPPORTED),
    _row("folder.png", ErrorKind.MISSING),
    _row("leads.png", ErrorKind.UNSAFE_PATH),
    _row("leads/secret.png", ErrorKind.UNSAFE_PATH),
    _row("/dev/zero", ErrorKind.UNSUPPORTED, kind="image"),
    _row("/dev/stdin", ErrorKind.UNSUPPORTED, kind="image"),
    _row("/proc/self/mem", ErrorKind.EMPTY_INPUT, kind="image"),
    _row("/proc/self/environ", ErrorKind.EMPTY_INPUT, kind="image"),
    _row("//server/share/a.png", ErrorKind.MISSING),
    _row("\\\\server\\share\\a.png", ErrorKind.MISSING),
    _row("C:\\Windows\\a.png", ErrorKind.MISSING),
    _row("..\\secret.png", ErrorKind.MISSING),
    _row("..%2fsecret.png", ErrorKind.MISSING),
    _row("%2e%2e/secret.png", ErrorKind.MISSING),
    _row("~/secret.png", ErrorKind.MISSING),
    _row("$HOME/secret.png", ErrorKind.MISSING),
    _row("$(touch stolen).png", ErrorKind.MISSING),
    _row("--out=stolen.png", ErrorKind.MISSING),
    _row("a\nb\x1b[2J.png", ErrorKind.MISSING),
    _row("a\u202egnp.exe.png", ErrorKind.MISSING),
    _row("data:image/png;base64,iVBORw0KGgo=.png", ErrorKind.MISSING),
)
"""files that are none, lie elsewhere, or are not there, by names that others would follow"""
HOSTILE_ROWS = (
    *(_row(source, ErrorKind.UNSAFE_PATH) for source in HOSTILE),
    *(_row("other.png", ErrorKind.UNSAFE_PATH, output=output) for output in OUTPUTS),
    _row("good.png", ErrorKind.UNSAFE_PATH, output="leads/stolen.png"),
    *FILES,
)


def plant(folder: Path) -> Path:
    """A manifest of all of them and of two good rows, FOLDER/in/m.jsonl, whose outputs are to go to FOLDER/out.

    `leads` is a link out of the folder in which it lies. Rows that are refused for their output name a source that
    has no other: of one source results keep what has an output.
    """
    for name in ("in", "out", "in/folder.png"):
        (folder / name).mkdir()
    outside = folder / "secret.png"
    outside.write_bytes(b"not yours")
    for name in ("good.png", "other.png"):
        (folder / "in" / name).write_bytes(png_of(photo(1, 64, 48)))
    os.mkfifo(folder / "in" / "fifo.png")
    (folder / "in" / "leads.png").symlink_to(outside)
    (folder / "in" / "leads").symlink_to(folder)
    (folder / "out" / "leads").symlink_to(folder)
    rows = [{"source": row.source, **row.values} for row in HOSTILE_ROWS]
    rows += [{"source": "good.png"}, {"source": "good.png", "output": "renamed/good too.png"}]
    manifest = folder / "in" / "m.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest
