"""A digest of the values in Arrow record batches: equal for equal values, however they are cut into batches."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, cast

# numpy is loaded where it is used: a command that finds another run at work ends before that.
DIGEST_BYTES = 16


def new_digest() -> Any:
    """A hash object of DIGEST_BYTES."""
    return blake2b(digest_size=DIGEST_BYTES)


class ColumnDigest:
    """Of record batches with the same columns that come one after the other."""

    def __init__(self) -> None:
        self._columns: dict[str, tuple[Any, Any]] = {}
        """by name, digests of which rows have a value and how long it is, and of the values"""

    def update(self, batch: Any) -> None:
        """The next rows."""
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            shape, content = self._columns.setdefault(name, (new_digest(), new_digest()))
            entries = getattr(column, "dictionary", None)
            kind = str(column.type)
            if entries is not None:
                _update_shared(column, entries, content)
            elif kind in ("string", "large_string"):
                _update_texts(column, shape, content)
            elif kind.lstrip("u") in ("int8", "int16", "int32", "int64", "float", "double"):
                _update_numbers(column, shape, content)
            else:
                content.update("".join(f"{value!r}\n" for value in column.to_pylist()).encode())

    def digest(self) -> bytes:
        whole = new_digest()
        for name, (shape, content) in sorted(self._columns.items()):
            whole.update(f"{name}\n".encode() + shape.digest() + content.digest())
        return whole.digest()


def _update_shared(column: Any, entries: Any, content: Any) -> None:
    """Texts of a dictionary, each digested once."""
    digests = [blake2b(repr(text).encode(), digest_size=DIGEST_BYTES).digest() for text in entries.to_pylist()]
    indices: list[int | None] = column.indices.to_pylist()
    none = bytes(DIGEST_BYTES)
    content.update(b"".join(none if at is None else digests[at] for at in indices))


def _update_texts(column: Any, shape: Any, content: Any) -> None:
    import numpy as np
    from pyarrow import compute

    arrow = cast(Any, compute)
    lengths = arrow.fill_null(arrow.binary_length(column), -1)
    shape.update(np.ascontiguousarray(lengths.to_numpy(zero_copy_only=False).astype("<i8")).data)
    texts = arrow.fill_null(column, "") if column.null_count else column
    width = "<i8" if str(texts.type) == "large_string" else "<i4"
    _, ends, data = texts.buffers()
    if data is None or not len(texts):
        return
    bounds = np.frombuffer(ends, width)[texts.offset : texts.offset + len(texts) + 1]
    content.update(memoryview(data)[int(bounds[0]) : int(bounds[-1])])


def _update_numbers(column: Any, shape: Any, content: Any) -> None:
    import numpy as np
    from pyarrow import compute

    arrow = cast(Any, compute)
    shape.update(np.ascontiguousarray(column.is_null().to_numpy(zero_copy_only=False)).data)
    filled = arrow.fill_null(column, 0) if column.null_count else column
    width = "<f8" if str(column.type) in ("float", "double") else "<i8"
    content.update(np.ascontiguousarray(filled.to_numpy(zero_copy_only=False).astype(width)).data)
