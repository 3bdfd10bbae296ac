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
jetstream {{
    store_dir: "{folder / 'data'}"
    sync_interval: {sync}
    max_memory_store: 256MB
    max_file_store: 8GB
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
    """A Valkey (or, by `binary`, Redis) server that keeps what it has in an append-only file."""

    def __init__(
        self, folder: pathlib.Path, address: str, port: int, extra: str = "", binary: str | None = None, sentinel: bool = False
    ):
        self.process = Process(folder)
        self.address, self.port, self.extra, self.binary, self.sentinel = address, port, extra, binary, sentinel

    def start(self) -> None:
        folder = self.process.folder
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / ("sentinel.conf" if self.sentinel else "valkey.conf")
        text = f"""# Written by scripts/servers or scripts/cluster.
bind {self.address}
port {self.port}
dir "{folder}"
daemonize no
{self.extra}"""
        if not self.sentinel:
            # Evicting keys would lose tasks from the index without a word; full is an error instead.
            text += 'save ""\nappendonly yes\nappendfsync everysec\nmaxmemory 512mb\nmaxmemory-policy noeviction\n'
        # A sentinel keeps in its file what it has learnt: a later start must not take it away.
        if not (self.sentinel and file.exists()):
            file.write_text(text, encoding="utf-8")
        self.process.start([self.binary or program("valkey-server"), str(file), *(["--sentinel"] if self.sentinel else [])])

    def answers(self) -> bool:
        return probe.redis(self.address, self.port) == "PONG"
