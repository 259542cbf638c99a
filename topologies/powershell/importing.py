"""A script of Hyper-V's cmdlets as a scenario: what it makes, in the words of the scenario language. Pure.

Whatever is wrong is told in one pass, at its line and column in the script: syntax, ranges, what the commands have
against each other, and at last what the rules of scenarios have against the network that they make.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError

from nvgre_node.choices import RecordType
from nvgre_node.policy import Address
from topologies import checks, facts, wording
from topologies.emit import comment, yaml_text
from topologies.powershell import cmdlets, commands
from topologies.powershell.names import Names
from topologies.powershell.overlay import Domain, Overlay, Subnet, Vm
from topologies.powershell.profile import HNV
from topologies.powershell.records import Made, made
from topologies.powershell.underlay import ROUTER, Underlay
from topologies.problems import Finding, Problem, ScenarioError
from topologies.problems import Path as At
from topologies.schema import ScenarioPart
from topologies.source import Language
from topologies.written import Data, plain

PROBLEMS_AT_MOST = 100
_LEAST = "such as New-NetVirtualizationLookupRecord -CustomerAddress 10.0.0.5 ..."

LANGUAGE = Language("PowerShell script", "New-NetVirtualizationLookupRecord", "New-NetVirtualizationLookupRecord ...")
"""What a file is meant to be, for the hints of who reads it."""


@dataclass(frozen=True)
class Imported:
    """A scenario's data, and what had to be assumed or was left out, a line each."""

    data: Data
    notes: tuple[str, ...]

    def text(self) -> str:
        """The scenario file."""
        head = comment(["Assumed, or left out:", *(f"- {note}" for note in self.notes)]) if self.notes else ""
        return head + ("\n" if head else "") + yaml_text(self.data)


def imported(text: str, file: str) -> Imported:
    """The scenario of a script; `file` is what to call it in messages.

    Raises:
        ScenarioError: something is wrong with it: all of it, line by line.
    """
    script = commands.read(text)
    problems = script.problems
    makes = list(made(script.commands, problems))
    if not script.commands and not problems:
        raise ScenarioError(file, [Problem("", "makes no policy", _LEAST)])
    network = _Network(makes, PurePath(file).stem)
    data = network.data()
    problems += network.problems
    if not problems and not network.has_vms:
        problems.append(Problem("", "no lookup record names a VM", _LEAST))
    if not problems:
        problems += [network.place(finding) for finding in _findings(data)]
    if problems:
        ordered = sorted(dict.fromkeys(problems), key=lambda problem: (problem.line, problem.column))
        raise ScenarioError(file, ordered[:PROBLEMS_AT_MOST])
    ignored = [f"{name} makes no part of the policy" for name in script.ignored]
    return Imported(data, (*network.notes, *ignored))


def _findings(data: Data) -> list[Finding]:
    """What the scenario language has against it."""
    try:
        ScenarioPart.model_validate(data)
    except ValidationError as error:
        return [*wording.findings(error), *checks.check(facts.read(data))]
    return checks.check(facts.read(data))


