"""Conducts experiments one after the other and writes a run with its report."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.base import Context, Experiment, Progress, Workbench
from experiments.manifest import finish, manifest
from experiments.store import Run
from nvgre_node.dataplane import DATAPLANES, implementation
from topologies import Scenario
from topologies.target import Target

EXPERIMENTS = ("isolation", "mtu", "throughput", "ecmp", "migration", "interop", "expectations", "conformance")
"""The experiments there are; each is a module of this package, or a package in it."""

TOGETHER = frozenset({"interop"})
"""Those that are about all data planes at once, and run once."""

RESULTS = Path(__file__).parents[1] / "results"
"""Where runs are written unless told otherwise."""

EVERYBODY = "each with each"
"""What stands in place of a data plane where all are meant."""

FOREIGN = "foreign"
"""What the data plane of a target is called."""

_OFFLOADS = {"veth": "as the kernel makes it", "throughput": "switched on and off; see throughput.csv"}


@dataclass(frozen=True)
class Plan:
    """What to run: experiments times data planes on one scenario. `arguments` are noted in the manifest.

    With a `target`, `scenario` is the network that its file speaks of, and the data plane is somebody else's.
    """

    experiments: Sequence[str]
    scenario: Scenario
    dataplanes: Sequence[str] = ("ebpf",)
    quick: bool = False
    seed: int = 7637
    out: Path = RESULTS
    arguments: Sequence[str] = ()
    target: Target | None = None
    together: Sequence[str] = tuple(DATAPLANES)
    """The data planes of experiments that are about all of them."""

    @property
    def used(self) -> tuple[str, ...]:
        """The data planes that it runs on."""
        alone = self.dataplanes if set(self.experiments) - TOGETHER else ()
        return tuple(dict.fromkeys((*alone, *(self.together if TOGETHER & set(self.experiments) else ()))))


def experiment(name: str) -> Experiment:
    """An experiment by name; imported only now, since Scapy and Mininet take their time."""
    found: Experiment = importlib.import_module(f"experiments.{name}").run
    return found


def datapaths(plan: Plan) -> dict[str, str]:
    """What forwards, of each data plane that leaves that to the machine, be it one host's alone."""
    hosts = () if plan.target else (nve.dataplane for nve in plan.scenario.policy.nves if nve.dataplane)
    names = [] if plan.target else sorted({*plan.used, *hosts})
    return {name: forwards for name in names if (forwards := implementation(name).datapath)}


def conduct(plan: Plan, progress: Callable[[str, str], Progress], workbench: Workbench | None = None) -> Run:
    """Runs the plan, writes the run and its report. `progress` makes a listener per experiment and data plane."""
    scenario = plan.scenario
    mtus = {"underlay": scenario.fabric.mtu, "tenant": scenario.tenant_mtu}
    kind, offloads = ("target", {}) if plan.target else ("scenario", _OFFLOADS)
    file = {kind: {"name": scenario.name, "sha256": scenario.sha256}}
    noted = manifest(file, plan.seed, plan.used, mtus, offloads, plan.arguments, datapaths(plan))
    run = Run.create(plan.out, plan.experiments, noted, scenario.text)
    try:
        for name in plan.experiments:
            for dataplane in (EVERYBODY,) if name in TOGETHER else plan.dataplanes:
                listener, own = progress(name, dataplane), (tuple(plan.together), workbench)
                context = Context(scenario, dataplane, listener, plan.quick, plan.seed, plan.target, *own)
                run.add(experiment(name)(context))
                run.save()
    finally:
        finish(noted)
        if run.outcomes:  # what was found stays found, also when a later experiment is interrupted
            run.save()
        else:
            shutil.rmtree(run.folder)
    render(run, scenario)
    return run


def render(run: Run, scenario: Scenario) -> Path:
    """Draws the figures and writes the report of a run; returns the page's path."""
    from experiments import report  # matplotlib takes its time too

    return report.render(run, scenario.policy, scenario.fabric)
