"""Real NATS, Valkey and Cassandra on the loopback, for scripts/servers and scripts/cluster. Standard library only."""
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TOOLS = ROOT / ".tools"


class Skipped(Exception):
    """Something that a server needs is absent on this machine; the text says what and how to get it."""


class Failed(Exception):
    """What was asked for could not be done; the text says why and where to look."""
