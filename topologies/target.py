"""The target file: an NVE that this project did not start, and what it and we know of each other.

What it says is a network of two NVEs, the target and us, with a tenant system behind each: a scenario that nobody
builds, since half of it is there, and the other half is played. Touches only the file it reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from ipaddress import ip_interface
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PlainValidator, StrictBool, ValidationError

from nvgre_node.choices import Ecn, FlowIds, Fragments
from nvgre_node.fabric import Attachment, Fabric, FabricLink
from nvgre_node.policy import Address, Nve, Policy, VirtualSubnet, Vm
from nvgre_node.wire import OVERHEAD
from topologies import values, wording
from topologies.problems import Finding, Problem, ScenarioError
from topologies.problems import Path as At
from topologies.scenario import Scenario
from topologies.schema import Ca, Mac, Mtu, OuterDscp, Part, Ttl, Vsid
from topologies.source import Language, Source, parse, read_text

TARGET, US, INSIDE, OUTSIDE = "target", "us", "inside", "outside"
"""What the two NVEs, and the tenant systems behind them, are called."""

_MTU, _TENANT_MTU = 1500, 1500
_UNKNOWN_MAC = "asked for"
_LANGUAGE = Language("target file", "interface, nve, us, vsid, inside and outside", "interface: eth1")

PlainPa = Annotated[Address, PlainValidator(values.plain_pa)]
Interface = Annotated[str, PlainValidator(values.interface)]
Namespace = Annotated[str, PlainValidator(values.namespace)]


class OptionalFields(StrEnum):
    """What a receiver does with GRE packets that have a checksum or a sequence number (G11)."""

    DROP = "drop"
    ACCEPT = "accept"


class NvePart(Part):
    """The NVE under test. `via` is the router on the way to it, if there is one; `mac` that of the next hop."""

    pa: PlainPa = Field(examples=["pa: 192.168.1.10"])
    via: PlainPa | None = None
    mac: Mac | None = None


class UsPart(Part):
    """The NVE that we play."""

    pa: PlainPa = Field(examples=["pa: 192.168.1.1"])


class InsidePart(Part):
    """The tenant system behind the target: answers ping. Its MAC address is asked for where it is not said.

    `priority_tags` says that it would answer a ping with VLAN tag 0 too, as Linux does: then silence shows a drop (I6).
    """

    ca: Ca = Field(examples=["ca: 10.1.1.11"])
    mac: Mac | None = None
    priority_tags: StrictBool = False


class OutsidePart(Part):
    """The tenant system that we play: what the target's policy expects behind our PA."""

    ca: Ca = Field(examples=["ca: 10.1.1.12"])
    mac: Mac = Field(examples=["mac: 02:00:0a:01:01:0c"])


class OptionsPart(Part):
    """What the target does where RFC 7637 leaves a choice. What is not said is reported, and not judged."""

    flow_ids: FlowIds | None = None
    ttl: Ttl | None = None
    dscp: OuterDscp | None = None
    ecn: Ecn | None = None
    fragments: Fragments | None = None
    optional_fields: OptionalFields | None = None
    checks_source: StrictBool = False


class TargetPart(Part):
    """A whole target file. `mtu` is what the underlay between the target and us carries, in bytes of IP packet."""

    interface: Interface = Field(examples=["interface: eth1"])
    namespace: Namespace | None = None
    mtu: Mtu = _MTU
    nve: NvePart = Field(examples=["nve: {pa: 192.168.1.10}"])
    us: UsPart = Field(examples=["us: {pa: 192.168.1.1}"])
    vsid: Vsid = Field(examples=["vsid: 5001"])
    other_vsid: Vsid | None = None
    inside: InsidePart = Field(examples=["inside: {ca: 10.1.1.11}"])
    outside: OutsidePart = Field(examples=["outside: {ca: 10.1.1.12, mac: 02:00:0a:01:01:0c}"])
    options: OptionsPart = OptionsPart()


_PLACES: wording.Places = {
    (): TargetPart,
    ("nve",): NvePart,
    ("us",): UsPart,
    ("inside",): InsidePart,
    ("outside",): OutsidePart,
    ("options",): OptionsPart,
}


@dataclass(frozen=True)
class Target:
    """An NVE to be tested. `scenario` is the network that its file speaks of; `said` is the file's content."""

    scenario: Scenario
    said: TargetPart

    @property
    def options(self) -> OptionsPart:
        """What it does where there is a choice."""
        return self.said.options


