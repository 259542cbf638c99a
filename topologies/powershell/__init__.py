"""The cmdlets of Hyper-V Network Virtualization: policies printed as scripts, and scripts read back. Pure."""

from topologies.powershell.importing import LANGUAGE, Imported, imported
from topologies.powershell.printing import beyond_hnv, script

__all__ = ["LANGUAGE", "Imported", "beyond_hnv", "imported", "script"]
