"""What limits containers, batch systems and systemd set, from trees of files as kernels show them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from sr_kernel.control_group import cores_limit, memory_limit
from sr_kernel.hardware import memory_bytes, physical_bytes

SECOND = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
FIRST = (
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 {shown} /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 {shown} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2  rw\n"
)
NO_LIMIT = "9223372036854771712"
"""what version 1 says where there is none"""


def tree(root: Path, cgroup: str, mounts: str, files: Mapping[str, str]) -> Path:
    """A machine below `root`; what its files say, by their path below /sys/fs/cgroup."""
    texts = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts}
    texts |= {f"sys/fs/cgroup/{name}": text + "\n" for name, text in files.items()}
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_least_of_a_step_its_job_and_the_node_counts(tmp_path: Path) -> None:
    """As of Slurm or `systemd-run --scope -p MemoryMax=`, where nothing is said of the outermost group."""
    machine = tree(
        tmp_path,
        "0::/system.slice/job_7/step_0\n",
        SECOND,
        {
            "system.slice/job_7/step_0/memory.max": "max",
            "system.slice/job_7/step_0/cpu.max": "max 100000",
            "system.slice/job_7/memory.max": "2147483648",
            "system.slice/job_7/cpu.max": "350000 100000",
            "system.slice/memory.max": "4294967296",
            "system.slice/cpu.max": "400000 50000",
        },
    )
    assert memory_limit(machine) == 2 << 30
    assert memory_bytes(machine) == min(2 << 30, physical_bytes())
    assert cores_limit(machine) == 3.5


def test_a_container_that_sees_only_its_own_group_has_its_limit_at_the_top(tmp_path: Path) -> None:
    machine = tree(tmp_path, "0::/\n", SECOND, {"memory.max": "1073741824", "cpu.max": "50000 100000"})
    assert memory_limit(machine) == 1 << 30
    assert cores_limit(machine) == 0.5


@pytest.mark.parametrize(
    ("shown", "where"),
    [("/", "docker/ab"), ("/docker/ab", "."), ("/docker", "ab"), ("/kubepods/cd", ".")],
    ids=["all groups are seen", "its own alone", "from above it", "under another name"],
)
def test_version_1_is_read_wherever_its_groups_are_mounted(tmp_path: Path, shown: str, where: str) -> None:
    machine = tree(
        tmp_path,
        "9:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n1:name=systemd:/docker/ab\n0::/\n",
        FIRST.format(shown=shown),
        {
            "memory/memory.limit_in_bytes": NO_LIMIT,
            "cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
            f"memory/{where}/memory.limit_in_bytes": "3221225472",
            f"cpu,cpuacct/{where}/cpu.cfs_quota_us": "200000",
            f"cpu,cpuacct/{where}/cpu.cfs_period_us": "100000",
        },
    )
    assert memory_limit(machine) == 3 << 30
    assert cores_limit(machine) == 2


def test_no_limit_of_version_1_is_none_of_this_machine(tmp_path: Path) -> None:
    machine = tree(tmp_path, "9:memory:/\n", FIRST.format(shown="/"), {"memory/memory.limit_in_bytes": NO_LIMIT})
    assert memory_bytes(machine) == physical_bytes()
    assert cores_limit(machine) is None


@pytest.mark.parametrize(
    ("cgroup", "mounts"),
    [("", ""), ("0::/\n", ""), ("0:\nx\n", SECOND), ("0::/../..\n", "30 23\n - cgroup2\n" + SECOND)],
)
def test_what_says_nothing_of_a_limit_fails_nobody(tmp_path: Path, cgroup: str, mounts: str) -> None:
    machine = tree(tmp_path, cgroup, mounts, {"cpu.max": "", "memory.max/is_a_folder": ""})
    assert memory_limit(machine) is None
    assert memory_bytes(machine) == physical_bytes()
    assert cores_limit(machine) is None


def test_without_proc_there_is_no_limit(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) is None
    assert cores_limit(tmp_path) is None


def test_this_machine_has_some_memory_for_us() -> None:
    assert 0 < memory_bytes() <= physical_bytes()
