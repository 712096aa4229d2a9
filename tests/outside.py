"""What some tests need and no package of the lock brings. Whoever needs it asks here, and is skipped without it.

Skipping is for a machine with Python and git only, where `scripts/test` has to pass as well. Where something is meant
to be there, `FARM_TEST_REQUIRE` names it, separated by commas, and its absence is a failure: `.ci/run` does so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

_NOBODY = 65534
REASONS = {
    "chromium": "pages are looked at by a real browser: install chromium, such as Debian's",
    "data": "real weights, pictures and films are not the project's to give away: set FARM_TEST_DATA to a folder with "
    "weights/ and media/",
    "face": "the packages that restore faces build on a torch that is installed: scripts/setup, or "
    "pip install --no-build-isolation 'sr-farm[face]'",
    "face-weights": "the released weights of GFPGAN, its parser and its detector are 546 MB that no package brings: "
    "set FARM_WEIGHTS_DIR to a folder with GFPGANv1.4.pth, parsing_parsenet.pth, detection_Resnet50_Final.pth and "
    "realesr-animevideov3.pth",
    "onnx": "the package onnx is an extra that nothing else needs: pip install 'sr-farm[onnx]'",
    "ray-train": "Ray Train asks for packages that nothing else needs: pip install 'sr-farm[train]'",
    "curl": "the commands of docs/serve.md are curl's: install curl, such as Debian's",
    "ffmpeg": "films are looked at by another reader than the product's: install ffmpeg with ffprobe, such as Debian's",
    "systemd": "systemd's own checker looks at its units: Debian's systemd has systemd-analyze",
    "s3": "a real S3 server is daemons that pip does not bring: `scripts/s3-test-server start FOLDER` says what to set",
    "mount": "a disk that is really full is a small one of its own, which only who may mount can make: run as root",
    "prometheus": "queries are answered by a real Prometheus: install prometheus, such as Debian's",
    "s3-control": "only a server of ours may be made to fail: set FARM_TEST_S3_FOLDER, as scripts/s3-test-server says",
}
"""by what is needed: why the project does not bring it, and what to do"""

DATA = Path(os.environ["FARM_TEST_DATA"]) if os.environ.get("FARM_TEST_DATA") else None
FILMS = sorted((DATA / "media" / "videos").iterdir()) if DATA else []
"""real ones, for tests that run once for each"""
needs_data = pytest.mark.skipif(DATA is None, reason=REASONS["data"])
"""for those: they are collected without"""


def require(what: str, there: object) -> None:
    """Skip the test that asks unless `what` is there; fail it where the machine was said to have it."""
    if there:
        return
    if what in os.environ.get("FARM_TEST_REQUIRE", "").split(","):
        pytest.fail(f"FARM_TEST_REQUIRE names {what}, but it is not here; {REASONS[what]}")
    # The project has to pass on a bare machine, too, and say what it could not try there: these few things cannot come
    # with it, as their licences forbid it or they are no packages of the index. CI has all but the released weights of
    # faces, says so by FARM_TEST_REQUIRE, and cannot come here for them.
    pytest.skip(REASONS[what])  # justified: the one place where a test is left out, and only for what is not here


def data_folder() -> Path:
    """The folder with weights/ and media/."""
    require("data", DATA)
    assert DATA is not None
    return DATA


def real_picture(name: str) -> Path:
    """One of the real pictures."""
    return data_folder() / "media" / "images" / name


def real_film(name: str) -> Path:
    """One of the real films."""
    return data_folder() / "media" / "videos" / name


@contextmanager
def without_rights() -> Generator[None]:
    """As somebody whom file modes bind: root lays its rights down meanwhile. Pytest's folders are closed to it then."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def public_folder() -> Generator[Path]:
    """A temporary folder that everybody may look into."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@contextmanager
def small_disk(folder: Path, nbytes: int) -> Generator[Path]:
    """A file system of that size at a folder, which is made; in memory, and gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={nbytes}", "tmpfs", str(folder)]
    made = shutil.which("mount") and subprocess.run(command, capture_output=True, check=False).returncode == 0
    require("mount", made)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def require_face() -> None:
    """The extra `face`."""
    require("face", all(find_spec(package) for package in ("gfpgan", "facexlib", "basicsr", "cv2")))


def face_weights() -> Path:
    """The folder with the released weights of faces and of animevideov3."""
    folder = Path(os.environ.get("FARM_WEIGHTS_DIR", ""))
    names = ("GFPGANv1.4.pth", "parsing_parsenet.pth", "detection_Resnet50_Final.pth", "realesr-animevideov3.pth")
    require("face-weights", all((folder / name).is_file() for name in names))
    return folder


def require_curl() -> None:
    """The program with which docs/serve.md speaks to the service."""
    require("curl", shutil.which("curl"))


def require_chromium() -> str:
    """The browser, which draws pages without a window."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    require("chromium", found)
    assert found is not None
    return found


def require_prometheus() -> str:
    """The server that gathers metrics, with promtool beside it."""
    found = shutil.which("prometheus")
    require("prometheus", found and shutil.which("promtool"))
    assert found is not None
    return found


def require_ffmpeg() -> str:
    """The ffmpeg program, with ffprobe beside it."""
    found = shutil.which("ffmpeg")
    require("ffmpeg", found and shutil.which("ffprobe"))
    assert found is not None
    return found
