"""What all processes of a cluster must have in common, made once: the CA, the key of sealed values, the API's token."""
from __future__ import annotations

from .topology import HOME, Topology


def prepare(topology: Topology, say) -> None:
    """Makes what is not there yet, before the roles start."""
    authority = topology.authority()
    authority.init()
    for member in topology.members:
        if member.kind == "hearth":
            authority.issue(member.name, HOME / member.name / "tls")
    say("certificates of the processes are made")
