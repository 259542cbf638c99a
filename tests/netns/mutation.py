"""A data plane with one thing wrong: the BPF programs, compiled after one change to their sources."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from nvgre_node.dataplane import build


@dataclass(frozen=True)
class Mutant:
    """One change to the sources of the BPF programs: in a file, a text and what takes its place."""

    file: str
    text: str
    instead: str

    def compiled(self, folder: Path, program: str = "nvgre") -> Path:
        """The programs with this change, which must be there to be made."""
        sources = folder / "bpf"
        shutil.copytree(build.SOURCES, sources)
        text = (sources / self.file).read_text()
        assert self.text in text, "the sources have moved on: so must this mutant"
        (sources / self.file).write_text(text.replace(self.text, self.instead))
        return build.compile_programs(sources, folder / "mutant.bpf.o", program)


def without(file: str, condition: str) -> Mutant:
    """A condition that is never true."""
    return Mutant(file, f"if ({condition})", "if (0)")
