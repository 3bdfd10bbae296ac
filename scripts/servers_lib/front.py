"""HAProxy before the replicas: any of them gets any request, turn by turn; none that is not ready gets one."""
from __future__ import annotations

import pathlib
import shutil

from . import Skipped, probe
from .process import Process

# Header names as HTTP/1.1's examples write them: some CPEs know no others.
HEADERS = """Accept-Encoding Cache-Control Connection Content-Encoding Content-Length Content-Type Date Location
Retry-After Server Set-Cookie SOAPAction Transfer-Encoding WWW-Authenticate""".split()


def haproxy() -> str:
    found = shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")
    if not found:
        raise Skipped("HAProxy is not installed (Debian, Ubuntu: apt-get install haproxy); use the replicas' own addresses")
    return found


# What HAProxy answers by itself when no gateway is ready: without Retry-After all devices would come back by timers of
# their own, those that began together at the same moment. 30 to 60 s, as the gateway's `retry_after` has it.
GATEWAY = """    http-reuse always
    http-error status 503 content-type text/plain string "no gateway is ready\\n" hdr Retry-After "%[rand(31),add(30)]"
""".rstrip()


class Front:
    """`ports`: CWMP, API, files, and HAProxy's own page with its metrics."""

    def __init__(self, folder: pathlib.Path, address: str, ports: list[int], backends: dict[str, list[tuple[str, int, int]]]):
        self.process = Process(folder)
        self.address = address
        self.cwmp, self.api, self.files, self.monitor = ports
        self.backends = backends

    def start(self) -> None:
        folder = self.process.folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "haproxy.cfg").write_text(self._settings(), encoding="utf-8")
        self.process.start([haproxy(), "-db", "-f", str(folder / "haproxy.cfg")])

    def answers(self) -> bool:
        return bool(probe.http(self.address, self.monitor, "/healthz"))

    def _backend(self, name: str, options: str, server_options: str) -> str:
        lines = [f"backend {name}", "    balance roundrobin", "    option httpchk GET /readyz", options]
        lines += [
            f"    server {server} {self.address}:{port} check port {admin} {server_options}".rstrip()
            for server, port, admin in self.backends[name]
        ]
        return "\n".join(line for line in lines if line) + "\n"

    def _settings(self) -> str:
        case = "\n".join(f"    h1-case-adjust {name.lower()} {name}" for name in HEADERS)
        return f"""# Written by scripts/cluster at each start. No stickiness: any replica serves any turn of a session.
global
    log stdout format raw local0 notice
{case}

defaults
    mode http
    log global
    option dontlognull
    # To a replica that can't be connected to nothing was sent: another one may have it.
    option redispatch
    retries 2
    retry-on conn-failure
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout check 2s
    default-server inter 1s fall 2 rise 1 on-marked-down shutdown-sessions

frontend cwmp
    bind {self.address}:{self.cwmp}
    option h1-case-adjust-bogus-client
    option forwardfor
    default_backend gateway

# gRPC, and REST where the API has it. A stream of events may be silent for long.
frontend api
    bind {self.address}:{self.api}
    timeout client 1h
    default_backend northbound

frontend files
    bind {self.address}:{self.files}
    option h1-case-adjust-bogus-client
    default_backend files

frontend monitor
    bind {self.address}:{self.monitor}
    monitor-uri /healthz
    http-request use-service prometheus-exporter if {{ path /metrics }}
    stats enable
    stats uri /

{self._backend("gateway", GATEWAY, "")}
{self._backend("northbound", "    timeout server 1h", "proto h2 check-proto h1")}
{self._backend("files", "    timeout server 10m", "")}"""
