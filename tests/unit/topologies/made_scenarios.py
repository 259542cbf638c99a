"""Scenarios drawn by lot: networks of every kind that the language has words for, or only those that HNV has, too."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from topologies.powershell.profile import HNV
from topologies.written import plain

Data = dict[str, Any]
TENANTS = ("red", "blue", "end", "default")


@st.composite
def scenarios(draw: st.DrawFn, of_hnv: bool = False) -> Data:
    """The data of a scenario file without mistakes."""
    number = draw(st.integers(1, 4))
    hosts = [f"host{n}" for n in range(1, number + 1)]
    data: Data = {"name": "drawn", "title": 'Drawn "by" lot: <b>#1</b>', "nve": draw(nves(of_hnv))}
    data |= draw(underlays(hosts, of_hnv))
    pas = {host: [pa.split("/")[0] for pa in own["pa"]] for host, own in data["hosts"].items()}
    if not of_hnv and draw(st.booleans()):
        data["servers"] = {"rack1": {"host": "host1"}}
        pas["rack1"] = []
    routed = draw(st.booleans())
    data["tenants"] = {}
    for number, name in enumerate(TENANTS[: draw(st.integers(1, 3))]):
        router = routed if of_hnv else draw(st.booleans())
        data["tenants"][name] = draw(tenants(name, number, pas, router, of_hnv))
    if not of_hnv:
        data |= draw(extras(data))
        data |= draw(expectations(data))
    return data


def nves(of_hnv: bool) -> st.SearchStrategy[Data]:
    """What NVEs do."""
    if of_hnv:
        return st.just({name: plain(value) for name, value in HNV.items()})
    return st.fixed_dictionaries(
        {},
        optional={
            "pa_choice": st.sampled_from(["first", "subnet", "vm", "flow"]),
            "too_big": st.sampled_from(["tell", "drop", "fragment"]),
            "clamp_mss": st.booleans(),
            "dscp": st.sampled_from(["copy", 46]),
            "pcp_to_dscp": st.just({5: 46, 0: 1}),
            "learning": st.integers(0, 300),
            "deviations": st.just(["keeps_tags"]),
            "imitate": st.sampled_from(["ovs", "gretap", "dash"]),
        },
    )


@st.composite
def underlays(draw: st.DrawFn, hosts: list[str], of_hnv: bool) -> Data:
    """Hosts, joined by a link, by one router, or by two."""
    dual, many = draw(st.booleans()), draw(st.integers(1, 3))
    linked = len(hosts) == 2 and draw(st.booleans())
    vlan = draw(st.sampled_from([None, 100]))
    made: Data = {"hosts": {}}
    for n, host in enumerate(hosts):
        net = 0 if linked else n
        pas = [f"192.168.{net}.{10 + 10 * n + own}/24" for own in range(many)]
        made["hosts"][host] = {"pa": [*pas, f"fd00:{net}::{10 + n}/64"] if dual else pas}
        if vlan and (linked or draw(st.booleans())):
            made["hosts"][host]["vlan"] = vlan
        if not of_hnv:
            own = {"imitate": st.sampled_from(["ovs", "dash"]), "deviations": st.just(["clears_df"])}
            other = {"vendor": st.just("other"), "dataplane": st.just("model")}
            made["hosts"][host] |= draw(st.fixed_dictionaries({}, optional={**own, **other}))
    if linked:
        return made | {"links": [hosts]}
    last = draw(st.sampled_from([1, 254]))
    legs = {host: [f"192.168.{n}.{last}/24"] + [f"fd00:{n}::1/64"] * dual for n, host in enumerate(hosts)}
    if of_hnv and len(hosts) == 1:  # a host without others has no provider route that could tell of a router
        return {"hosts": {**made["hosts"], "other": {"pa": ["10.9.9.9/24"] + ["fd00:9::9/64"] * dual}}} | {
            "routers": {"r1": {**legs, "other": ["10.9.9.1/24"] + ["fd00:9::1/64"] * dual}}
        }
    if of_hnv or draw(st.booleans()):
        return made | {"routers": {"r1": legs}}
    between = [["172.16.0.1/30"] + ["fd00:ff::1/64"] * dual, ["172.16.0.2/30"] + ["fd00:ff::2/64"] * dual]
    first = {host: own for host, own in legs.items() if host == hosts[0]}
    rest = {host: own for host, own in legs.items() if host != hosts[0]}
    routers = {"r1": {**first, "r2": between[0]}, "r2": {"r1": between[1], **rest}}
    return made | {"routers": routers, "multipath": draw(st.sampled_from(["key", "outer"]))}


@st.composite
def tenants(draw: st.DrawFn, name: str, number: int, pas: dict[str, list[str]], router: bool, of_hnv: bool) -> Data:
    """A tenant, whose addresses are those of every other."""
    dual = draw(st.booleans())
    made: Data = {"router": router, "subnets": {}, "vms": {}}
    for n in range(draw(st.integers(1, 3))):
        subnet: Data = {"vsid": 5000 + 100 * number + n, "prefixes": [f"10.0.{n}.0/24"] + [f"fd00:10:{n}::/64"] * dual}
        subnet |= draw(st.fixed_dictionaries({}, optional={"group": st.just("239.1.1.1")}))
        subnet |= {"groups": {"239.5.5.5": "239.1.1.2", "ff05::5": "239.1.1.3"}} if draw(st.booleans()) else {}
        if not of_hnv and draw(st.booleans()):
            subnet["acl"] = draw(st.lists(rules(), min_size=1, max_size=2))
        made["subnets"][f"{name}_net{n}"] = subnet
    for n in range(draw(st.integers(1, 4))):
        made["vms"][f"{name}{n}"] = draw(vms(name, n, made["subnets"], pas, of_hnv))
    known = [vm for vm in made["vms"].values() if vm["record"] != "l2only" and "trunk" not in vm]
    if router and known:
        hops = st.sampled_from(known).map(lambda vm: vm["ca"][0])
        prefixes = st.sampled_from(["0.0.0.0/0", "172.16.0.0/12"])
        routes = st.builds(
            lambda to, via, metric: {"to": to, "via": via, "metric": metric}, prefixes, hops, st.integers(0, 9)
        )
        made["routes"] = draw(st.lists(routes, max_size=3, unique_by=lambda route: (route["to"], route["metric"])))
    return made


@st.composite
def vms(draw: st.DrawFn, tenant: str, n: int, subnets: Data, pas: dict[str, list[str]], of_hnv: bool) -> Data:
    """A VM, which may be on a server, or on a trunk port."""
    names = list(subnets)
    dual = len(subnets[names[0]]["prefixes"]) > 1
    at = draw(st.integers(0, len(names) - 1))
    host = draw(st.sampled_from(sorted(pas)))
    made: Data = {"subnet": names[at], "host": host, "ca": [f"10.0.{at}.{10 + n}"]}
    made["ca"] += [f"fd00:10:{at}::{10 + n}"] if dual and draw(st.booleans()) else []
    made["record"] = draw(st.sampled_from(["static", "dynamic", "l2only", "gateway_wildcard"]))
    if draw(st.booleans()):
        made["mac"] = f"02:00:00:00:{at:02x}:{n:02x}"
    if host == "rack1":
        return made | {"vlan": 10 + n + 10 * TENANTS.index(tenant)}
    if draw(st.booleans()):
        made["pa"] = draw(st.sampled_from(pas[host]))
    if not of_hnv and draw(st.booleans()):
        made["acl"] = draw(st.lists(rules(), min_size=1, max_size=2))
    if not of_hnv and len(names) > 1 and draw(st.booleans()):
        other = (at + 1) % len(names)
        made["trunk"] = {7: {"subnet": names[other], "ca": [f"10.0.{other}.{100 + n}"]}}
    return made


@st.composite
def rules(draw: st.DrawFn) -> Data:
    """A rule of an access control list."""
    rule: Data = {draw(st.sampled_from(["allow", "deny"])): draw(st.sampled_from(["in", "out"]))}
    rule["protocol"] = draw(st.sampled_from(["tcp", 17, "any", 89, "icmp"]))
    if rule["protocol"] in ("tcp", 17):
        rule |= draw(
            st.fixed_dictionaries({}, optional={"source_port": st.just("1024-65535"), "destination_port": st.just(22)})
        )
    return rule | draw(st.fixed_dictionaries({}, optional={"source": st.just("10.0.0.0/8")}))


@st.composite
def extras(draw: st.DrawFn, data: Data) -> Data:
    """Faults, a physical network with a gateway to it, and MTUs."""
    made: Data = {}
    every = [(vm, name) for own in data["tenants"].values() for name, vm in own["vms"].items()]
    if len(every) > 1 and draw(st.booleans()):
        wrong = draw(st.integers(0, len(every) - 1))
        (vm, name), (_, other) = every[wrong], every[wrong - 1]
        made["faults"] = [{"subnet": vm["subnet"], "record_of": name, "points_to": other}]
    if draw(st.booleans()):
        made["mtu"] = draw(st.sampled_from([{"underlay": 9000}, {"underlay": 1500, "undersized": True}]))
    routed = [own for own in data["tenants"].values() if own["router"] and own.get("routes")]
    if draw(st.booleans()) and routed:
        via = routed[0]["routes"][0]["via"]
        gateway = next((vm for vm in routed[0]["vms"].values() if via in vm["ca"]), None)
        if gateway and gateway["host"] != "rack1" and "trunk" not in gateway:
            made["outside"] = {"internet": {"address": "203.0.113.1/24"}}
            own = {"to": "internet", "address": "203.0.113.9/24", "mode": "nat"}
            gateway |= {"record": "gateway_wildcard", "gateway": own | {"forward": [{"port": 80, "to": f"{via}:8080"}]}}
    return made


@st.composite
def expectations(draw: st.DrawFn, data: Data) -> Data:
    """What is expected of the first two VMs, and of the nodes between them."""
    names = [name for own in data["tenants"].values() for name in own["vms"]][:2]
    if len(names) < 2 or not draw(st.booleans()):
        return {}
    nodes = [*data["hosts"], *data.get("routers", {})]
    ends = {"from": names[0], "to": draw(st.sampled_from([names[1], names]))}
    found = [
        ends | {"by": draw(st.sampled_from(["icmp", "udp 53"])), "mtu": draw(st.integers(576, 65535))},
        ends | {"by": "tcp 22", "via": draw(st.sampled_from([[], nodes[-1], [nodes[0], nodes]]))},
        ends | {"by": draw(st.sampled_from(["any", "broadcast"])), "reaches": draw(st.booleans())},
    ]
    return {"expect": found[: draw(st.integers(1, 3))]}
