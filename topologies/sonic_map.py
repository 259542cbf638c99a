"""Two switches that map VLANs to VSIDs, as SONiC's tables do, for Mininet's own command.

`./nvgre mn --custom topologies/sonic_map.py --topo sonic_map`
"""

from topologies import load

topos = {"sonic_map": load("sonic_map").topo}
