"""Packs of pairs for tests: real PNGs of pictures from seeds, and the reports of their sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from farm import storage
from farm.sample import Member, Sample, SourceReport, SourceRow
from farm.shards import DatasetIndex, PackSpec, Written, strip_data, tree_path, write_index, write_pack
from tests.pictures import photo, png_of
from tests.stores import output

ROLES = ("gt", "gt_usm", "lq")
GT_PX, SCALE = 48, 4
SOURCE_COLUMNS: Mapping[str, type] = {"width": int, "sharpness": float}
SAMPLE_COLUMNS: Mapping[str, type] = {"index": int, "sigma": float, "kind": str, "flip": bool}


def member(role: str, seed: int, side: int) -> Member:
    return Member(role=role, extension="png", data=png_of(photo(seed, side, side)), width=side, height=side, channels=3)


def pair(key: str, seed: int, roles: tuple[str, ...] = ROLES) -> Sample:
    sides = {"gt": GT_PX, "gt_usm": GT_PX, "lq": GT_PX // SCALE}
    members = tuple(member(role, seed * 10 + at, sides.get(role, GT_PX)) for at, role in enumerate(roles))
    record = {"index": seed, "sigma": seed / 7, "kind": None if seed % 2 else "iso", "flip": bool(seed % 3)}
    return Sample(key=key, members=members, record=record)


def row(number: int, key: str) -> SourceRow:
    name = f"{key}.jpg"
    return SourceRow(url=f"/pictures/{name}", relative_path=name, key=key, version=f"etag:{number}")


def reports(first: int = 0, count: int = 3, roles: tuple[str, ...] = ROLES) -> Iterator[SourceReport]:
    """`count` sources of two samples each, and behind them one that failed and one that was left out."""
    for number in range(first, first + count):
        key = f"dir_{number % 2}/pic_{number}"
        samples = tuple(pair(f"{key}_{nth}", 2 * number + nth, roles) for nth in range(2))
        found = {"width": 96, "sharpness": number / 3}
        rules = ("gray_expanded",) if number % 2 else ()
        yield SourceReport(row=row(number, key), status="done", rules=rules, samples=samples, record=found)
    end = first + count
    yield SourceReport(
        row=row(end, f"bad_{end}"), status="failed", reason="truncated", message="ends early \udcff", passing=True
    )
    yield SourceReport(row=row(end + 1, f"small_{end}"), status="skipped", reason="too_small")


def spec(form: str, part: str = "part-0", roles: tuple[str, ...] = ROLES) -> PackSpec:
    return PackSpec(
        form=form, part=part, roles=roles, source_columns=SOURCE_COLUMNS, sample_columns=SAMPLE_COLUMNS, key="item-1"
    )


def publish_tree(samples: Iterator[Sample], root: storage.OutputRoot) -> None:
    """What the makers of a tree's samples do."""
    for sample in samples:
        for one in sample.members:
            root.publish(storage.join(root.url, tree_path(one.role, sample.key, one.extension)), one.data)


def write(form: str, url: str, number: int = 0, roles: tuple[str, ...] = ROLES) -> Written:
    """Part `number`, with sources of its own."""
    root, made = output(url), list(reports(10 * number, roles=roles))
    if form == "tree":
        publish_tree((sample for report in made for sample in report.samples), root)
        made = [*map(strip_data, made)]
    return write_pack(spec(form, f"part-{number}", roles), made, root)


def make(form: str, url: str, parts: int = 2, roles: tuple[str, ...] = ROLES) -> DatasetIndex:
    """A whole data set."""
    written = tuple(write(form, url, number, roles).part for number in range(parts))
    index = DatasetIndex(form=form, operation="degrade", roles=roles, options={"seed": 3}, parts=written)
    write_index(index, output(url))
    return index


def expected(parts: int = 2, roles: tuple[str, ...] = ROLES) -> list[Sample]:
    """The samples of `make`, in order."""
    return [one for number in range(parts) for report in reports(10 * number, roles=roles) for one in report.samples]


def files_below(folder: Path) -> dict[str, bytes]:
    """Everything that was published below a local root."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
