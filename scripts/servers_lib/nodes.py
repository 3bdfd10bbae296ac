"""How NATS and Valkey are started: their settings, written into the node's folder. Cassandra is in cassandra.py."""
from __future__ import annotations

import pathlib

from . import TOOLS, Failed, probe
from .process import Process


def program(name: str) -> str:
    path = TOOLS / "bin" / name
    if not path.exists():
        raise Failed(f"{name} is not installed: scripts/tools servers")
    return str(path)


class Nats:
    """A NATS server with JetStream on a disk; one of a cluster when it has `routes`."""

    def __init__(self, folder: pathlib.Path, address: str, ports: list[int], routes: list[str] | None = None):
        self.process = Process(folder)
        self.address = address
        self.port, self.monitor = ports[0], ports[1]
        self.route = ports[2] if routes else None
        self.routes = routes or []

    def start(self) -> None:
        folder = self.process.folder
        folder.mkdir(parents=True, exist_ok=True)
        # An acknowledged message is on the disk, not only in the page cache. Alone a node has nothing else to
        # survive a power cut with; of three, each holds a copy, and syncing every message would be paid thrice.
        sync = "2m" if self.routes else "always"
        text = f"""# Written by scripts/servers or scripts/cluster at each start.
server_name: {self.process.name}
listen: "{self.address}:{self.port}"
http: "{self.address}:{self.monitor}"
max_payload: 8MB
jetstream {{
    store_dir: "{folder / 'data'}"
    sync_interval: {sync}
    max_memory_store: 256MB
    max_file_store: 100GB
}}
"""
        if self.routes:
            text += f"""cluster {{
    name: hearth
    listen: "{self.address}:{self.route}"
    routes: [{", ".join(f'"nats://{route}"' for route in self.routes)}]
}}
"""
        (folder / "nats.conf").write_text(text, encoding="utf-8")
        self.process.start([program("nats-server"), "-c", str(folder / "nats.conf")])

    def answers(self) -> bool:
        return probe.nats(self.address, self.monitor)


class Valkey:
    """A Valkey (or, by `binary`, Redis) server that keeps what it has in an append-only file; a sentinel of `group`."""

    def __init__(
        self, folder: pathlib.Path, address: str, port: int, extra: str = "", binary: str | None = None, group: str | None = None
    ):
        self.process = Process(folder)
        self.address, self.port, self.extra, self.binary = address, port, extra, binary
        self.group, self.sentinel = group, group is not None

    def start(self) -> None:
        folder = self.process.folder
        folder.mkdir(parents=True, exist_ok=True)
        text = f"""# Written by scripts/servers or scripts/cluster.
bind {self.address}
port {self.port}
dir "{folder}"
daemonize no
{self.extra}"""
        if not self.sentinel:
            # Evicting keys would lose tasks from the index without a word; full is an error instead.
            text += 'save ""\nappendonly yes\nappendfsync everysec\nmaxmemory 512mb\nmaxmemory-policy noeviction\n'
        file, made_from = folder / "valkey.conf", folder / "valkey.conf.first"
        # What a failover wrote into the file (who is whose replica) must be there at the next start. Only other
        # settings begin a new one.
        if not file.exists() or not made_from.exists() or made_from.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            made_from.write_text(text, encoding="utf-8")
        self.process.start([self.binary or program("valkey-server"), str(file), *(["--sentinel"] if self.sentinel else [])])

    def answers(self) -> bool:
        if self.sentinel:
            # Whether enough sentinels see each other and the primary to agree on a failover.
            return probe.redis(self.address, self.port, "SENTINEL", "CKQUORUM", self.group).startswith("OK")
        return probe.redis(self.address, self.port) == "PONG"
