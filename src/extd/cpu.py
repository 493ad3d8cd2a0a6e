"""What this process may use of the machine's processors: cores, quota, instructions."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "asimddp"})
"""Linux's names of instructions that multiply and add four bytes at once."""
MAX_THREADS = 1024


def cores() -> int:
    """How many threads can run at once: cores that this process may use, and the cgroup's quota.

    `taskset` and job schedulers restrict the cores, `docker --cpus` and Kubernetes set quotas. A
    part of a core does not count: threads beyond the quota are halted until its next period.
    """
    # Only Linux has it.
    affinity = getattr(os, "sched_getaffinity", None)
    usable = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, int(min(usable, quota())))


@cache
def quota(process: Path = Path("/proc/self")) -> float:
    """Processor time per time that the cgroups of a process allow, in cores; infinite by default.

    Reads cgroup v1 and v2 by `process`, a folder like Linux's /proc/self.
    """
    try:
        return min(_quotas(process), default=math.inf)
    except (OSError, ValueError):
        # No Linux, or a format that is not known.
        return math.inf


def _quotas(process: Path) -> Iterator[float]:
    """The quotas of the process's groups and of those around them."""
    v1_group = v2_group = "/"
    for line in (process / "cgroup").read_text("utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            v2_group = path
        elif "cpu" in controllers.split(","):
            v1_group = path
    for line in (process / "mountinfo").read_text("utf-8").splitlines():
        fields, _, mounted = line.partition(" - ")
        kind, _, options = mounted.split(" ", 2)
        v1 = kind == "cgroup" and "cpu" in options.split(",")
        if not v1 and kind != "cgroup2":
            continue
        root, mount = fields.split(" ")[3:5]
        group = PurePosixPath(v1_group if v1 else v2_group)
        # A container may see no more than its own group, under a path of the machine around it.
        below = group.relative_to(root).parts if group.is_relative_to(root) else ()
        for depth in range(len(below) + 1):
            yield _quota(Path(mount, *below[:depth]), v1=v1)


def _quota(group: Path, *, v1: bool) -> float:
    """The quota of one cgroup, in cores."""
    try:
        if v1:
            files = [group / f"cpu.cfs_{name}_us" for name in ("quota", "period")]
            limit, period = (file.read_text("utf-8").strip() for file in files)
        else:
            limit, period = (group / "cpu.max").read_text("utf-8").split()
    except FileNotFoundError:
        return math.inf
    return math.inf if limit in {"max", "-1"} else int(limit) / int(period)


def check_threads(threads: int, name: str = "threads") -> None:
    """Refuse an impossible number of threads, which the message calls `name`."""
    if not 0 <= threads <= MAX_THREADS:
        raise ValueError(
            f"{name} is {threads}; give 0 for one a core, or how many, up to {MAX_THREADS}"
        )


@cache
def has_int8() -> bool:
    """Whether the processor has VNNI (x86) or dot products (Arm), without which int8 is slow."""
    try:
        return not DOT_PRODUCTS.isdisjoint(Path("/proc/cpuinfo").read_text("utf-8").split())
    except OSError:
        # Every Arm Mac has them; other systems do not tell.
        return platform.system() == "Darwin" and platform.machine() == "arm64"
