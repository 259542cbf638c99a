"""Two tenants with identical addresses, for Mininet's own command.

`./nvgre mn --custom topologies/contoso_fabrikam.py --topo contoso_fabrikam`
"""

from topologies import load

topos = {"contoso_fabrikam": load("contoso_fabrikam").topo}
