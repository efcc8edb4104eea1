"""Can this machine be asked, and what is it? Its CPUs, compiler and kernel, and the sentence to say where it cannot be."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from checker.search.build import NoCompiler, compiler

_MEMBARRIER = 324  # the system call's number on x86-64
_MOST_CPUS = 256  # as many as the harness has room for, the patcher's among them
_NEEDED = 0b1111000  # private expedited, and the same that serialises; each with its registration


class CannotAsk(Exception):
    """This machine cannot be asked; the message says why."""


@dataclass(frozen=True)
class Host:
    """The machine that was asked."""

    cpu: str
    family: str
    microcode: str
    cpus: int
    kernel: str
    hypervisor: str

    @property
    def says(self) -> str:
        where = f", under {self.hypervisor}" if self.hypervisor != "none" else ""
        return f"{self.cpu} ({self.family}), microcode {self.microcode}, {self.cpus} CPUs{where}, {self.kernel}"

    @property
    def facts(self) -> dict[str, object]:
        return asdict(self)


def cpus() -> list[int]:
    """The CPUs that a run uses: the patcher's, and those that execute. Raises CannotAsk where there is no run."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise CannotAsk(
            f"silicon is asked on Linux on x86-64 only, and this is {platform.system()} on {platform.machine()}"
        )
    found = sorted(os.sched_getaffinity(0))
    if len(found) < 2:
        raise CannotAsk("there is only one CPU here: nobody would run the site while it is rewritten")
    if membarrier() & _NEEDED != _NEEDED:
        raise CannotAsk("this kernel has no membarrier that serialises (MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE)")
    try:
        compiler()
    except NoCompiler as error:
        raise CannotAsk(str(error)) from error
    return found[:_MOST_CPUS]


def membarrier() -> int:
    """The commands of membarrier(2) that this kernel has, as a mask; 0 where it has none."""
    return max(0, int(ctypes.CDLL(None).syscall(_MEMBARRIER, 0, 0, 0)))


def host() -> Host:
    """What this machine says of itself."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        text = ""
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    names = ("vendor_id", "cpu family", "model", "stepping")
    vendor, family, model, stepping = (said.get(name, "unknown") for name in names)
    hypervisor = "none"
    if "hypervisor" in said.get("flags", "").split():
        hypervisor = _hypervisor()
    return Host(
        said.get("model name", "unknown"),
        f"{vendor} family {family} model {model} stepping {stepping}",
        said.get("microcode", "unknown"),
        os.cpu_count() or 1,
        f"Linux {platform.release()}",
        hypervisor,
    )


def _hypervisor() -> str:
    try:
        said = subprocess.run(["lscpu"], capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    except OSError:
        return "unknown"
    lines = (line.partition(":") for line in said.stdout.splitlines())
    return next((value.strip() for key, _, value in lines if key == "Hypervisor vendor"), "unknown")
