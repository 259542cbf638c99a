"""An NVE in a top-of-rack switch, for servers with plain tagged Ethernet, for Mininet's own command.

`./nvgre mn --custom topologies/vlan_gateway.py --topo vlan_gateway`
"""

from topologies import load

topos = {"vlan_gateway": load("vlan_gateway").topo}
