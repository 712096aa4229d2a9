"""One table of figures over all parts: what each source is, and which other one it doubles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from farm import shards, storage
from farm.dataset.duplicates import NONE, find_duplicates
from farm.storage import OutputRoot

STATS = "stats.parquet"


def write_stats(root: OutputRoot, parts: Sequence[shards.PartEntry], near_bits: int) -> str:
    """Write OUT/stats.parquet and return its URL: the columns of `sources`, and of each source

    `duplicate_of`, `near_duplicate_of`: the path of the source whose content, or whose looks, it shares, null for none;
    `duplicate`, `near_duplicate`: whether there is one. Of sources that are alike the one with the smallest path is
    kept. There is at least one part. Memory holds three columns of all sources, and the rest a part at a time.
    """
    import pyarrow
    from pyarrow import parquet

    arrow, pq = cast(Any, pyarrow), cast(Any, parquet)
    urls = [storage.join(root.url, shards.sources_path(part.name)) for part in parts]
    keyed = [_read(url, ["relative_path", "sha256", "phash"]) for url in urls]
    table = arrow.concat_tables(keyed)
    url = storage.join(root.url, STATS)
    # A row that stands twice in the manifest has no figures the second time: its path may be there twice.
    names = arrow.array([f"{path}\0{at:012d}" for at, path in enumerate(table["relative_path"].to_pylist())])
    found = find_duplicates(names, table["sha256"], table["phash"], near_bits)
    paths = table["relative_path"].combine_chunks()
    columns: dict[str, Any] = {}
    for name, rows in (("duplicate", found.exact), ("near_duplicate", found.near)):
        at = arrow.array(rows, mask=rows == NONE)
        columns |= {f"{name}_of": paths.take(at), name: at.is_valid()}
    with root.open_stream(url) as sink:
        writer: Any = None
        start = 0
        for one in urls:
            part = _read(one, None)
            for name, values in columns.items():
                part = part.append_column(name, values.slice(start, len(part)))
            start += len(part)
            part = part.replace_schema_metadata(None)
            writer = writer or pq.ParquetWriter(sink, part.schema, compression="zstd")
            writer.write_table(part)
        writer.close()
        sink.commit()
    return url


def _read(url: str, columns: list[str] | None) -> Any:
    from pyarrow import parquet

    with storage.open_read(url) as file:
        return cast(Any, parquet).read_table(file, columns=columns)
