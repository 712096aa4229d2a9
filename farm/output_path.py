"""Where below the output root an output may lie, and what its file may be called. Pure."""

from __future__ import annotations

from farm.config import OutputConfig
from farm.errors import ErrorKind, ItemError, UsageError
from farm.kinds import EXTENSION_FORMATS, FILM_FORMATS, MediaKind, extension_of
from farm.records import ManifestRow
from farm.sample import safe_key

SEQUENCE_INDEX = "frames.json"
"""written last into the folder of a numbered sequence: which frames there are, when each is shown"""
MAX_NAME_BYTES = 255
"""longest segment of a path that common file systems hold"""


def below_root(path: str, source_url: str) -> str:
    """`path` normalised, or ItemError when it is not a plain path below the output root."""
    segments = [segment for segment in path.split("/") if segment not in ("", ".")]
    found = ""
    if path.startswith("/") or "://" in path or ".." in segments:
        found = "leaves the output root"
    elif not segments or path.endswith("/"):
        found = "names no file"
    elif ".farm" in segments:
        found = "lies in the farm's own folder"
    elif "\0" in path or any(len(segment.encode()) > MAX_NAME_BYTES for segment in segments):
        found = f"holds a NUL or a name of more than {MAX_NAME_BYTES} bytes"
    if found:
        advice = "give a path below the output root"
        raise ItemError(ErrorKind.UNSAFE_PATH, source_url, f"its output {path!r} {found}", advice)
    return "/".join(segments)


def record_path(row: ManifestRow) -> str:
    """Where below the output root it is told how sources became training data: the output of a pack, or of one row.

    Raises ItemError (unsupported) for a film where pictures are asked for, and the other way round.
    """
    if row.kind is MediaKind.PACK:
        return f"sources/{row.relative_path.rpartition('-')[0]}.parquet"
    if (row.kind is MediaKind.VIDEO) != (row.task == "frames"):
        kind = "film" if row.kind is MediaKind.VIDEO else "picture"
        found = f"is taken for a {kind}, which the task {row.task} does not take"
        raise ItemError(ErrorKind.UNSUPPORTED, row.source_url, found, "ask for frames of films, all else of pictures")
    return f"sources/{safe_key(row.relative_path)}.{row.task}.parquet"


def check_template(output: OutputConfig, container: str) -> None:
    """A template whose names contradict the format would make files that lie about what they are."""
    if output.name.endswith(".{ext}"):
        return
    made = EXTENSION_FORMATS.get(extension_of(output.name)) or FILM_FORMATS.get(extension_of(output.name))
    if made is None or made not in (output.format, container):
        raise UsageError(f"--name: {output.name!r} does not say the format; end it with .{{ext}}")