class _Network:
    """The network that commands make."""

    def __init__(self, makes: list[Made], name: str) -> None:
        self._nodes = Names(ROUTER, of_nodes=True)
        self._underlay, self._overlay = Underlay(self._nodes), Overlay()
        self._origin = self._underlay.origin
        self._name = Names().new(name, "imported")
        self._of = {own.name: [m for m in makes if m.cmdlet is own] for own in cmdlets.CMDLETS.values()}
        self._external: bool | None = None
        self.problems: list[Problem] = []

    @property
    def notes(self) -> list[str]:
        """What is assumed."""
        return [*self._underlay.notes, *self._overlay.notes]

    @property
    def has_vms(self) -> bool:
        """Whether anybody is there to talk."""
        return any(subnet.vms for subnet in self._overlay.subnets)

    def place(self, finding: Finding) -> Problem:
        """A finding at the place of the script that it is about: of the value, or of what that belongs to."""
        path: At = finding.path
        while path and path not in self._origin:
            path = path[:-1]
        return Problem("", finding.message, finding.hint, *self._origin.get(path, (0, 0)))

    def data(self) -> Data:
        """The scenario, as far as the commands have nothing against each other: else there are problems."""
        for own in self._of[cmdlets.PROVIDER_ADDRESS.name]:
            self._underlay.add_address(own)
        for own in _in_order(self._of[cmdlets.CUSTOMER_ROUTE.name], self._of[cmdlets.LOOKUP_RECORD.name]):
            add = self._overlay.add_route if own.cmdlet is cmdlets.CUSTOMER_ROUTE else self._overlay.add_record
            add(own)
        self._overlay.finish()
        for vm in (vm for subnet in self._overlay.subnets for vm in subnet.vms.values()):
            self._underlay.host_of(vm.pa, vm.first.at("ProviderAddress"))
        for own in self._of[cmdlets.PROVIDER_ROUTE.name]:
            self._underlay.add_route(own)
        self._read_global()
        tenants = self._tenants()
        title = f"Imported from the Hyper-V policy of {self._name}"
        data: Data = {"name": self._name, "title": title, "nve": {name: plain(value) for name, value in HNV.items()}}
        data |= self._underlay.data() | {"tenants": tenants}
        self.problems += [*self._underlay.problems, *self._overlay.problems]
        return data

    def _read_global(self) -> None:
        """Set-NetVirtualizationGlobal: all hosts do the same, in this language."""
        for own in self._of[cmdlets.GLOBAL.name]:
            external = own.values["UseExternalRouter"]
            if self._external not in (None, external):
                what = "UseExternalRouter is set otherwise above"
                self.problems.append(own.problem("UseExternalRouter", what, "all hosts do the same here"))
            self._external = external
            named = {self._underlay.host(session).name for session in own.sessions}
            without = sorted(host.name for host in self._underlay.hosts.values() if host.pas and host.name not in named)
            if external and own.sessions and without:
                what = f"{', '.join(without)} is not among the hosts"
                self.problems.append(own.problem("CimSession", what, "all hosts do the same here"))

    def _tenants(self) -> Data:
        tenants, subnets = Names(), Names()
        named = {subnet.vsid: subnets.new(subnet.wanted, f"net{subnet.vsid}") for subnet in self._overlay.subnets}
        made: Data = {}
        for number, domain in enumerate(self._overlay.domains.values(), start=1):
            name = tenants.new(domain.wanted, f"tenant{number}")
            made[name] = self._tenant(name, domain, named)
        return made

    def _tenant(self, name: str, domain: Domain, named: dict[int, str]) -> Data:
        at: At = ("tenants", name)
        self._origin[at] = domain.place
        made: Data = {"router": domain.is_known and not self._external}
        if domain.routes:
            made["routes"] = [self._route((*at, "routes", n), own) for n, own in enumerate(domain.routes)]
        own = {named[subnet.vsid]: subnet for subnet in domain.subnets}
        made["subnets"] = {called: self._subnet((*at, "subnets", called), subnet) for called, subnet in own.items()}
        vms = Data()
        for vm, subnet in _in_turn(own):
            called = self._nodes.new(vm.wanted, f"vm_{len(vms) + 1}", most=15)
            vms[called] = self._vm((*at, "vms", called), vm, subnet, self._overlay.subnets.index(own[subnet]))
        return made | ({"vms": vms} if vms else {})

    def _route(self, at: At, own: Made) -> Data:
        if self._external:
            what = "UseExternalRouter is on, so that no host takes this route"
            self.problems.append(own.problem("NextHop", what, "leave it out, or say -UseExternalRouter $false"))
        self._origin |= {at: own.place, (*at, "to"): own.at("DestinationPrefix"), (*at, "via"): own.at("NextHop")}
        metric = own.values.get("Metric") or 0
        made: Data = {"to": str(own.values["DestinationPrefix"]), "via": str(own.values["NextHop"])}
        return made | ({"metric": metric} if metric else {})

    def _subnet(self, at: At, subnet: Subnet) -> Data:
        self._origin[at] = subnet.place
        made: Data = {"vsid": subnet.vsid, "prefixes": [str(prefix) for prefix in subnet.prefixes]}
        self._origin |= {(*at, "prefixes", n): place for n, place in enumerate(subnet.prefixes.values())}
        if subnet.group:
            made["group"], self._origin[(*at, "group")] = str(subnet.group[0]), subnet.group[1]
        if subnet.groups:
            made["groups"] = {str(inner): str(outer) for inner, (outer, _) in subnet.groups.items()}
            self._origin |= {(*at, "groups", str(inner)): place for inner, (_, place) in subnet.groups.items()}
        return made

    def _vm(self, at: At, vm: Vm, subnet: str, index: int) -> Data:
        self._origin |= {at: vm.first.place, (*at, "mac"): vm.first.at("MACAddress")}
        self._origin |= {(*at, "ca", n): place for n, place in enumerate(vm.cas.values())}
        self._origin |= {(*at, key): vm.first.at("ProviderAddress") for key in ("host", "pa")}
        host = self._underlay.host_of(vm.pa, vm.first.at("ProviderAddress"))
        made: Data = {"subnet": subnet, "host": host.name, "ca": [str(ca) for ca in vm.cas], "mac": vm.mac}
        if vm.record is not RecordType.STATIC:
            made["record"] = plain(vm.record)
        return made | ({"pa": str(vm.pa)} if vm.pa != _usual_pa(host.pas, index) else {})


def _in_turn(subnets: dict[str, Subnet]) -> list[tuple[Vm, str]]:
    """The VMs of a tenant with the names of their virtual subnets, in the order in which the script names them."""
    vms = ((vm, name) for name, subnet in subnets.items() for vm in subnet.vms.values())
    return sorted(vms, key=lambda own: own[0].first.place)


def _usual_pa(pas: list[Any], index: int) -> Address:
    """The PA that a virtual subnet has on a host without being told: hosts give their PAs away in turn."""
    own: Address = pas[index % len(pas)].ip
    return own


def _in_order(*lists: list[Made]) -> list[Made]:
    """What several cmdlets make, in the order of the script."""
    return sorted((own for makes in lists for own in makes), key=lambda own: own.place)
