"""The folder of an embedded Ray whose run was killed goes with the next run; those in use stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from farm import leftovers

HOLDER = """
import sys
from pathlib import Path
from farm import leftovers
descriptor = leftovers.claim(Path(sys.argv[1]))
print("claimed", flush=True)
sys.stdin.read()
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    """Another process that uses a folder."""
    folder.mkdir()
    (folder / "session").write_text("logs")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "claimed\n"
    return holder


def test_a_folder_goes_when_who_used_it_was_killed(tmp_path: Path) -> None:
    killed, alive = hold(tmp_path / "ray-killed"), hold(tmp_path / "ray-alive")
    (tmp_path / "ray-nobodys").mkdir()
    leftovers.remove_abandoned(tmp_path, "ray-")
    assert {path.name for path in tmp_path.iterdir()} == {"ray-killed", "ray-alive", "ray-nobodys"}
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    leftovers.remove_abandoned(tmp_path, "ray-")
    assert {path.name for path in tmp_path.iterdir()} == {"ray-alive", "ray-nobodys"}
    alive.communicate("")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "ray-x").mkdir()
    (tmp_path / "precious").write_text("")
    (tmp_path / "ray-x" / "owner").symlink_to(tmp_path / "precious")
    leftovers.remove_abandoned(tmp_path, "ray-")
    assert (tmp_path / "ray-x").exists()


AGENT = """
import sys
log = open(sys.argv[1], "w")
print("open", flush=True)
sys.stdin.read()
"""


def start_agent(log: Path, name: str) -> subprocess.Popen[str]:
    """A process that goes by a name of its own and writes into a file."""
    agent = subprocess.Popen(
        [name, "-c", AGENT, str(log.relative_to(log.parents[1]))],
        executable=sys.executable,
        cwd=log.parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert agent.stdout is not None
    assert agent.stdout.readline() == "open\n"
    return agent


def test_agents_that_still_write_into_a_folder_are_ended_and_others_are_not(tmp_path: Path) -> None:
    killed = hold(tmp_path / "ray-killed")
    (tmp_path / "elsewhere").mkdir()
    agent = start_agent(tmp_path / "ray-killed" / "agent.log", "ray::Agent")
    others = [
        start_agent(tmp_path / "ray-killed" / "editor.log", "editor"),
        start_agent(tmp_path / "elsewhere" / "agent.log", "ray::Agent"),
    ]
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    leftovers.remove_abandoned(tmp_path, "ray-")
    assert agent.wait(10) == -signal.SIGKILL
    assert not (tmp_path / "ray-killed").exists()
    for other in others:
        assert other.poll() is None
        other.communicate("")
