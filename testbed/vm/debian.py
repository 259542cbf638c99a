"""Debian's kernels as files: fetched from the mirror that apt knows, and nothing of apt's own changes."""

from __future__ import annotations

import fcntl
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nvgre_node.dataplane.build import OUTPUT
from nvgre_node.errors import MissingError

SUITES = {"6.1": "bookworm", "6.12": "bookworm-backports"}
"""Where Debian has each kernel, whatever Debian the machine runs."""
CACHE = OUTPUT / "kernels"
_PACKAGE = "linux-image-amd64"
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_DEPENDS = re.compile(r"^Depends:.*?\b(linux-image-(\d+\.\d+)\.\S+-amd64)\b", re.MULTILINE)
_WHOLE = "whole"
_SHOWN = 4


@dataclass(frozen=True)
class PrivateApt:
    """apt with lists, a cache and a source of its own, all in one folder."""

    folder: Path

    def source(self, mirror: str, suite: str) -> None:
        """Has it know one suite."""
        (self.folder / "state/lists/partial").mkdir(parents=True)
        (self.folder / "cache/archives/partial").mkdir(parents=True)
        line = f"deb [arch=amd64 signed-by={_KEYS}] {mirror} {suite} main\n"
        (self.folder / "sources.list").write_text(line)

    def options(self) -> list[str]:
        """What tells apt's programs so."""
        return [
            *("-o", f"Dir::State={self.folder}/state", "-o", f"Dir::Cache={self.folder}/cache"),
            *(
                "-o",
                f"Dir::Etc::SourceList={self.folder}/sources.list",
                "-o",
                f"Dir::Etc::SourceParts={self.folder}/none",
            ),
            *("-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none", "-q"),
        ]

    def update(self) -> None:
        """Fetches the list of packages."""
        run(["apt-get", *self.options(), "update"], self.folder)

    def package(self, series: str) -> str:
        """The package of a series' newest kernel. Raises MissingError if the suite has another."""
        said = run(["apt-cache", *self.options(), "show", "--no-all-versions", _PACKAGE], self.folder)
        return package_of(said, series)

    def download(self, package: str) -> Path:
        """Fetches a package."""
        run(["apt-get", *self.options(), "download", package], self.folder)
        [path] = self.folder.glob("*.deb")
        return path


def missing(series: str) -> str:
    """Why a kernel that is not in the cache cannot be had here; empty if it can be tried."""
    if platform.machine() != "x86_64":
        return f"kernels are fetched for x86_64 only; this machine is {platform.machine()}"
    if not all(map(shutil.which, ("apt-get", "dpkg"))) or not _KEYS.exists():
        return f"Linux {series} is a package of Debian's, and this is no Debian: name a kernel's image, --kernel FILE"
    return ""


def kernel(series: str) -> Path:
    """The folder with the files of a kernel, `boot` and modules; fetched, some 70 MB, if it is not there yet.

    Raises:
        MissingError: it cannot be had.
    """
    target = CACHE / series
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who comes second finds it there
        if not (target / _WHOLE).exists():
            if reason := missing(series):
                raise MissingError(reason)
            with _room(target) as folder:
                _fetch(series, folder)
    return target


@contextmanager
def _room(target: Path) -> Iterator[Path]:
    """A folder that becomes the target if all goes well, and else is gone; so is what a killed one left."""
    fresh = target.with_suffix(".part")
    for old in (fresh, target):
        shutil.rmtree(old, ignore_errors=True)
    fresh.mkdir()
    try:
        yield fresh
        (fresh / _WHOLE).touch()
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _fetch(series: str, folder: Path) -> None:
    apt = PrivateApt(folder / "apt")
    apt.source(mirror(), SUITES[series])
    apt.update()
    run(["dpkg", "-x", str(apt.download(apt.package(series))), str(folder)], folder)
    for modules in modules_in(folder):
        run(["depmod", "-b", str(modules.parents[2]), modules.name], folder)
    shutil.rmtree(apt.folder)


def modules_in(folder: Path) -> list[Path]:
    """The folders of modules below a root, one for each release of a kernel."""
    return [path for place in ("lib", "usr/lib") for path in (folder / place / "modules").glob("*") if path.is_dir()]


def mirror() -> str:
    """Where this machine's apt gets Debian from."""
    wanted = "$(ORIGIN) $(LABEL) $(REPO_URI)"
    said = run(["apt-get", "indextargets", "--format", wanted, "Created-By: Packages"], OUTPUT)
    return mirror_of(said)


def mirror_of(targets: str) -> str:
    """The first place of Debian's own main archive among "origin label address" lines.

    Raises:
        MissingError: apt knows none, or has not been there yet.
    """
    for line in targets.splitlines():
        if line.startswith("Debian Debian "):
            return line.removeprefix("Debian Debian ")
    raise MissingError("apt knows no mirror of Debian's (apt-get update), and kernels come from one: or --kernel FILE")


def package_of(record: str, series: str) -> str:
    """The package that the record of Debian's `linux-image-amd64` leads to; as PrivateApt.package."""
    found = _DEPENDS.search(record)
    if found is None or found.group(2) != series:
        other = f", but {found.group(1)}" if found else ""
        raise MissingError(
            f"Debian has no Linux {series} in {SUITES[series]}{other}: name a kernel's image, --kernel FILE"
        )
    return found.group(1)


def run(command: list[str], folder: Path) -> str:
    """What a command prints; it dies with this process. Raises MissingError with its last words if it fails."""
    try:
        done = subprocess.run(
            ["setpriv", "--pdeathsig", "KILL", "--", *command], cwd=folder, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise MissingError(f"{command[0]} is missing") from error
    if done.returncode:
        words = "\n".join((done.stderr or done.stdout).strip().splitlines()[-_SHOWN:])
        raise MissingError(f"a kernel could not be fetched; {command[0]} says:\n{words}")
    return done.stdout
