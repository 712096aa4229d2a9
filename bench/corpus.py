"""The corpus of bad and odd pictures through the farm and through the official package, as a table.

python bench/corpus.py --out FOLDER [--seed 1] [--package FOLDER] > bench/results/corpus-DATE.md

The farm gets all of it in one run, as a user starts it. The official program is a loop over the files of a folder:
cv2.imread(IMREAD_UNCHANGED), enhance, cv2.imwrite; what is no RuntimeError ends it. Its loop body, with the package's
own RealESRGANer (`--package`: where it was installed without what it depends on), runs for each file in a process of
its own, so that what it does with every file is known and not only with the first bad one; and once as it is, over all.

right: done, with the pixels and depth that the file holds. refused: an error with a reason, no output. silent: an
output of what must be refused, or with other pixels than the file's, and nothing said. stops: an error that ends the
whole run. open: odd or damaged so that it may be read or refused, and it was read.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np

from tests.corpus.case import DONE, Case, faults, write
from tests.corpus.contained import container
from tests.corpus.pictures import pictures
from tests.seeded import save_srvgg

DEADLINE_S = 60
MEMORY_BYTES = 8 << 30
"""that one file may take of the official program: without a limit some took all of a machine of 23 GB"""
COLUMNS = ("right", "refused", "silent", "stops", "crash", "hang", "open")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--package", type=Path)
    parser.add_argument("--only", default="", help="families that begin so")
    arguments = parser.parse_args()
    # Hollow giants below the limit of pixels would be restored, and that takes hours.
    cases = [case for case in pictures(arguments.seed) if not case.family.endswith("hollow")]
    cases = [case for case in cases if case.family.startswith(arguments.only)]
    write(cases, arguments.out / "in")
    model = save_srvgg(arguments.out / "tiny.pth", features=8, convs=2)
    out, package = arguments.out, arguments.package
    if package:
        sys.path.insert(0, str(package))
    answers = {
        "official": kept(out / "official.json", lambda: of_official(cases, out, model)),
        "farm": kept(out / "farm.json", lambda: of_farm(cases, out, model)),
    }
    whole = kept(out / "loop.json", lambda: official_run(out, model, package))
    print(report(cases, answers, whole, arguments.seed))


def kept(path: Path, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `act` answers, or has answered before: after an interruption the same command goes on."""
    if not path.exists():
        path.write_text(json.dumps(act()))
    return json.loads(path.read_text())


def of_farm(cases: list[Case], out: Path, model: Path) -> dict[str, str]:
    """How each file ends in one run; pixels are those that the same decoder gives."""
    import pyarrow.parquet as pq

    command = [sys.executable, "-m", "farm", "submit", out / "in", "--model", model, "--gpus", "0", "--workers", "2"]
    command += ["--name", "{stem}_{row}_{scale}x.{ext}"]  # two names differ in case alone
    done = subprocess.run([*map(str, command), "--out", str(out / "farm")], capture_output=True, text=True, check=False)
    if done.returncode != 3:
        raise SystemExit(f"farm submit: exit {done.returncode}; {done.stderr[-2000:]}")
    rows = {str(row["source"]): row for row in pq.read_table(out / "farm" / "results.parquet").to_pylist()}
    answers: dict[str, str] = {}
    with container() as box:
        for case in cases:
            row = rows[str((out / "in" / case.name).resolve())]
            if row["status"] != "done":
                expected = str(row["error"]) in case.ends
                answers[case.name] = "refused" if expected else f"refused as {row['error']}"
                continue
            wrong = faults(case, box.decode(out / "in" / case.name, expected=expected_file(case, out), near=case.near))
            answers[case.name] = "silent" if case.is_bad or wrong else "right" if case.is_good else "open"
    return answers


def expected_file(case: Case, out: Path) -> Path | None:
    """The pixels that a case must have, as a file."""
    if case.pixels is None:
        return None
    np.save(out / "expected.npy", case.pixels)
    return out / "expected.npy"


def of_official(cases: list[Case], out: Path, model: Path) -> dict[str, str]:
    """What the loop's body does with each file."""
    upsampler, answers = official(model), dict[str, str]()
    (out / "official").mkdir(exist_ok=True)
    for case in cases:
        said = forked(lambda case=case: official_body(upsampler, out / "in" / case.name, out / "official", case))
        if said == DONE:
            said = "silent" if case.is_bad else "right" if case.is_good else "open"
        answers[case.name] = said
    return answers


def official(model: Path) -> Any:
    """The package's own RealESRGANer with the same small network, as inference_realesrgan.py makes it."""
    import torch
    from official_package import mend_torchvision

    mend_torchvision()
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(sys.stderr):
        from realesrgan import RealESRGANer
        from realesrgan.archs.srvgg_arch import SRVGGNetCompact

        network = SRVGGNetCompact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=2, upscale=4, act_type="prelu")
        return RealESRGANer(scale=4, model_path=str(model), model=network, tile=0, tile_pad=10, pre_pad=0, half=False)


