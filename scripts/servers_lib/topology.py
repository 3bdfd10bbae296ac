"""What the local cluster consists of: from its options and ports, always the same members in the same order."""
from __future__ import annotations

import dataclasses
import json
import os
import pathlib

from . import ROOT, Failed
from .cassandra import Cassandra
from .front import Front
from .nodes import Nats, Valkey
from .process import Process, is_free, free_port
from .roles import ROLES, Replica

# Another folder is another cluster, beside one that runs.
HOME = ROOT / os.environ.get("CLUSTER_HOME", "target/cluster")
SHOWN = HOME.relative_to(ROOT) if HOME.is_relative_to(ROOT) else HOME
SECRETS = HOME / "secrets"
LOOPBACK = "127.0.0.1"
SENTINEL_GROUP = "hearth"
# Where a start tries to put the front; another port when one of these is taken.
FRONT_PORTS = {"cwmp": 7547, "api": 8080, "files": 7567, "monitor": 8404}


@dataclasses.dataclass(frozen=True)
class Options:
    """What `scripts/cluster start` was asked for; kept, so that one node can be started again alone."""

    nats: int = 3
    cassandra: int = 3
    sentinels: int = 3
    replicas: int = 2
    front: bool = True
    servers_only: bool = False
    binary: str = ""
    settings: tuple[str, ...] = ()


@dataclasses.dataclass
class Member:
    """One process of the cluster. Members of one `stage` are started together, one stage after another."""

    name: str
    kind: str
    stage: int
    node: Nats | Valkey | Cassandra | Replica | Front
    ports: dict[str, int]
    address: str = LOOPBACK

    @property
    def process(self) -> Process:
        return self.node.process


class Ports:
    """The ports of all members by name, kept in a file: a node comes back where it was."""

    def __init__(self, kept: dict[str, int]):
        self.kept = kept

    def of(self, member: str, *names: str, wish: dict[str, int] | None = None, addresses: tuple[str, ...] = (LOOPBACK,)) -> list[int]:
        return [self._one(f"{member}.{name}", (wish or {}).get(name), addresses) for name in names]

    def _one(self, name: str, wish: int | None, addresses: tuple[str, ...]) -> int:
        if name not in self.kept:
            taken = set(self.kept.values())
            if wish and wish not in taken and all(is_free(address, wish) for address in addresses):
                self.kept[name] = wish
            else:
                port = free_port(LOOPBACK, taken)
                while not all(is_free(address, port) for address in addresses):
                    port = free_port(LOOPBACK, taken)
                self.kept[name] = port
        return self.kept[name]


