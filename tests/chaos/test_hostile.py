"""Whatever weights, manifests and names hold, it is data (S4 to S7): nothing of it runs, leads out, bursts or shows.

With --trials N: N files of weights, N manifests of thirty rows, N Parquet files and N folders of names, all of them
drawn from what hurts, each among good ones that must pass.
"""

from __future__ import annotations

import builtins
import hashlib
import json
import os
import pickle
import random
import subprocess
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from sr_kernel.weights import WeightsError, describe_file, load_state

from ..farm.test_manifest_hostile import peak_of_reading
from ..farm.test_report import ELEMENTS, Page
from ..networks import seeded_state, srvgg_spec
from ..runs import results, save_picture
from .record import Note
from .works import FEW, Command
from .zygote import Zygote

SHORT = 2
SPEC = srvgg_spec(4, features=8, convs=2)
LOADED_S = 5.0

# -- weights -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hostile:
    """Unpickled without care, it calls something."""

    call: Callable[..., object]
    args: tuple[object, ...]

    def __reduce__(self) -> tuple[object, ...]:
        return self.call, self.args


def draw_hostile(chance: random.Random, target: Path) -> Hostile:
    """One of the ways to make a file appear at `target`."""
    calls: list[tuple[Callable[..., object], tuple[object, ...]]] = [
        (os.system, (f"touch '{target}'",)),
        (os.mkdir, (str(target),)),
        (subprocess.call, (["touch", str(target)],)),
        (builtins.exec, (f"open({str(target)!r}, 'w').close()",)),
        (builtins.eval, (f"open({str(target)!r}, 'w')",)),
        (builtins.open, (str(target), "w")),
        (Path.touch, (target,)),
        (torch.save, ({}, str(target))),
    ]
    return Hostile(*chance.choice(calls))


def write_weights(folder: Path, chance: random.Random, target: Path) -> tuple[Path, str]:
    """A file that is drawn, and what it is: whole, hostile, or damaged somewhere."""
    state: dict[str, Any] = seeded_state(SPEC, chance.randrange(1 << 20))
    path = folder / chance.choice(("x.pth", "x.pt", "x.ckpt"))
    kind = chance.choice(("whole", "hostile", "hostile", "damaged", "damaged"))
    if kind == "hostile":
        evil: object = draw_hostile(chance, target)
        for _ in range(chance.randint(0, 3)):
            evil = chance.choice(([evil], {"params": evil}, (evil, 1)))
        how = chance.choice(("bare", "whole", "inside", "beside"))
        if how == "bare":
            path.write_bytes(pickle.dumps(evil, protocol=chance.randint(0, 5)))
        elif how == "whole":
            torch.save(evil, path, pickle_protocol=chance.randint(2, 5))
        else:
            state[chance.choice(list(state)) if how == "inside" else "optimizer"] = evil
            old = chance.random() < 0.3
            torch.save({"params": state, "more": evil}, path, _use_new_zipfile_serialization=not old)
        return path, kind
    if chance.random() < 0.5:
        path = folder / "x.safetensors"
        save_file(state, path)
    else:
        torch.save({"params": state}, path)
    if kind == "damaged":
        data = bytearray(path.read_bytes())
        top = min(len(data), chance.choice((64, 600, len(data))))
        for _ in range(chance.randint(1, 12)):
            data[chance.randrange(top)] = chance.randrange(256)
        path.write_bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])
    return path, kind


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], str]:
    """What is in a file, or why it is refused."""
    try:
        return load_state(path, describe_file(path)), ""
    except WeightsError as error:
        return {}, str(error)


def test_weights_are_data_and_never_run(trials: int, chance: random.Random, tmp_path: Path, note: Note) -> None:
    met: Counter[str] = Counter()
    for at in range(10 * (trials or SHORT)):
        folder, target = tmp_path / f"{at}", tmp_path / f"target-{at}"
        folder.mkdir()
        path, kind = write_weights(folder, chance, target)
        began_s = time.monotonic()
        found, error = read_weights(path)
        assert not error or str(path) in error, f"file {at}: {error}"
        assert bool(error) == (kind == "hostile") or kind == "damaged", f"file {at}, {kind}: {error or 'was read'}"
        assert all(type(tensor) is torch.Tensor for tensor in found.values())
        met[f"{kind}, {'refused' if error else 'read'}"] += 1
        assert not target.exists(), f"file {at} ran"
        assert time.monotonic() - began_s < LOADED_S, f"file {at}"
    note(files=met.total(), met=dict(met))


