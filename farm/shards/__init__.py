"""How packs of samples are written and read: pieces that wait for their join, the forms, the tables, the index."""

from __future__ import annotations

from farm.shards.index import DatasetIndex, PackFile, PartEntry, read_index, write_index
from farm.shards.pack import PackSpec, Written, check_form, iter_members, read_part, write_pack
from farm.shards.piece import read_piece, write_piece
from farm.shards.place import INDEX, lmdb_folder, role_folder, samples_path, sources_path, tar_path, tree_path
from farm.shards.read import Reader, ReadSample, SourceEnd, open_dataset
from farm.shards.stored import StoredMember, digest_of, strip_data

__all__ = [
    "INDEX",
    "DatasetIndex",
    "PackFile",
    "PackSpec",
    "PartEntry",
    "ReadSample",
    "Reader",
    "SourceEnd",
    "StoredMember",
    "Written",
    "check_form",
    "digest_of",
    "iter_members",
    "lmdb_folder",
    "open_dataset",
    "read_index",
    "read_part",
    "read_piece",
    "role_folder",
    "samples_path",
    "sources_path",
    "strip_data",
    "tar_path",
    "tree_path",
    "write_index",
    "write_pack",
    "write_piece",
]
