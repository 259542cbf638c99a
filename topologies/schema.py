"""The scenario language: what may stand where in the YAML file. Pure; rules that join the parts are in `checks`.

The `examples` of a field are the hint that a reader gets where the field is missing.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    StrictStr,
    model_validator,
)

from nvgre_node.acl import ALL_PORTS, PORT_PROTOCOLS, Action, Direction, Rule
from nvgre_node.choices import (
    MAX_PAS,
    TTL_DEFAULT,
    Carries,
    Deviation,
    Dscp,
    Ecn,
    FlowIds,
    Fragments,
    GatewayMode,
    Implementation,
    Neighbours,
    PaChoice,
    RecordType,
    SourceCheck,
    TooBig,
    Transport,
    UnknownUnicast,
    Vendor,
)
from nvgre_node.fabric import Multipath
from nvgre_node.outside import Leg, PortForwarding
from nvgre_node.policy import Address, Interface, Network
from topologies import values
from topologies.expectation import By, Expectation, Steps, Way

Name = Annotated[str, PlainValidator(values.name)]
NodeName = Annotated[str, PlainValidator(values.node_name)]
VmName = Annotated[str, PlainValidator(values.vm_name)]
Reference = Annotated[str, PlainValidator(values.text)]
Line = Annotated[str, PlainValidator(values.line)]
Metric = Annotated[int, PlainValidator(values.metric)]
Mtu = Annotated[int, PlainValidator(values.mtu)]
Pa = Annotated[Interface, PlainValidator(values.pa)]
OwnPa = Annotated[Address, PlainValidator(values.own_pa)]
Ca = Annotated[Address, PlainValidator(values.ca)]
Prefix = Annotated[Network, PlainValidator(values.prefix)]
Group = Annotated[Address, PlainValidator(values.group)]
InnerGroup = Annotated[Address, PlainValidator(values.inner_group)]
Vsid = Annotated[int, PlainValidator(values.vsid)]
Mac = Annotated[str, PlainValidator(values.mac)]
Ttl = Annotated[int, PlainValidator(values.ttl)]
PlainDscp = Annotated[int, PlainValidator(values.plain_dscp)]
Count = Annotated[int, PlainValidator(values.count)]
Pcp = Annotated[int, PlainValidator(values.pcp)]
Vid = Annotated[int, PlainValidator(values.vid)]
OuterDscp = Annotated[Dscp, PlainValidator(values.dscp)]
Learning = Annotated[int, PlainValidator(values.learning)]
Protocol = Annotated[int | None, PlainValidator(values.protocol)]
Ports = Annotated[tuple[int, int], PlainValidator(values.ports)]
Port = Annotated[int, PlainValidator(values.port)]
Endpoint = Annotated[tuple[Address, int], PlainValidator(values.endpoint)]
Addresses = Annotated[Network, PlainValidator(values.addresses)]
OnTheWay = Annotated[Way, PlainValidator(values.way)]
Via = Annotated[Steps, PlainValidator(values.steps)]
Link = Annotated[tuple[str, str], PlainValidator(values.link)]


def one_or_many(value: Any) -> Any:
    """A single value as a list of one."""
    return [value] if isinstance(value, str | int | float) else value


def for_all(value: Any) -> Any:
    """A single word as what holds by default."""
    return value if isinstance(value, dict) else {values.DEFAULT: values.multipath(value)}


Pas = Annotated[list[Pa], BeforeValidator(one_or_many), Field(min_length=1, max_length=MAX_PAS)]


Prefixes = Annotated[list[Prefix], BeforeValidator(one_or_many), Field(min_length=1)]


Outside = Annotated[list[Pa], BeforeValidator(one_or_many), Field(min_length=1)]


Cas = Annotated[list[Ca], BeforeValidator(one_or_many), Field(min_length=1)]

Deviations = Annotated[list[Deviation], BeforeValidator(one_or_many)]


References = Annotated[list[Reference], BeforeValidator(one_or_many), Field(min_length=1)]


Modes = Annotated[dict[str, Multipath], BeforeValidator(for_all)]


class Part(BaseModel):
    """A mapping of the file, in which unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MtuPart(Part):
    """MTUs in bytes of IP packet. Without `underlay` it is as large as full tenant packets need.

    `undersized` allows an underlay that is too small for them (F3).
    """

    underlay: Mtu | None = None
    tenant: Mtu = 1500
    undersized: StrictBool = False


class NvePart(Part):
    """What every NVE does where RFC 7637 leaves a choice: the fields of `policy.Nve` of these names.

    `deviations` are what it does wrong; `imitate` is short for all that an implementation does otherwise
    (`nvgre_node.deviations`), where what is written beside it says nothing else.
    """

    flow_ids: FlowIds = FlowIds.FLOW
    too_big: TooBig = TooBig.TELL
    fragments: Fragments = Fragments.DROP
    unknown: UnknownUnicast = UnknownUnicast.DROP
    pa_choice: PaChoice = PaChoice.FIRST
    clamp_mss: StrictBool = False
    source_check: SourceCheck = SourceCheck.NONE
    probe: StrictBool = False
    neighbours: Neighbours = Neighbours.FLOOD
    ttl: Ttl = TTL_DEFAULT
    dscp: OuterDscp = 0
    ecn: Ecn = Ecn.COPY
    pcp_to_dscp: dict[Pcp, PlainDscp] = Field(default={})
    learning: Learning = 0
    carries: Carries = Carries.ETHERNET
    deviations: Deviations = Field(default=[])
    imitate: Implementation | None = None


