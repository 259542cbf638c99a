"""A thousand VMs of a hundred tenants on twenty hosts, for Mininet's own command; it takes minutes to come up.

`./nvgre mn --custom topologies/scale_1000.py --topo scale_1000`
"""

from topologies import load

topos = {"scale_1000": load("scale_1000").topo}
