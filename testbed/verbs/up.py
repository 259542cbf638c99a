"""`up`: builds a scenario and opens the Mininet shell."""

from __future__ import annotations

import click

from nvgre_node.dataplane import DATAPLANES
from testbed.running import commands
from testbed.settings import settings_option
from topologies import Scenario, load


@click.command(short_help="Build a scenario and open the Mininet shell.")
@click.argument("scenario")
@settings_option
@click.option("--dataplane", type=click.Choice(list(DATAPLANES)), default="ebpf", show_default=True)
def command(scenario: str, sets: tuple[str, ...], dataplane: str) -> None:
    """Build SCENARIO, a shipped name or a file, and open the Mininet shell; leaving the shell removes it all."""
    loaded = load(scenario, sets)
    from mininet.cli import CLI
    from mininet.log import setLogLevel

    from nvgre_node.control import Control
    from nvgre_node.net import NvgreNet

    with NvgreNet(loaded, dataplane) as net, Control(net.own.directory, commands(net, loaded)):
        setLogLevel("output")
        click.echo(_welcome(loaded, net.own.id))
        CLI(net)


def _welcome(scenario: Scenario, run_id: str) -> str:
    vm, peer = scenario.policy.vms[0], scenario.policy.vms[-1]
    host = vm.host
    return f"""{scenario.title}: {len(scenario.policy.nves)} provider hosts, {len(scenario.policy.machines)} VMs.
Type a node's name and a command; `exit` leaves. For example:
  {vm.node} ping -c 3 {peer.ca() or peer.ca(6)}
  {host} tcpdump -c 10 -nei {host}-eth0 ip proto 47
From another terminal: ip netns exec {run_id}-{host} ..., and
  ./nvgre migrate {vm.node} {scenario.policy.nves[-1].host}
  ./nvgre doctor {run_id}"""
