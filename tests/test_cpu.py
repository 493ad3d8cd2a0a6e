from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import pytest

from extd import cpu
from extd.cpu import cores, quota

V1 = "9:name=systemd:/\n4:cpu,cpuacct:/{group}\n0::/\n"
V2 = "0::/{group}\n"


def process(folder: Path, cgroup: str, mounts: str) -> Path:
    """A folder like /proc/self."""
    (folder / "cgroup").write_text(cgroup)
    (folder / "mountinfo").write_text(mounts)
    return folder


def v1(folder: Path, root: str = "/") -> str:
    """The line of a mount of cgroup v1 at `folder`, which shows the group `root`."""
    return f"32 31 0:29 {root} {folder} rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"


def v2(folder: Path, root: str = "/") -> str:
    return f"41 31 0:38 {root} {folder} rw,relatime - cgroup2 cgroup2 rw\n"


def limit_v1(group: Path, limit: int, period: int = 100_000) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "cpu.cfs_quota_us").write_text(f"{limit}\n")
    (group / "cpu.cfs_period_us").write_text(f"{period}\n")


def limit_v2(group: Path, limit: str) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "cpu.max").write_text(f"{limit} 100000\n")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems bind no process to cores")
def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "quota", lambda: math.inf)
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert cores() == len(before)


@pytest.mark.parametrize(
    ("allowed", "expected"), [(0.5, 1), (1.0, 1), (1.9, 1), (2.0, 2), (3.5, 3), (math.inf, 8)]
)
def test_cores_are_no_more_than_the_quota(
    monkeypatch: pytest.MonkeyPatch, allowed: float, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(cpu, "quota", lambda: allowed)
    assert cores() == expected


def test_the_quota_of_cgroup_v1_is_read(tmp_path: Path) -> None:
    limit_v1(tmp_path / "cpu" / "docker" / "a", 50_000)
    limit_v1(tmp_path / "cpu", -1)
    mounts = v2(tmp_path / "unified") + v1(tmp_path / "cpu")
    assert quota(process(tmp_path, V1.format(group="docker/a"), mounts)) == 0.5


def test_the_quota_of_cgroup_v2_is_read(tmp_path: Path) -> None:
    limit_v2(tmp_path / "pod" / "a", "150000")
    assert quota(process(tmp_path, V2.format(group="pod/a"), v2(tmp_path))) == 1.5


def test_the_tightest_of_nested_groups_counts(tmp_path: Path) -> None:
    limit_v2(tmp_path / "pod" / "a", "max")
    limit_v2(tmp_path / "pod", "200000")
    limit_v2(tmp_path, "400000")
    assert quota(process(tmp_path, V2.format(group="pod/a"), v2(tmp_path))) == 2


@pytest.mark.parametrize("root", ["/docker/a", "/docker"])
def test_a_container_sees_its_own_group(tmp_path: Path, root: str) -> None:
    # Without a namespace of its own, it is told the path outside.
    limit_v1(tmp_path / "cpu" / Path("/docker/a").relative_to(root), 250_000)
    mounts = v1(tmp_path / "cpu", root)
    assert quota(process(tmp_path, V1.format(group="docker/a"), mounts)) == 2.5


def test_no_quota_is_infinite(tmp_path: Path) -> None:
    assert quota(tmp_path / "absent") == math.inf
    assert quota(process(tmp_path, V2.format(group="a"), v2(tmp_path))) == math.inf
    (tmp_path / "other").mkdir()
    assert quota(process(tmp_path / "other", "no cgroup", "no mount")) == math.inf
