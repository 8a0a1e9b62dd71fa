"""The faults, by what they strike. Importing this package fills the table."""

from scripts.proof.faults import clients, clocks, disks, hooks, keys, processes, providers, routes, servers
from scripts.proof.faults.table import FAULTS, Fault

__all__ = [
    "FAULTS",
    "Fault",
    "clients",
    "clocks",
    "disks",
    "hooks",
    "keys",
    "processes",
    "providers",
    "routes",
    "servers",
]
