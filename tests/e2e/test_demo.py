"""From a clone to before and after with a slider: scripts/demo over the tracked files alone. What it does not try is
pip: the packages are those of the environment in which the tests run."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.farm.test_report import Page

from ..runs import REPOSITORY, results

pytestmark = pytest.mark.timeout(400)


def clone(to: Path) -> Path:
    """The files that git knows, as they are now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, to / name)
    return to


def install(at: Path) -> None:
    """As scripts/setup leaves it: an environment of its own with the packages that are here, and the clone itself."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", at / ".venv"], check=True)
    (site,) = (at / ".venv" / "lib").glob("python*/site-packages")
    (site / "here.pth").write_text(f"{at}\n{sysconfig.get_path('purelib')}\n")
    program = at / ".venv" / "bin" / "farm"
    program.write_text(f"#!{at}/.venv/bin/python\nfrom farm.cli import main\n\nmain()\n")
    program.chmod(0o755)
    names = ("requirements.lock", "pyproject.toml", "scripts/setup")
    wanted = hashlib.sha256(b"".join((at / name).read_bytes() for name in names)).hexdigest()
    (at / ".venv" / ".farm-setup").write_text(f"{wanted} {at}\n")


def test_a_clone_has_a_page_with_sliders_after_one_command(tmp_path: Path) -> None:
    farm = clone(tmp_path / "farm")
    install(farm)
    without = ("PYTHONPATH", "RAY_ADDRESS", "FARM_WEIGHTS_DIR")
    kept = {name: value for name, value in os.environ.items() if name not in without}
    environment = {**kept, "PIP_NO_INDEX": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    where = [farm / ".venv/bin/python", "-c", "import farm; print(farm.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(farm / "farm/__init__.py")
    ran = subprocess.run(
        [farm / "scripts/demo"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "setup:" not in ran.stdout + ran.stderr, "nothing was left to install"
    assert "3 done before" in ran.stdout + ran.stderr, "the second time"
    assert [row["status"] for row in results(farm / "demo-out/restored")] == ["done"] * 3
    assert len(Page((farm / "demo-out/report.html").read_bytes()).of("input")) == 3
