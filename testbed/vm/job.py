"""What a guest is asked to do, as files in a folder that it shares with the host, and what it answers there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nvgre_node.dataplane.openvswitch.datapath import VARIABLE
from nvgre_node.errors import BadInputError

SCRIPTS = Path(__file__).parent / "guest"
INSIDE = "NVGRE_VM"
"""Names the engine in the environment of what runs in a guest."""
_PASSED_ON = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TERM", "TZ", "USER", "COLUMNS", VARIABLE)
_HIDDEN = tuple(map(Path, ("/dev", "/proc", "/run", "/sys")))
"""What a guest has of its own."""
_LONGEST = 100_000
PIPES, DIALOGUE, TERMINAL = "pipes", "dialogue", "terminal"
"""How a command is joined to the host: output alone, or input too, or by a terminal."""


@dataclass(frozen=True)
class Job:
    """A command (words of any bytes but NUL), the folder it runs in, and the folders whose new files come back."""

    command: Sequence[str]
    folder: Path = field(default_factory=Path.cwd)
    bring_back: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: passed_on(os.environ))
    mode: str = PIPES

    def check(self) -> None:
        """Raises BadInputError for what no guest can do."""
        for path in (self.folder, *self.bring_back):
            if hidden := [own for own in _HIDDEN if path.is_relative_to(own)]:
                raise BadInputError(f"{path}: a guest has a {hidden[0]} of its own; use another folder")
        if sum(len(os.fsencode(word)) + 1 for word in self.command) > _LONGEST:
            raise BadInputError(f"the command is too long: more than {_LONGEST} bytes")

    def write(self, folder: Path, engine: str) -> None:
        """Writes it into a new folder, for the guest to read."""
        folder.mkdir(mode=0o700)
        shutil.copytree(SCRIPTS, folder / "guest")
        variables = [f"{name}={value}" for name, value in {**self.environment, INSIDE: engine}.items()]
        words = ["env", "-i", "-C", str(self.folder), *variables, *self.command]
        (folder / "command").write_bytes(_words(words))
        (folder / "back").write_bytes(_words([str(path.relative_to("/")) for path in self.bring_back]))
        (folder / "mode").write_text(f"{self.mode}\n")


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """What of an environment a command in a guest gets."""
    return {name: environment[name] for name in _PASSED_ON if name in environment}


def status(folder: Path) -> int | None:
    """The exit status that the guest wrote; None: it did not get there.

    A command that a signal ended has 128 more than the signal's number.
    """
    try:
        return int((folder / "status").read_text())
    except (FileNotFoundError, ValueError):
        return None


def bring_back(job: Job, folder: Path) -> None:
    """Copies what the guest wrote in the job's folders to where it would have been written without a guest."""
    for path in job.bring_back:
        written = folder / "written" / path.relative_to("/")
        if written.is_dir():
            shutil.copytree(written, path, symlinks=True, dirs_exist_ok=True)


def is_complete(folder: Path) -> bool:
    """Whether everything that was to come back is there."""
    return not (folder / "lost").exists()


def _words(words: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(word) + b"\0" for word in words)