def official_body(upsampler: Any, path: Path, out: Path, case: Case | None) -> str:
    """What inference_realesrgan.py does with one file; `silent` where it read other pixels than the file's."""
    import cv2

    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    mode = "RGBA" if len(picture.shape) == 3 and picture.shape[2] == 4 else None  # None has no shape: the run ends
    try:
        output, _ = upsampler.enhance(picture, outscale=4)
    except RuntimeError:
        return "refused"  # it prints it and goes on
    extension = "png" if mode == "RGBA" else path.suffix[1:]
    written = cv2.imwrite(str(out / f"{path.stem}_out.{extension}"), output)
    if not written:
        return "refused"
    return DONE if case is None or case.pixels is None or same(picture, case) else "silent"


def same(picture: Any, case: Case) -> bool:
    """Whether cv2 read what the file holds: gray as one band or three equal ones, the rest band for band."""
    found = picture[..., None] if picture.ndim == 2 else picture[..., [2, 1, 0, *range(3, picture.shape[2])]]
    expected = case.pixels
    if expected is None or found.dtype != expected.dtype or found.shape[:2] != expected.shape[:2]:
        return False
    if expected.shape[2] < 3 and found.shape[2] == expected.shape[2] + 2:
        expected = expected[..., [0, 0, 0, *range(1, expected.shape[2])]]
    if found.shape != expected.shape:
        return False
    return int(np.abs(found.astype(int) - expected).max()) <= case.near


def forked(act: Any) -> str:
    """What `act` answers in a process of its own; `stops`, `crash` or `hang` where it does not."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reads)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        try:
            answer = act()
        except Exception:  # whatever it is, it is what ends the official program
            answer = "stops"
        os.write(writes, answer.encode())
        os._exit(0)
    os.close(writes)
    end = time.monotonic() + DEADLINE_S
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, 9)
            os.waitpid(child, 0)
            os.close(reads)
            return "hang"
        time.sleep(0.002)
    with os.fdopen(reads) as said:
        return said.read() or "crash"


def official_run(out: Path, model: Path, package: Path | None) -> dict[str, Any]:
    """The loop as it is, over all files in the order of their names: how far it came, and what ended it."""
    script = (
        "import sys, json; sys.path.insert(0, {here!r}); import corpus; corpus.loop({model!r}, {package!r}, {out!r})"
    )
    text = script.format(here=str(Path(__file__).parent), model=str(model), package=str(package or ""), out=str(out))
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    ended = done.stderr.strip().splitlines()[-1] if done.returncode else "its end"
    return {"done": json.loads(lines[-1])["done"] if lines else 0, "ended": ended}


def loop(model: str, package: str, out: str) -> None:
    """The official program over a folder; prints how many files it has done so far."""
    if package:
        sys.path.insert(0, package)
    upsampler = official(Path(model))
    (Path(out) / "loop").mkdir(exist_ok=True)
    for number, path in enumerate(sorted(path for path in (Path(out) / "in").rglob("*") if path.is_file())):
        with contextlib.redirect_stdout(sys.stderr):
            official_body(upsampler, path, Path(out) / "loop", None)
        print(json.dumps({"done": number + 1}), flush=True)


def report(cases: list[Case], answers: dict[str, dict[str, str]], whole: dict[str, Any], seed: int) -> str:
    """The table, a row a family."""
    lines = [
        f"# The corpus of {len(cases)} pictures (seed {seed}), {sum(case.is_bad for case in cases)} of them bad",
        "",
    ]
    lines += ["How many files of each family end how. **right**: done, with the pixels and depth that the file holds;"]
    lines += ["**refused**: an error with a reason and no output; **silent**: an output of what must be refused, or of"]
    lines += [
        "other pixels than the file's, and nothing said; **stops**: an error that ends the whole run; **open**: odd"
    ]
    lines += [
        "or damaged so that it may be read or refused, and it was read. No column: none. The official program got each",
        f"file in a process of its own, with {MEMORY_BYTES >> 30} GB and {DEADLINE_S} s; out of memory, it says so and",
        "goes on: **refused**.",
        "",
    ]
    used = [(name, one) for name, given in answers.items() for one in COLUMNS
            if any(column(answer) == one for answer in given.values())]  # fmt: skip
    head = ["family", "files", *(f"{name}: {one}" for name, one in used)]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    families = dict.fromkeys(case.family for case in cases)
    for family in [*families, ""]:
        group = [case for case in cases if family in ("", case.family)]
        cells = [family or "**all**", str(len(group))]
        counts = Counter((name, column(given[case.name])) for name, given in answers.items() for case in group)
        cells += [str(counts[one] or "") for one in used]
        lines.append("| " + " | ".join(cells) + " |")
    other = [f"{case.name}: {given[case.name]}" for given in answers.values() for case in cases
             if column(given[case.name]) != given[case.name]]  # fmt: skip
    lines += ["", f"Refused with another class than expected: {len(other)}. {'; '.join(other)[:2000]}", ""]
    lines += [
        f"The official loop as it is, over the whole folder: {whole['done']} files done, then {whole['ended']}.",
        "",
    ]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy", "pyvips", "basicsr"))
    cv2 = importlib.import_module("cv2")
    lines.append(f"Python {platform.python_version()}, {versions}, cv2 {cv2.__version__}, ")
    lines[-1] += f"realesrgan {metadata.version('realesrgan')}, {os.cpu_count()} cores, no GPU."
    return "\n".join(lines)


def column(answer: str) -> str:
    """The column of an answer, which may say more."""
    return answer.partition(" ")[0]


if __name__ == "__main__":
    main()
