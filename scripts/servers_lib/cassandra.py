"""How Cassandra is started from its jars: the flags of the JVM and the node's yaml."""
from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess

from . import TOOLS, Skipped, certificates, probe
from .process import Process

LIB = TOOLS / "cassandra" / "lib"

# What Cassandra 5 reaches of the JDK's inside.
EXPORTS = """java.base/jdk.internal.misc java.base/jdk.internal.ref java.base/sun.nio.ch java.base/java.lang.ref
java.base/jdk.internal.util java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry
java.rmi/sun.rmi.server java.sql/java.sql jdk.unsupported/sun.misc""".split()
OPENS = """java.base/java.lang java.base/java.lang.module java.base/java.lang.reflect java.base/java.io java.base/java.util
java.base/java.util.concurrent java.base/java.util.concurrent.atomic java.base/java.nio java.base/sun.nio.ch
java.base/jdk.internal.loader java.base/jdk.internal.ref java.base/jdk.internal.reflect java.base/jdk.internal.math
java.base/jdk.internal.module java.base/jdk.internal.util.jar jdk.management/com.sun.management.internal
java.rmi/sun.rmi.transport.tcp""".split()

LOGBACK = """<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{ISO8601} %-5level %logger{0}: %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="out"/></root>
</configuration>
"""


def java() -> str:
    """The Java that Cassandra can run on. Raises `Skipped` when there is none, or no Cassandra."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(os.path.join(home, "bin", "java")) if home else None
    found = found or shutil.which("java")
    if not found:
        raise Skipped("Java 17 is not installed (Debian, Ubuntu: apt-get install openjdk-17-jre-headless)")
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if not version or version[1] != "17":
        raise Skipped(f"Cassandra 5 runs on Java 17, here is {version[1] if version else 'another'}: set JAVA_HOME to one")
    if not LIB.is_dir():
        raise Skipped("Cassandra is not installed: scripts/tools servers (it needs Maven and Java 17)")
    return found


class Cassandra:
    """One node; of a ring when `token` and `seeds` say so. All nodes of a ring have the same two ports."""

    def __init__(
        self, folder: pathlib.Path, address: str, ports: list[int], token: int | None = None, seeds: list[str] | None = None,
        heap: str = "512m", secured: bool = False,
    ):
        self.process = Process(folder)
        self.address, self.port, self.storage = address, ports[0], ports[1]
        self.token, self.seeds, self.heap = token, seeds or [address], heap
        # Asks for a login (cassandra, cassandra) by TLS, and for a client's certificate.
        self.secured, self.certificates = secured, folder / "tls"

    def start(self) -> None:
        binary = java()
        folder = self.process.folder
        (folder / "conf").mkdir(parents=True, exist_ok=True)
        if self.secured:
            certificates.make(self.certificates, self.address)
        (folder / "conf" / "logback.xml").write_text(LOGBACK, encoding="utf-8")
        (folder / "conf" / "cassandra.yaml").write_text(self._yaml(), encoding="utf-8")
        options = [f"-Xms{self.heap}", f"-Xmx{self.heap}", "-XX:+ExitOnOutOfMemoryError", "-XX:+UseSerialGC", "-XX:-UsePerfData"]
        if os.environ.get("CASSANDRA_JIT") != "full":
            # A node of the tests lives for minutes: the second compiler took half of its start's processor time.
            options.append("-XX:TieredStopAtLevel=1")
        options += ["-Djdk.attach.allowAttachSelf=true", f"-Djava.io.tmpdir={folder}"]
        properties = {
            "config": (folder / "conf" / "cassandra.yaml").as_uri(),
            "storagedir": str(folder / "data"),
            "logdir": str(folder),
            "ring_delay_ms": "2000",
            "skip_wait_for_gossip_to_settle": "0",
            # The superuser of a first start is made after this time, which is the pause between tries, too.
            "superuser_setup_delay_ms": "2000",
        }
        options += [f"-Dcassandra.{name}={value}" for name, value in properties.items()]
        options.append("-Dcassandra-foreground=yes")
        options += [f"--add-exports={package}=ALL-UNNAMED" for package in EXPORTS]
        options += [f"--add-opens={package}=ALL-UNNAMED" for package in OPENS]
        classpath = f"{folder / 'conf'}{os.pathsep}{LIB}/*"
        self.process.start([binary, *options, "-cp", classpath, "org.apache.cassandra.service.CassandraDaemon"])

    def _yaml(self) -> str:
        data = self.process.folder / "data"
        login = ("PasswordAuthenticator", "CassandraRoleManager") if self.secured else ("AllowAllAuthenticator", "CassandraRoleManager")
        lines = {
            "cluster_name": "hearth",
            "num_tokens": 1,
            "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
            # Group commit: an acknowledged write is on the disk.
            "commitlog_sync": "group",
            "commitlog_sync_group_window": "2ms",
            "commitlog_segment_size": "16MiB",
            "commitlog_total_space": "256MiB",
            "commitlog_directory": data / "commitlog",
            "data_file_directories": f'["{data / "tables"}"]',
            "hints_directory": data / "hints",
            "saved_caches_directory": data / "caches",
            "cdc_raw_directory": data / "cdc",
            "endpoint_snitch": "SimpleSnitch",
            "listen_address": self.address,
            "rpc_address": self.address,
            "native_transport_port": self.port,
            "storage_port": self.storage,
            "authenticator": login[0],
            "authorizer": "AllowAllAuthorizer",
            "role_manager": login[1],
            "seed_provider": f'[{{class_name: org.apache.cassandra.locator.SimpleSeedProvider, parameters: [{{seeds: "{",".join(self.seeds)}"}}]}}]',
            # Tests drop what they made: a snapshot of it would only fill the disk.
            "auto_snapshot": "false",
            # Three nodes that start on two cores are slower than a machine for each.
            "read_request_timeout": "10s",
            "write_request_timeout": "10s",
            "cas_contention_timeout": "10s",
            "file_cache_size": "32MiB",
            "memtable_heap_space": "96MiB",
            "memtable_offheap_space": "96MiB",
            "native_transport_max_threads": 64,
            "concurrent_reads": 16,
            "concurrent_writes": 32,
        }
        if self.secured:
            files = f"keystore: {self.certificates / 'server.pem'}, truststore: {self.certificates / 'ca.crt'}"
            factory = "ssl_context_factory: {class_name: org.apache.cassandra.security.PEMBasedSslContextFactory}"
            lines["client_encryption_options"] = f"{{enabled: true, optional: false, require_client_auth: true, {files}, {factory}}}"
        if self.token is not None:
            lines["initial_token"] = f"'{self.token}'"
            lines["auto_bootstrap"] = "false"
        return "# Written at each start.\n" + "".join(f"{name}: {value}\n" for name, value in lines.items())

    def answers(self) -> bool:
        if self.secured:
            # The login is made a little after the port is open.
            ready = "Created default superuser role" in self.process.log.read_text(encoding="utf-8", errors="replace")
            return ready and probe.tls(self.address, self.port, self.certificates)
        return bool(probe.cql(self.address, self.port))

    def peers(self) -> int:
        """How many other nodes this one knows."""
        return len(probe.cql(self.address, self.port, "SELECT peer FROM system.peers_v2"))