class Topology:
    """All members. `ports` is what an earlier start chose, {} for new ones."""

    def __init__(self, options: Options, ports: dict[str, int]):
        self.options = options
        self.ports = Ports(ports)
        self.members: list[Member] = []
        self._nats()
        self._valkey()
        self._cassandra()
        if not options.servers_only:
            self._roles()
            if options.front:
                self._front()

    # --- the servers ------------------------------------------------------------------------------------------

    def _nats(self) -> None:
        count = self.options.nats
        chosen = {f"nats-{n}": self.ports.of(f"nats-{n}", "client", "monitor", "route") for n in range(1, count + 1)}
        routes = [f"{LOOPBACK}:{ports[2]}" for ports in chosen.values()] if count > 1 else []
        for name, ports in chosen.items():
            self._add(name, "nats", 0, Nats(HOME / name, LOOPBACK, ports, routes), ports, ("client", "monitor", "route"))

    def _valkey(self) -> None:
        # With one replica alone its loss would stop all writes: a primary without a replica takes none.
        servers = 3 if self.options.sentinels else 1
        primary = self.ports.of("valkey-1", "client")[0]
        # What a primary takes that no replica has is lost when another one takes its place: one that was held and
        # goes on must not take writes until the sentinels have told it that it is none any more.
        safe = "min-replicas-to-write 1\nmin-replicas-max-lag 3\n" if servers > 1 else ""
        for n in range(1, servers + 1):
            name = f"valkey-{n}"
            ports = self.ports.of(name, "client")
            extra = safe + (f"replicaof {LOOPBACK} {primary}\n" if n > 1 else "")
            self._add(name, "valkey", 0, Valkey(HOME / name, LOOPBACK, ports[0], extra), ports, ("client",))
        group = SENTINEL_GROUP
        # Two of three must agree that the primary is gone for two seconds.
        watch = (
            f"sentinel monitor {group} {LOOPBACK} {primary} {self.options.sentinels // 2 + 1}\n"
            f"sentinel down-after-milliseconds {group} 2000\nsentinel failover-timeout {group} 10000\n"
            f"sentinel parallel-syncs {group} 1\n"
        )
        for n in range(1, self.options.sentinels + 1):
            name = f"sentinel-{n}"
            ports = self.ports.of(name, "client")
            self._add(name, "sentinel", 1, Valkey(HOME / name, LOOPBACK, ports[0], watch, group=group), ports, ("client",))

    def _cassandra(self) -> None:
        count = self.options.cassandra
        addresses = [f"127.0.0.{n}" for n in range(1, count + 1)]
        # All nodes of a ring have the same ports, so each has an address of its own.
        ports = self.ports.of("cassandra", "client", "storage", addresses=tuple(addresses))
        for n, address in enumerate(addresses, 1):
            token = -(2**63) + (n - 1) * 2**64 // count if count > 1 else None
            node = Cassandra(HOME / f"cassandra-{n}", address, ports, token, addresses)
            # One after another: two nodes that join a ring at once may not see each other. Later they know the ring.
            stage = 2 if self.ring_known() else 1 + n
            self._add(f"cassandra-{n}", "cassandra", stage, node, ports, ("client", "storage"), address)

    def ring_known(self) -> bool:
        return all((HOME / f"cassandra-{n}" / "in-ring").exists() for n in range(1, self.options.cassandra + 1))

    # --- Hearth -----------------------------------------------------------------------------------------------

    def _roles(self) -> None:
        internal = {
            role: [self.ports.of(f"{role}-{n}", "internal")[0] for n in range(1, self.options.replicas + 1)] for role in ROLES
        }
        peers = {
            f"internal.peers.{role.replace('-', '_')}": [f"{LOOPBACK}:{port}" for port in internal[role]]
            for role in ("device-state", "workflow", "wakeup", "files")
        }
        common = {**self._server_settings(), **peers, **self._extra_settings()}
        for role in ROLES:
            for n in range(1, self.options.replicas + 1):
                self._replica(role, n, common)

    def _replica(self, role: str, n: int, common: dict[str, object]) -> None:
        name = f"{role}-{n}"
        served = {"gateway": "cwmp", "northbound": "api", "files": "files"}.get(role)
        names = ("internal", "admin", *((served,) if served else ()))
        ports = self.ports.of(name, *names)
        by_name = dict(zip(names, ports))
        folder = HOME / name
        binary = pathlib.Path(self.options.binary)
        settings = {
            "data_dir": str(folder / "data"),
            "secret_key_file": str(SECRETS / "secret.key"),
            "admin_token_file": str(SECRETS / "admin.token"),
            "files_dir": str(HOME / "files"),
            "listen.admin": f"{LOOPBACK}:{by_name['admin']}",
            "internal.listen": f"{LOOPBACK}:{by_name['internal']}",
            **({f"listen.{served}": f"{LOOPBACK}:{by_name[served]}"} if served else {}),
            **common,
            "internal.tls.ca": str(folder / "tls" / "ca.crt"),
            "internal.tls.cert": str(folder / "tls" / "tls.crt"),
            "internal.tls.key": str(folder / "tls" / "tls.key"),
        }
        port = by_name[served or "internal"]
        replica = Replica(folder, binary, role, LOOPBACK, port, by_name["admin"], settings)
        # The very first makes the tables alone: the others would wait for its lock, and make its work slower.
        stage = 9 if (role, n) == (ROLES[0], 1) else 10 + ROLES.index(role)
        self._add(name, "hearth", stage, replica, ports, names)

    def _server_settings(self) -> dict[str, object]:
        of = lambda kind: [member for member in self.members if member.kind == kind]
        redis = of("sentinel") or of("valkey")
        settings: dict[str, object] = {
            "nats.servers": [f"nats://{LOOPBACK}:{member.ports['client']}" for member in of("nats")],
            "nats.replicas": 3 if self.options.nats >= 3 else 1,
            "redis.nodes": [f"redis://{LOOPBACK}:{member.ports['client']}" for member in redis],
            "cql.nodes": [f"{member.address}:{member.ports['client']}" for member in of("cassandra")],
            # Devices of a local cluster are simulated on this machine.
            "wakeup.allow_loopback": True,
        }
        if self.options.sentinels:
            settings["redis.sentinel_group"] = SENTINEL_GROUP
        return settings

    def _extra_settings(self) -> dict[str, object]:
        """KEY=VALUE of --set: the value as JSON where it is JSON, else a text."""
        settings: dict[str, object] = {}
        for item in self.options.settings:
            key, found, value = item.partition("=")
            if not found:
                raise Failed(f"--set takes KEY=VALUE, not {item!r}")
            try:
                settings[key] = json.loads(value)
            except ValueError:
                settings[key] = value
        return settings

    def _front(self) -> None:
        names = tuple(FRONT_PORTS)
        ports = self.ports.of("front", *names, wish=FRONT_PORTS)
        backends = {
            role: [(member.name, member.node.port, member.node.admin) for member in self.members if member.kind == "hearth" and member.node.role == role]
            for role in ("gateway", "northbound", "files")
        }
        self._add("front", "haproxy", 30, Front(HOME / "front", LOOPBACK, ports, backends), ports, names)

    # --- all --------------------------------------------------------------------------------------------------

    def _add(self, name: str, kind: str, stage: int, node, ports: list[int], names: tuple[str, ...], address: str = LOOPBACK) -> None:
        self.members.append(Member(name, kind, stage, node, dict(zip(names, ports)), address))

    def member(self, name: str) -> Member:
        for member in self.members:
            if member.name == name:
                return member
        raise Failed(f"there is no {name}: {', '.join(member.name for member in self.members)}")


def save(topology: Topology) -> None:
    HOME.mkdir(parents=True, exist_ok=True)
    kept = {"options": dataclasses.asdict(topology.options), "ports": topology.ports.kept}
    (HOME / "cluster.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def load() -> Topology | None:
    """The cluster that was started last, None before the first start."""
    try:
        kept = json.loads((HOME / "cluster.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    options = kept["options"]
    return Topology(Options(**{**options, "settings": tuple(options["settings"])}), kept["ports"])
