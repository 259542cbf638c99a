"""A run is a folder: writes one, reads one back, and says in one message what is wrong with one."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from experiments import cells, schema
from experiments.results import Outcome
from nvgre_node.errors import BadInputError

RESULTS, MANIFEST, SCENARIO, TARGET = "results.json", "manifest.json", "scenario.yaml", "target.yaml"


class RunError(BadInputError):
    """A run cannot be read; the message names the file and what is wrong with it: exit status 2."""


class Run:
    """One run: what was found (`outcomes`), under which circumstances (`manifest`), in which folder.

    `scenario_text` is that of its scenario or, where `is_of_target`, of its target file.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], scenario_text: str | None = None) -> None:
        self.folder = folder
        self.manifest = manifest
        self.scenario_text = scenario_text
        self.outcomes: list[Outcome] = []
        self._tables: set[str] = set()

    @classmethod
    def create(
        cls, results_dir: Path, names: Sequence[str], manifest: dict[str, Any], scenario_text: str | None = None
    ) -> Run:
        """A new run in a new folder `<UTC>-<names>` of `results_dir`, which is made where it is missing."""
        missing = [path for path in (results_dir, *results_dir.parents) if not path.exists()]
        results_dir.mkdir(parents=True, exist_ok=True)
        _hand_over(*missing)
        run = cls(_new_folder(results_dir, names), manifest, scenario_text)
        run.hand_over()
        return run

    def add(self, outcome: Outcome) -> None:
        """Takes in one more outcome; `save` writes it."""
        self.outcomes.append(outcome)

    @property
    def is_of_target(self) -> bool:
        """Whether it is about an NVE that was there before."""
        return "target" in self.manifest

    @property
    def source(self) -> Path:
        """The file in it that says what it is about."""
        return self.folder / (TARGET if self.is_of_target else SCENARIO)

    @property
    def stems(self) -> tuple[str, ...]:
        """The file name stem of each outcome: `mtu`, or `mtu-ovs` where several data planes ran the same experiment."""
        return _stems(self.outcomes)

    def save(self) -> None:
        """Writes everything. `results.json` comes last: where it is, the rest is too."""
        tables = {
            f"{stem}.csv": cells.write(outcome.samples)
            for stem, outcome in zip(self.stems, self.outcomes, strict=True)
            if outcome.samples or not outcome.skipped
        }
        for name, text in tables.items():
            self.write(name, text)
        for outcome in self.outcomes:
            for name, content in outcome.files.items():
                self.write(name, content)
        for stale in self._tables - tables.keys():  # an experiment that met a second data plane changed its name
            (self.folder / stale).unlink(missing_ok=True)
        self._tables = set(tables)
        if self.scenario_text is not None:
            self.write(self.source.name, self.scenario_text)
        self.write(MANIFEST, _json(self.manifest))
        self.write(RESULTS, _json(schema.write(self.outcomes)))
        self.hand_over()

    def write(self, name: str, content: str | bytes) -> Path:
        """Writes a file of the run atomically: a reader sees the old one or the new one, never half of it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_bytes(content.encode() if isinstance(content, str) else content)
        draft.replace(path)
        return path

    def hand_over(self) -> None:
        """Under sudo, gives the folder and its files to the user who called sudo."""
        _hand_over(self.folder, *self.folder.rglob("*"))

    @classmethod
    def open(cls, path: Path) -> Run:
        """Reads a run back, so that it can be rendered again.

        Raises:
            RunError: it is missing or damaged.
        """
        if not (path / RESULTS).is_file():
            raise RunError(f"{path}: not a run: there is no {RESULTS} in it")
        manifest = _read_json(path / MANIFEST)
        run = cls(path, manifest)
        run.scenario_text = _read(run.source) if run.source.exists() else None
        run.outcomes = _read_outcomes(path)
        return run


def _new_folder(results_dir: Path, names: Sequence[str]) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    name = f"{stamp}-{'+'.join(_slug(name) for name in names)}"
    for attempt in count(1):
        folder = results_dir / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            folder.mkdir()
        except FileExistsError:  # another run began in the same second
            continue
        return folder
    raise AssertionError("unreachable")


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)


def _stems(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Short names first; longer ones only where the short one is taken."""
    parts = [(_slug(o.experiment), _slug(o.dataplane), _slug(o.scenario)) for o in outcomes]
    stems = [experiment for experiment, _, _ in parts]
    for i in (1, 2):
        taken = Counter(stems)
        stems = [f"{stem}-{part[i]}" if taken[stem] > 1 else stem for stem, part in zip(stems, parts, strict=True)]
    seen: Counter[str] = Counter()
    for at, stem in enumerate(stems):
        seen[stem] += 1
        stems[at] = stem if seen[stem] == 1 else f"{stem}-{seen[stem]}"
    return tuple(stems)


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise RunError(f"{path}: cannot be read: {reason}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise RunError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: holds no JSON object")
    return content


def _read_outcomes(folder: Path) -> list[Outcome]:
    path = folder / RESULTS
    try:
        bare = schema.read(_read_json(path))
    except ValueError as error:
        raise RunError(f"{path}: {error}") from error
    return [_with_samples(outcome, folder / f"{stem}.csv") for outcome, stem in zip(bare, _stems(bare), strict=True)]


def _with_samples(outcome: Outcome, table: Path) -> Outcome:
    if outcome.skipped and not table.exists():
        return outcome
    try:
        samples = cells.read(_read(table))
    except ValueError as error:
        raise RunError(f"{table}: damaged: {error}") from error
    return replace(outcome, samples=samples)


def _hand_over(*paths: Path) -> None:
    user, group = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() == 0 and user.isdecimal() and group.isdecimal():
        for path in paths:
            os.chown(path, int(user), int(group), follow_symlinks=False)