# -- rows ----------------------------------------------------------------------------------------------------------

ROWS, GOOD = 30, 3
PIECES = (
    *("..", "..", "/", "/", "/", ".", "good0.png", "sub", "out-link", "in-link", "secret.png", "%2e%2e", "%2F", "\\"),
    *("\0", "\n", "\x1b[2J", "~", "file://", "http://h/", "gs://b/", "::", "|", "$(touch x)", "\u202e", "\udcff", " "),
)
SECRET = (37, 23)
"""width and height, which nothing else has"""


def draw_path(chance: random.Random) -> str:
    return "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 7))).lstrip("/") or ".."


def plant(folder: Path) -> None:
    """Good pictures, links within and out of the root, and beside the root what nobody may read or write over."""
    root = folder / "root"
    for at in range(GOOD):
        save_picture(root / f"good{at}.png", 24, 20, seed=at)
    save_picture(root / "sub" / "good0.png", 24, 20, seed=9)
    save_picture(folder / "secret.png", *SECRET, seed=8)
    (root / "out-link").symlink_to(folder)
    (root / "in-link").symlink_to(root / "sub")


def tree(folder: Path, *, but: Path) -> dict[str, str]:
    """Digests of everything below a folder."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(but))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_no_row_reads_or_writes_what_it_must_not(
    zygote: Zygote,
    commands: Mapping[str, Command],
    trials: int,
    chance: random.Random,
    tmp_path: Path,
    note: Note,
) -> None:
    model, met = commands["restore"][3], Counter[str]()
    for at in range(trials or SHORT):
        folder = tmp_path / f"{at}"
        plant(folder)
        rows = [{"source": draw_path(chance), "output": f"{number}.png"} for number in range(ROWS)]
        for number in chance.sample(range(ROWS), ROWS // 3):
            name = draw_path(chance).replace("\udcff", "")  # of an output it would be the manifest's fault, not a row's
            rows[number] = {"source": "good0.png", "output": f"{name}{number}.png"}
        rows += [{"source": f"good{number}.png", "output": f"kept/{at}-{number}.png"} for number in range(GOOD)]
        (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        out, before = folder / "out", tree(folder, but=folder / "out")
        flags = ("--root", folder / "root", "--model", model, "--out", out, *FEW)
        ran = zygote.run("submit", folder / "m.jsonl", *flags)
        told = f"manifest {at}, {rows}, ended with {ran.code}: {ran.said}"
        assert ran.code == 3, told
        assert tree(folder, but=out) == before, told
        check_text(ran.said, told)
        found = results(out)
        assert len(found) == len(rows), told
        assert {row["status"] for row in found[-GOOD:]} == {"done"}, told
        for row in found:
            met[str(row["error"] or row["status"])] += 1
            if row["status"] == "done":
                assert Path(str(row["output"])).resolve().is_relative_to(out.resolve()), told
                assert row["width"] != SECRET[0], told
                assert (row["width"], row["height"]) != (4 * SECRET[0], 4 * SECRET[1]), told
    note(manifests=trials or SHORT, met=dict(met))


# -- Parquet -------------------------------------------------------------------------------------------------------

READ_S, READ_MB = 2.0, 500
COMPRESSIONS = ("none", "snappy", "zstd", "gzip", "brotli", "lz4")
ENCODINGS = ("PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "dictionary")


def write_parquet(path: Path, chance: random.Random, *, whole: bool) -> Path:
    """A manifest in one of Parquet's forms; if not whole, with bytes changed, mostly of footer and headers, or cut."""
    encoding, rows = chance.choice(ENCODINGS), chance.randint(1, 3000)
    table = pa.table({"source": [f"a/{at:05d}.png" for at in range(rows)], "width": list(range(1, rows + 1))})
    how = {"use_dictionary": ["source"]} if encoding == "dictionary" else {"column_encoding": {"source": encoding}}
    if encoding != "dictionary":
        how["use_dictionary"] = False
    version = chance.choice(("1.0", "2.6"))
    pq.write_table(
        table,
        path,
        compression=chance.choice(COMPRESSIONS),
        version=version,
        data_page_version=chance.choice(("1.0", "2.0")),
        row_group_size=chance.choice((100, 1 << 20)),
        **how,  # pyright: ignore[reportArgumentType]
    )
    if whole:
        return path
    data = bytearray(path.read_bytes())
    footer = int.from_bytes(data[-8:-4], "little") + 8
    for _ in range(chance.choice((1, 1, 2, 12))):
        place = chance.choice((len(data) - chance.randint(1, footer), chance.randrange(min(200, len(data)))))
        data[place] = chance.choice((0, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    if chance.random() < 0.2:
        cut = chance.randrange(len(data))
        data = data[:cut] + data[chance.randrange(len(data)) :]
    path.write_bytes(data)
    return path


def test_no_parquet_takes_long_or_much(trials: int, chance: random.Random, tmp_path: Path, note: Note) -> None:
    read, most_s, most_mb = 0, 0.0, 0
    for at in range(trials or SHORT):
        whole = at % 5 == 0
        path = write_parquet(tmp_path / f"{at}.parquet", chance, whole=whole)
        error, seconds, peak_mb = peak_of_reading(path)
        assert not (whole and error), f"{path}: {error}"
        assert seconds < READ_S, f"{path}: {error}"
        assert peak_mb < READ_MB, f"{path}: {error}"
        most_s, most_mb, read = max(most_s, seconds), max(most_mb, peak_mb), read + (not error)
    note(files=trials or SHORT, read=read, most_s=round(most_s, 2), most_mb=most_mb)


# -- names ---------------------------------------------------------------------------------------------------------

WORDS = (
    *("<script>alert(1)<", "<img src=x onerror=alert(2)>", "</style>", "\"'", "&lt;", "&#60;b&#62;", "--><b>"),
    *("{{7*7}}", "javascript:alert(1)", "\x1b[2J", "\x1b]0;mine\x07", "\r", "\n", "\t", "\x7f", "\x9b", "\u202e"),
    *("\u2066", "\u200b", "=1+1", "+cmd|' C'!A0", "@SUM(1)", "-2", ",", ";", "%s", "%00", "?", "#", "*", "~"),
    *("\u00e9", "e\u0301", "\u6620", "\U0001f4be", "\ufeff"),
)


def draw_name(chance: random.Random, number: int) -> str:
    """Of a file; a number, so that no two are one."""
    name = "".join(chance.choice(WORDS) for _ in range(chance.randint(1, 6))).replace("/", "")
    return f"{name[:60].lstrip('.')}{number}.png"


def check_text(said: str, told: str) -> None:
    """Nothing in it moves a cursor or turns the direction of writing."""
    odd = {char for char in said if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co") and char not in "\n\t"}
    assert not odd, f"{odd!a} in {told!a}"


def check_page(data: bytes, told: str) -> None:
    page = Page(data)
    assert {tag for tag, _ in page.elements} <= ELEMENTS, told
    scripts = [tag for tag, _ in page.elements if tag in ("script", "style")]
    assert sorted(scripts) == ["script", "style"], told
    for tag, attributes in page.elements:
        assert not any(key.startswith("on") or key in ("href", "style") for key in attributes), told
        assert tag != "img" or (attributes["src"] or "").startswith("data:image/webp;base64,"), told
    assert not any(unicodedata.bidirectional(char) in ("RLO", "LRI") for char in page.text), told


def test_no_name_is_more_than_text_wherever_it_is_shown(
    zygote: Zygote,
    commands: Mapping[str, Command],
    trials: int,
    chance: random.Random,
    tmp_path: Path,
    note: Note,
) -> None:
    model, named = commands["restore"][3], 0
    for at in range(trials or SHORT):
        folder, out = tmp_path / f"{at}", tmp_path / f"out-{at}"
        folder.mkdir()
        for number in range(8):
            path = folder / draw_name(chance, number)
            if number % 2:
                path.write_bytes(b"no picture")
            else:
                save_picture(folder / "plain.png", 40, 30, seed=number).rename(path)
            named += 1
        told = f"folder {at}: {sorted(os.listdir(folder))}"
        ran = zygote.run("submit", folder, "--model", model, "--out", out, *FEW)
        assert ran.code == 3, f"{told}: {ran.said}"
        check_text(ran.said, told)
        for command in (("status", out), ("verify", out), ("report", out, "-o", tmp_path / "r.html")):
            again = zygote.run(*command)
            assert again.code in (0, 3), f"{told}: {again.said}"
            check_text(again.said, f"{command[0]}: {told}")
        check_page((tmp_path / "r.html").read_bytes(), told)
    note(names=named)
