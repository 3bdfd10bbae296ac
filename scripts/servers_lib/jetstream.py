"""What is held on NATS for a role, and holding it back: JetStream's own API, without a client library."""
from __future__ import annotations

import json
import re
import socket
import time

from . import Failed, probe

# How long consumers are held back at most, if nobody lets them go on.
LONGEST = 3600.0


class Consumers:
    """The durable consumers of a group (`device-state-0`, `device-state-1` …) on the stream of events."""

    def __init__(self, address: str, client: int, monitor: int, group: str):
        self.address, self.client, self.monitor, self.group = address, client, monitor, group
        if not self._consumers():
            raise Failed(f"NATS has no consumers {group}-…")

    def _consumers(self) -> dict[tuple[str, str], int]:
        """By stream and name: how many messages each has not acknowledged yet."""
        told = json.loads(probe.http(self.address, self.monitor, "/jsz?consumers=true"))
        streams = [stream for account in told.get("account_details", []) for stream in account.get("stream_detail", [])]
        return {
            (stream["name"], one["name"]): one["num_pending"] + one["num_ack_pending"]
            for stream in streams
            for one in stream.get("consumer_detail") or []
            if re.fullmatch(rf"{re.escape(self.group)}(-\d+)?", one["name"])
        }

    def behind(self) -> int:
        """Messages that the group has not acknowledged yet."""
        return sum(self._consumers().values())

    def hold(self) -> None:
        """Nothing is delivered to the group from now on; what is published stays on the stream."""
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + LONGEST))
        self._pause({"pause_until": until})

    def release(self) -> None:
        self._pause({})

    def _pause(self, request: dict[str, str]) -> None:
        subjects = [f"$JS.API.CONSUMER.PAUSE.{stream}.{name}" for stream, name in self._consumers()]
        for answer in ask(self.address, self.client, subjects, json.dumps(request)):
            if "error" in answer or answer.get("paused", False) != bool(request):
                raise Failed(f"NATS does not {'hold back' if request else 'release'} a consumer of {self.group}: {answer}")


def ask(address: str, port: int, subjects: list[str], body: str) -> list[dict]:
    """Sends the same request to each subject, all at once; the answers."""
    with socket.create_connection((address, port), 5.0) as stream:
        stream.settimeout(10.0)
        out = 'CONNECT {"verbose":false,"pedantic":false}\r\nSUB _INBOX.asked 1\r\n'
        for subject in subjects:
            out += f"PUB {subject} _INBOX.asked {len(body)}\r\n{body}\r\n"
        stream.sendall(out.encode())
        lines, answers = stream.makefile("rb"), []
        while len(answers) < len(subjects):
            line = lines.readline()
            if line.startswith(b"MSG "):
                size = int(line.split()[-1])
                answers.append(json.loads(lines.read(size)))
                lines.read(2)
            elif line == b"PING\r\n":
                stream.sendall(b"PONG\r\n")
            elif not line or line.startswith(b"-ERR"):
                raise Failed(f"NATS at {address}:{port} does not answer: {line.decode().strip()}")
    return answers
