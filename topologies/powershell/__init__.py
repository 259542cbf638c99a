"""The cmdlets of Hyper-V Network Virtualization: policies printed as scripts, and scripts read back. Pure."""

from topologies.powershell.printing import beyond_hnv, script

__all__ = ["beyond_hnv", "script"]