class HostPart(Part):
    """A provider host: its PA, or several, of either IP version (O5, O6), and whose make its NVE is (V3).

    `vlan` puts its uplink into a VLAN of the underlay: everything there has the outer tag (O4). `dataplane` is what
    implements its NVE, whatever the other hosts have.
    What it says of deviations is about its own NVE, and takes the place of all that `nve` says of them.
    """

    pa: Pas = Field(default=[], examples=["pa: 192.168.1.10/24"])
    count: Count | None = None
    vendor: Vendor = Vendor.OURS
    vlan: Vid | None = None
    dataplane: Annotated[str | None, PlainValidator(values.dataplane)] = None
    deviations: Deviations | None = None
    imitate: Implementation | None = None


class RulePart(Part):
    """A rule of an access control list; what it leaves out may be anything. Directions are as the VM sees them.

    The first rule that matches decides, a VM's before its subnet's, and where none does, a packet is allowed.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["allow"]}, {"required": ["deny"]}]})

    allow: Direction | None = None
    deny: Direction | None = None
    protocol: Protocol = None
    source: Addresses | None = None
    source_port: Ports = ALL_PORTS
    destination: Addresses | None = None
    destination_port: Ports = ALL_PORTS

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if (self.allow is None) == (self.deny is None):
            raise values.BadValueError("does not say what it does", "either allow or deny, and there in or out")
        if self.source and self.destination and self.source.version != self.destination.version:
            what = f"from {self.source} to {self.destination} goes no packet"
            raise values.BadValueError(what, "both of one IP version")
        asks_for_ports = self.source_port != ALL_PORTS or self.destination_port != ALL_PORTS
        if asks_for_ports and self.protocol not in PORT_PROTOCOLS:
            raise values.BadValueError("asks for ports of a protocol without", "protocol: tcp, udp or sctp")
        return self

    def rule(self) -> Rule:
        """The rule as policy knows it."""
        choices = ((Action.ALLOW, self.allow), (Action.DENY, self.deny))
        action, direction = next((action, direction) for action, direction in choices if direction)
        source, destination = (self.source, self.source_port), (self.destination, self.destination_port)
        return Rule(action, direction, self.protocol, *source, *destination)


class SubnetPart(Part):
    """A virtual subnet (T4).

    Its broadcasts and multicasts go to every other NVE of it, a copy each (B5), or to `group`, a multicast group of the
    underlay, once (B2). `groups` says which groups of the tenant's have one of their own (B3). Subnets may share them.
    """

    vsid: Vsid = Field(default=0, examples=["vsid: 5001"])
    prefixes: Prefixes = Field(default=[], examples=["prefixes: [10.1.1.0/24]"])
    count: Count | None = None
    group: Group | None = None
    groups: dict[InnerGroup, Group] = Field(default={})
    acl: list[RulePart] = Field(default=[])


class VlanPart(Part):
    """What a trunk port carries under one VLAN id (I5): a virtual subnet, and the CAs that the VM has in it."""

    subnet: Reference = Field(examples=["subnet: NAME, one of the tenant's subnets"])
    ca: Cas = Field(examples=["ca: 10.1.1.11"])


class ForwardPart(Part):
    """A port of a gateway's outside address that leads to a port of a VM: `to` is the VM's CA with the port."""

    port: Port = Field(examples=["port: 8080"])
    to: Endpoint = Field(examples=["to: 10.1.1.11:80"])
    transport: Transport = Transport.TCP

    def forwarding(self) -> PortForwarding:
        """The same as policy knows it."""
        return PortForwarding(self.port, *self.to, self.transport)


class GatewayPart(Part):
    """What makes a VM a gateway: its leg in a physical network (`to`), the address there, and what passes (X5)."""

    to: Reference = Field(examples=["to: NAME, one of outside"])
    address: Outside = Field(examples=["address: 203.0.113.11/24"])
    mode: GatewayMode = Field(examples=["mode: nat"])
    forward: list[ForwardPart] = Field(default=[])

    def leg(self) -> Leg:
        """The same as policy knows it."""
        return Leg(self.to, tuple(self.address), self.mode, tuple(part.forwarding() for part in self.forward))


class VmPart(Part):
    """A tenant VM. Without `mac` it gets one made from its first CA; `pa` pins it to one of its host's PAs (O6).

    `record` says what the policy knows of it. `trunk` makes its port a trunk port (I5): a virtual subnet by VLAN id,
    beside that of its untagged frames, or alone if it has no `subnet` and no `ca` of its own. `gateway` makes it the
    tenant's way to a physical network; its record is then a `gateway_wildcard`. On a server instead of a host, `vlan`
    is the VLAN id that tells it apart on the server's link (D5).
    """

    subnet: Annotated[str | None, PlainValidator(values.text)] = None
    host: Reference = Field(default="", examples=["host: NAME, one of the hosts"])
    ca: Cas = Field(default=[])
    count: Count | None = None
    trunk: Annotated[dict[Vid, VlanPart], Field(min_length=1)] | None = None
    mac: Mac | None = None
    pa: OwnPa | None = None
    record: RecordType | None = None
    acl: list[RulePart] = Field(default=[])
    gateway: GatewayPart | None = None
    vlan: Vid | None = None


class RoutePart(Part):
    """A customer route: `to` a prefix by way of (`via`) the VM with that CA. Of one prefix the lowest metric wins."""

    to: Prefix = Field(examples=["to: 0.0.0.0/0"])
    via: Ca = Field(examples=["via: 10.1.1.11, a CA of one of the tenant's VMs"])
    metric: Metric = 0


class TenantPart(Part):
    """A tenant: a routing domain with its virtual subnets and VMs.

    With `router` every NVE routes between them (X6), at the first address of each prefix, and by `routes`.
    """

    subnets: dict[Name, SubnetPart] = Field(
        default={}, examples=["subnets: {red_net: {vsid: 5001, prefixes: [10.1.1.0/24]}}"], min_length=1
    )
    count: Count | None = None
    vms: dict[VmName, VmPart] = Field(default={})
    router: StrictBool = False
    routes: list[RoutePart] = Field(default=[])


class OutsidePart(Part):
    """A physical network beyond the overlay: one segment, with a host that has this address, or these.

    A tenant's own site is `behind` another, where its gateway is `at` an address (X1).
    """

    address: Outside = Field(examples=["address: 203.0.113.1/24"])
    behind: Reference | None = None
    at: Annotated[list[Pa], BeforeValidator(one_or_many)] = Field(default=[])


class ServerPart(Part):
    """A server without an NVE: a tagged link leads to the host, such as a top-of-rack switch, that has it (T3)."""

    host: Reference = Field(examples=["host: NAME, one of the hosts"])


class FaultPart(Part):
    """A wrong lookup record: in `subnet`, the record of one VM points to another VM."""

    subnet: Reference = Field(examples=["subnet: NAME, in which the record is wrong"])
    record_of: Reference = Field(examples=["record_of: NAME of the VM whose record is wrong"])
    points_to: Reference = Field(examples=["points_to: NAME of the VM that gets its packets"])


class ExpectPart(Part):
    """Who reaches whom, which `./nvgre run expectations` tries: names of VMs, virtual subnets or tenants.

    `to` may be a physical network. `mtu` is the largest packet that gets through, in bytes of IP; `via` are the routers
    on the way, and last the provider host where it ends, or nothing where it stays in a host.
    """

    sources: References = Field(alias="from", examples=["from: NAME, of a VM, a virtual subnet or a tenant"])
    to: References = Field(examples=["to: NAME, of a VM, a virtual subnet or a tenant"])
    by: OnTheWay = Way()
    reaches: StrictBool = True
    mtu: Mtu | None = None
    via: Via | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not self.reaches and (self.mtu, self.via) != (None, None):
            raise values.BadValueError("says how that gets there which does not", "leave out mtu and via, or reaches")
        if self.mtu and self.by.by not in (By.ICMP, By.UDP):
            raise values.BadValueError(f"{self.by} has no size of its own", "an mtu is tried by icmp, or by udp PORT")
        if self.via is not None and self.by.by in (By.BROADCAST, By.ANY):
            raise values.BadValueError(f"{self.by} has no way of its own", "via is tried by icmp, tcp PORT or udp PORT")
        return self

    def expectation(self) -> Expectation:
        """The same as the experiment knows it."""
        return Expectation(tuple(self.sources), tuple(self.to), self.by, self.reaches, self.mtu, self.via)


class ScenarioPart(Part):
    """A whole scenario file.

    `multipath` is by what routers spread packets over equal-cost paths (E1): one word for all, or words by router, and
    `default` for the others.
    """

    include: Annotated[list[Reference], BeforeValidator(one_or_many)] = Field(default=[])
    name: Name = Field(default="", examples=["name: two_hosts"])
    title: Line = Field(default="", examples=["title: Two provider hosts on one link"])
    about: StrictStr = ""
    mtu: MtuPart = MtuPart()
    nve: NvePart = NvePart()
    hosts: dict[NodeName, HostPart] = Field(examples=["hosts: {host1: {pa: 192.168.0.1/24}}"], min_length=1)
    routers: dict[NodeName, dict[str, Pas]] = Field(default={})
    links: list[Link] = Field(default=[])
    multipath: Modes = Field(default={})
    servers: dict[NodeName, ServerPart] = Field(default={})
    outside: dict[NodeName, OutsidePart] = Field(default={})
    tenants: dict[Name, TenantPart] = Field(examples=["tenants: {red: {subnets: ..., vms: ...}}"], min_length=1)
    faults: list[FaultPart] = Field(default=[])
    expect: list[ExpectPart] = Field(default=[])
