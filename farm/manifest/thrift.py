"""The compact protocol of Thrift, in which Parquet writes its footer and its page headers.

Only what counting needs: walk a struct, read its numbers, skip the rest. Nothing is built from the bytes, so that what
they claim costs nothing.
Source: Apache Thrift, doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from collections.abc import Iterator

_TRUE, _FALSE, _BYTE, _I16, I32, _I64, _DOUBLE, _BINARY, LIST, _SET, STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12
_MAX_DEPTH = 16
"""deepest value that is skipped; those of a footer lie 7 deep"""


class Cursor:
    """Walks over `data`. Running over its end is an IndexError, what is no compact protocol a ValueError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0
        """bytes walked over"""

    def fields(self) -> Iterator[tuple[int, int]]:
        """(id, kind) of each field of the struct that starts here; its value is to be read before the next is asked."""
        field = 0
        while head := self._byte():
            step = head >> 4
            field = field + step if step else self.signed()
            if not 0 <= field < 1 << 15:  # other readers keep the lower 16 bits and would see another field
                raise ValueError(f"a Thrift struct with a field {field}")
            yield field, head & 15

    def list_head(self) -> tuple[int, int]:
        """(kind, count) of the values of the list that starts here."""
        head = self._byte()
        return head & 15, self._varint() if head >> 4 == 15 else head >> 4

    def signed(self) -> int:
        """A whole number of any width."""
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def skip(self, kind: int, depth: int = 0) -> None:
        """Walk over the value of a field."""
        if depth > _MAX_DEPTH:
            raise ValueError("a Thrift struct nested too deeply")
        if kind in (_TRUE, _FALSE):
            return
        if kind == _BYTE:
            self.at += 1
        elif kind in (_I16, I32, _I64):
            self._varint()
        elif kind == _DOUBLE:
            self.at += 8
        elif kind == _BINARY:
            length = self._varint()
            self.at += length
        elif kind == STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        elif kind in (LIST, _SET):
            self._skip_list(depth)
        else:
            raise ValueError(f"a Thrift struct with a field of kind {kind}")

    def _skip_list(self, depth: int) -> None:
        kind, count = self.list_head()
        for _ in range(count):
            self.skip(_BYTE if kind in (_TRUE, _FALSE) else kind, depth + 1)
            if self.at > len(self._data):
                raise IndexError("a Thrift list that is longer than its file")

    def _byte(self) -> int:
        value = self._data[self.at]
        self.at += 1
        return value

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a Thrift number of more than 64 bits")
