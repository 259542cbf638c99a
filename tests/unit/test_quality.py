"""The tree is as CONTRIBUTING says: formatted, linted, typed, and its imports run one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("nvgre_node", "topologies", "experiments", "testbed")
PURE = (
    "wire",
    "policy",
    "choices",
    "deviations",
    "explain",
    "faults",
    "consistency",
    "underlay",
    "live",
    "acl",
    "vendor",
    "routing",
    "outside",
    "ruleset",
    "fabric",
    "outer",
    "errors",
    "dataplane/base",
    "dataplane/capability",
    "dataplane/layouts",
    "dataplane/tables",
    "dataplane/decoded",
    "dataplane/model/*",
    "dataplane/openvswitch/pipeline",
    "dataplane/openvswitch/flows",
    "dataplane/openvswitch/sending",
    "dataplane/openvswitch/receiving",
    "dataplane/openvswitch/answering",
    "dataplane/openvswitch/routes",
    "dataplane/openvswitch/filtering",
    "dataplane/openvswitch/underlay",
)
TOUCHING = {"pyroute2", "mininet", "scapy", "ctypes", "subprocess", "socket", "os"}


def imports(path: Path) -> set[str]:
    """The top-level names of everything that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize(
    "command",
    [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)],
    ids=["ruff finds nothing", "ruff would format nothing", "mypy, strict, finds nothing"],
)
def test_the_tools_agree(command: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    later = set(PACKAGES[PACKAGES.index(package) + 1 :])
    offenders = {path.name: found for path in (ROOT / package).rglob("*.py") if (found := imports(path) & later)}
    assert not offenders


@pytest.mark.parametrize("module", PURE)
def test_the_pure_core_touches_nothing(module: str) -> None:
    files = list((ROOT / "nvgre_node").glob(f"{module}.py"))
    assert files
    assert not {path.name: found for path in files if (found := imports(path) & TOUCHING)}


def test_a_data_plane_imports_no_other() -> None:
    here = ROOT / "nvgre_node/dataplane"
    planes = {path.stem for path in here.iterdir()} & {"ebpf", "gretap", "ovs", "model"}
    for plane in planes:
        for path in (*here.glob(f"{plane}.py"), *here.glob(f"{plane}/*.py")):
            assert not [other for other in planes - {plane} if f"dataplane.{other}" in path.read_text()]
