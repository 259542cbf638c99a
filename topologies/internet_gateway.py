"""An Internet gateway for two tenants with identical addresses, for Mininet's own command.

`./nvgre mn --custom topologies/internet_gateway.py --topo internet_gateway`
"""

from topologies import load

topos = {"internet_gateway": load("internet_gateway").topo}
