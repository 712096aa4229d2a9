"""The footer of a Parquet file, weighed before Arrow reads it.

The footer (struct FileMetaData of parquet.thrift) lists the columns as a tree, flattened depth first: each element
(struct SchemaElement) says how many of those that follow are its children. Arrow builds that tree by recursion, and
Arrow 25 does not count how deep: 20 000 groups in one another, 220 kB, end the process on its stack. What a list holds
is only checked for the schema itself; a list elsewhere that lies about it could still show Arrow another schema.
"""

from __future__ import annotations

from typing import BinaryIO

from farm.manifest.thrift import I32, LIST, STRUCT, Cursor

MAX_FOOTER_BYTES = 2 << 20
"""a row group of 4 columns and paths of 190 letters takes about 0.8 kB"""
MAX_SCHEMA_DEPTH = 32
"""a manifest's own columns lie 1 deep, a list 3; the user's may hold more"""
MAGIC = b"PAR1"
_TAIL_BYTES = 8
_SCHEMA, _NUM_CHILDREN = 2, 5


def read_footer(stream: BinaryIO) -> bytes:
    """The footer of a file, checked, with the length and the magic that end it; leaves the stream anywhere.

    Raises ValueError for what is no Parquet, and for a footer or a schema larger than a manifest's.
    """
    end = stream.seek(0, 2)
    stream.seek(max(0, end - _TAIL_BYTES))
    tail = stream.read(_TAIL_BYTES)
    length = int.from_bytes(tail[:4], "little")
    if not tail.endswith(MAGIC) or length > end - len(MAGIC) - _TAIL_BYTES:
        raise ValueError("it does not end in a footer")
    if length > MAX_FOOTER_BYTES:
        raise ValueError(f"a footer of {length} bytes, the limit is {MAX_FOOTER_BYTES}; write larger row groups")
    stream.seek(end - _TAIL_BYTES - length)
    footer = stream.read(length)
    try:
        _check_footer(Cursor(footer))
    except IndexError as error:
        raise ValueError("a footer that is longer than it says") from error
    return footer + tail


def _check_footer(cursor: Cursor) -> None:
    for field, kind in cursor.fields():
        if (field, kind) == (_SCHEMA, LIST):  # each one: of two, readers take the last
            _check_schema(cursor)
        else:
            cursor.skip(kind)


def _check_schema(cursor: Cursor) -> None:
    kind, count = cursor.list_head()
    if kind != STRUCT:  # Arrow does not ask and would read structs
        raise ValueError(f"a schema of kind {kind}")
    awaited: list[int] = []
    """of each group that is open, the outermost first: how many of its children are still to come"""
    for _ in range(count):
        while awaited and not awaited[-1]:
            awaited.pop()
        if awaited:
            awaited[-1] -= 1
        if children := _read_children(cursor):
            awaited.append(children)
        if len(awaited) > MAX_SCHEMA_DEPTH:
            raise ValueError(f"a schema too deeply nested, the limit is {MAX_SCHEMA_DEPTH}")


def _read_children(cursor: Cursor) -> int:
    children = 0
    for field, kind in cursor.fields():
        if (field, kind) == (_NUM_CHILDREN, I32):
            children = cursor.signed()
            if not 0 <= children < 1 << 31:
                raise ValueError(f"a schema with a group of {children}")
        else:
            cursor.skip(kind)
    return children