def load_target(path: str | os.PathLike[str]) -> Target:
    """The target of a file.

    Raises:
        ScenarioError: it cannot be read, or something is wrong with it: all of it, line by line.
    """
    file = os.fspath(path)
    text = read_text(Path(file), file, _LANGUAGE)
    part = _checked(parse(text, file, _LANGUAGE))
    return Target(_scenario(part, Path(file), text), part)


def _checked(source: Source) -> TargetPart:
    part, found = None, list(_rules(source.data))
    try:
        part = TargetPart.model_validate(source.data)
    except ValidationError as error:
        found += wording.findings(error, _PLACES)
    if part is None or found:
        problems: dict[Problem, None] = {source.place(finding): None for finding in found}
        raise ScenarioError(source.file, sorted(problems, key=lambda problem: (problem.line, problem.column)))
    return part


# Rules that join the parts. A value that is wrong by itself is passed over: the schema has already spoken.


def _rules(data: dict[str, Any]) -> Iterator[Finding]:
    """Everything that the parts of a file have against each other."""

    def pa(*at: str) -> Address | None:
        return values.usable(values.plain_pa, _at(data, at))

    def ca(*at: str) -> Address | None:
        return values.usable(values.ca, _at(data, at))

    def mac(*at: str) -> str | None:
        return values.usable(values.mac, _at(data, at))

    yield from _apart(("us", "pa"), pa("us", "pa"), ("nve", "pa"), pa("nve", "pa"))
    yield from _apart(("nve", "via"), pa("nve", "via"), ("nve", "pa"), pa("nve", "pa"))
    yield from _apart(("outside", "ca"), ca("outside", "ca"), ("inside", "ca"), ca("inside", "ca"))
    if (own := mac("outside", "mac")) and own == mac("inside", "mac"):
        yield Finding(("outside", "mac"), f"{own} is that of inside too", "each has its own")
    vsid, other = (values.usable(values.vsid, data.get(key)) for key in ("vsid", "other_vsid"))
    if vsid is not None and vsid == other:
        yield Finding(("other_vsid",), f"{other} is vsid too", "that of another virtual subnet of the target, or none")
    mtu, peer = values.usable(values.mtu, data.get("mtu")), pa("nve", "pa")
    if mtu is not None and mtu < _IPV6_MTU_LEAST and peer is not None and peer.version == 6:
        yield Finding(("mtu",), f"{mtu} is less than any IPv6 link has", f"use {_IPV6_MTU_LEAST} or more")


_IPV6_MTU_LEAST = 1280


def _at(data: dict[str, Any], at: At) -> object:
    found: object = data
    for step in at:
        found = found.get(step) if isinstance(found, dict) else None
    return found


def _apart(path: At, own: Address | None, others: At, other: Address | None) -> Iterator[Finding]:
    """Two addresses are of one IP version, and not the same."""
    if own is None or other is None:
        return
    name = ".".join(map(str, others))
    if own.version != other.version:
        what = f"{own} and {other}, which is {name}, are of different IP versions"
        yield Finding(path, what, f"an IPv{other.version} address")
    elif own == other:
        yield Finding(path, f"{own} is {name} too", "each has its own")


def _scenario(part: TargetPart, path: Path, text: str) -> Scenario:
    subnets = [VirtualSubnet("net", "tenant", part.vsid, ())]
    if part.other_vsid is not None:
        subnets.append(VirtualSubnet("other_net", "tenant", part.other_vsid, ()))
    stated = {key: value for key, value in part.options if value is not None and key in Nve.__dataclass_fields__}
    policy = Policy(
        nves=(Nve(US, (ip_interface(part.us.pa),)), Nve(TARGET, (ip_interface(part.nve.pa),), **stated)),
        subnets=tuple(subnets),
        vms=(
            Vm(OUTSIDE, "net", US, part.outside.mac, (ip_interface(part.outside.ca),)),
            Vm(INSIDE, "net", TARGET, part.inside.mac or _UNKNOWN_MAC, (ip_interface(part.inside.ca),)),
        ),
    )
    return Scenario(
        name=path.stem,
        title=f"The NVE at {part.nve.pa}",
        about="",
        path=path,
        sha256=sha256(text.encode()).hexdigest(),
        text=text,
        policy=policy,
        fabric=Fabric((), (FabricLink(Attachment(US, ()), Attachment(TARGET, ())),), part.mtu),
        tenant_mtu=min(_TENANT_MTU, part.mtu - OVERHEAD[part.nve.pa.version]),
    )
