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
        """The programs with this change, which must be there to be made; compiled once per version of the sources."""
        sources = folder / "bpf"
        shutil.copytree(build.SOURCES, sources)
        text = (sources / self.file).read_text()
        assert self.text in text, "the sources have moved on: so must this mutant"
        (sources / self.file).write_text(text.replace(self.text, self.instead))
        target = kept() / f"{program}-{build.digest(sources)}.bpf.o"
        return target if target.exists() else build.compile_programs(sources, target, program)


def kept() -> Path:
    """Where mutants of the present sources are kept; those of earlier ones are removed when there is none yet."""
    folder = build.OUTPUT / f"mutants-{build.digest(build.SOURCES)}"
    if not folder.exists():
        for earlier in set(build.OUTPUT.glob("mutants-*")) - {folder}:
            shutil.rmtree(earlier, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def without(file: str, condition: str) -> Mutant:
    """A condition that is never true."""
    return Mutant(file, f"if ({condition})", "if (0)")
