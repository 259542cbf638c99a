"""Two provider hosts on one link, two tenants, for Mininet's own command.

`./nvgre mn --custom topologies/two_hosts.py --topo two_hosts`
"""

from topologies import load

topos = {"two_hosts": load("two_hosts").topo}
