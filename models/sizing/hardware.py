"""Total and free memory of this machine: main memory and GPUs, in bytes."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from laguna_agent.log import logger
from laguna_agent.programs import python_command

_UNLIMITED = 1 << 60
_DEVICES_S = 60
"""Seconds that llama.cpp may take to list its devices: the first start of a driver is slow."""


class MemorySize(NamedTuple):
    """Main memory: the total, and what is available without swapping."""

    total: int
    available: int


class Gpu(NamedTuple):
    """A graphics card, as llama.cpp's backend reports it."""

    name: str
    total: int
    free: int
    shared: bool = False
    """Its memory is main memory: an integrated card, or a Mac."""
    bandwidth: float = 0.0
    """Bytes per second that it reads; 0 when it is not known."""


def machine_memory(root: Path = Path("/")) -> MemorySize:
    """Main memory of this machine, or of the container that this process runs in.

    `root` is the directory of `proc` and `sys`.
    """
    if sys.platform == "darwin":
        return _darwin()
    values = _fields(root / "proc/meminfo")
    total = values.get("MemTotal", 0) * 1024
    available = values.get("MemAvailable", values.get("MemFree", 0)) * 1024
    for directory, limit, usage in _control_groups(root):
        maximum = _number(directory / limit)
        if maximum is None or maximum >= _UNLIMITED:
            continue
        used = _number(directory / usage) or 0
        # Cached file pages count as used but are freed on demand.
        cached = _fields(directory / "memory.stat").get("inactive_file", 0)
        total = min(total, maximum)
        available = min(available, max(0, maximum - max(0, used - cached)))
    return MemorySize(total, available)


def machine() -> str:
    """The processor's name and the number of its cores."""
    name = platform.machine()
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        name = found[1] if found else name
    except OSError:
        pass
    return f"{name}, {physical_cores()} cores"


def busy(cores: int) -> bool:
    """True while other processes load the machine, so that measuring would mislead."""
    return os.getloadavg()[0] > cores


def physical_cores() -> int:
    """Cores that this process may use, without counting hyper-threads."""
    allowed = (
        os.sched_getaffinity(0)
        if hasattr(os, "sched_getaffinity")
        else set(range(os.cpu_count() or 1))
    )
    cores = set()
    for cpu in allowed:
        try:
            topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
            cores.add(topology.read_text())
        except OSError:
            cores.add(str(cpu))
    return max(1, len(cores))


_BACKENDS = ("cuda", "hip", "vulkan", "metal", "sycl")


def backend() -> str:
    """The backend that the installed llama.cpp was built for: `cuda`, `hip` (ROCm), `vulkan`,
    `metal`, `sycl` or `cpu`.

    Found by the names of its libraries, without loading them.
    """
    directory = library_directory()
    for name in _BACKENDS if directory else ():
        if directory and any(directory.glob(f"libggml-{name}.*")):
            return name
    return "cpu"


def library_directory() -> Path | None:
    """The directory of llama.cpp's libraries; None when they are not installed."""
    spec = find_spec("llama_cpp")
    for directory in (spec.submodule_search_locations or ()) if spec else ():
        return Path(directory, "lib")
    return None


def gpus() -> list[Gpu]:
    """The cards that llama.cpp would use, with the memory that is free now.

    llama.cpp is asked in a process of its own: its drivers take time and memory, and may crash. One
    built for the processor is not asked.
    """
    if backend() == "cpu":
        return []
    try:
        done = subprocess.run(
            python_command("laguna_agent.models.sizing.devices"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_DEVICES_S,
            check=True,
            cwd="/",
        )
        return [Gpu(**one) for one in json.loads(done.stdout.splitlines()[-1])]
    except (OSError, subprocess.SubprocessError, ValueError, TypeError, IndexError) as error:
        logger.warning("llama.cpp does not tell its devices: %s", error)
        return []


def unused_card(root: Path = Path("/")) -> str | None:
    """The maker of a graphics card in this machine: `NVIDIA`, `AMD` or `Intel`, the first of them
    that is there. Found on the PCI bus of Linux; None elsewhere and without one."""
    makers = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}
    found = set()
    for device in root.glob("sys/bus/pci/devices/*"):
        try:
            kind, vendor = (device / "class").read_text(), (device / "vendor").read_text()
        except OSError:
            continue
        if kind.startswith("0x03"):
            found.add(vendor.strip())
    return next((name for code, name in makers.items() if code in found), None)


def _fields(path: Path) -> dict[str, int]:
    """Lines of `name: number` or `name number`."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    return {m[1]: int(m[2]) for m in re.finditer(r"^(\w+):?\s+(\d+)", text, re.MULTILINE)}


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # `max` means no limit
        return None


def _control_groups(root: Path) -> list[tuple[Path, str, str]]:
    """Directories of this process's control group and those above it, with their file names."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return []
    found: list[tuple[Path, str, str]] = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            base, limit, usage = root / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for count in range(len(parts), -1, -1):
            found.append((base.joinpath(*parts[:count]), limit, usage))  # noqa: PERF401 - two lists
    return found


def _darwin() -> MemorySize:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        text = subprocess.run(
            ["/usr/bin/vm_stat"], capture_output=True, text=True, timeout=5, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return MemorySize(total, total // 2)
    size = re.search(r"page size of (\d+) bytes", text)
    page = int(size[1]) if size else 16384
    wanted = ("Pages free", "Pages inactive", "Pages speculative", "Pages purgeable")
    pages = sum(
        int(m[2])
        for m in re.finditer(r"^([\w ]+):\s+(\d+)\.", text, re.MULTILINE)
        if m[1] in wanted
    )
    return MemorySize(total, min(total, pages * page))


def resident() -> int:
    """Resident set size of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
