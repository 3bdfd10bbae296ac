"""Asks a server something that it can answer only when it serves. Each returns the answer, or raises OSError."""
from __future__ import annotations

import json
import pathlib
import socket
import ssl
import struct
import urllib.error
import urllib.request

TIMEOUT = 2.0


def http(address: str, port: int, path: str) -> bytes:
    """The body of a 2xx answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{address}:{port}{path}", timeout=TIMEOUT) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise OSError(f"{path} is answered by {error.code}: {error.read(300).decode(errors='replace').strip()}") from None


def nats(address: str, monitor: int) -> bool:
    """Whether NATS is up with its streams recovered (its health page counts JetStream in)."""
    return json.loads(http(address, monitor, "/healthz")).get("status") == "ok"


def redis(address: str, port: int, *command: str) -> str:
    """The first line of the answer to a command (PING), without its type; a bulk string is its text."""
    words = command or ("PING",)
    with socket.create_connection((address, port), TIMEOUT) as stream:
        stream.settimeout(TIMEOUT)
        request = f"*{len(words)}\r\n" + "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
        stream.sendall(request.encode())
        reader = stream.makefile("rb")
        line = reader.readline().decode().strip()
        if line.startswith("-") or not line:
            raise OSError(f"answers {line or 'nothing'}")
        if line.startswith("$") and line != "$-1":
            return reader.read(int(line[1:])).decode()
        return line[1:]


def tls(address: str, port: int, folder: pathlib.Path) -> bool:
    """Whether a server takes the client's certificate of `certificates.make`, and shows one that fits."""
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / "client.crt", folder / "client.key")
    with socket.create_connection((address, port), TIMEOUT) as stream, context.wrap_socket(stream, server_hostname=address):
        return True


def cql(address: str, port: int, query: str = "SELECT release_version FROM system.local") -> list[list[bytes | None]]:
    """The rows of a query (v4 protocol, no authentication). Raises OSError with the server's message."""

    def frame(stream: socket.socket, opcode: int, body: bytes) -> tuple[int, bytes]:
        stream.sendall(struct.pack(">BBhBi", 4, 0, 0, opcode, len(body)) + body)
        head = exactly(stream, 9)
        answer = exactly(stream, struct.unpack(">i", head[5:])[0])
        if head[4] == 0:
            code, length = struct.unpack(">iH", answer[:6])
            raise OSError(f"CQL error {code:#06x}: {answer[6 : 6 + length].decode(errors='replace')}")
        return head[4], answer

    with socket.create_connection((address, port), TIMEOUT) as stream:
        stream.settimeout(10.0)
        option = lambda text: struct.pack(">H", len(text)) + text
        opcode, _ = frame(stream, 1, struct.pack(">H", 1) + option(b"CQL_VERSION") + option(b"3.0.0"))
        if opcode != 2:
            raise OSError("the server asks for a login")
        text = query.encode()
        _, answer = frame(stream, 7, struct.pack(">i", len(text)) + text + struct.pack(">HB", 1, 0))
    return rows(answer)


def exactly(stream: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = stream.recv(count - len(data))
        if not more:
            raise OSError("the connection was closed")
        data += more
    return data


def rows(answer: bytes) -> list[list[bytes | None]]:
    """The cells of a RESULT frame of rows with simple column types; [] for any other result."""
    kind, flags, columns = struct.unpack(">iii", answer[:12])
    if kind != 2:
        return []
    at = 12

    def text() -> None:
        nonlocal at
        at += 2 + struct.unpack(">H", answer[at : at + 2])[0]

    def column_type() -> None:
        nonlocal at
        code = struct.unpack(">H", answer[at : at + 2])[0]
        at += 2
        for _ in range({0x20: 1, 0x22: 1, 0x21: 2}.get(code, 0)):
            column_type()

    if flags & 1:
        text(), text()
    for _ in range(columns):
        if not flags & 1:
            text(), text()
        text(), column_type()
    count = struct.unpack(">i", answer[at : at + 4])[0]
    at += 4
    table: list[list[bytes | None]] = []
    for _ in range(count):
        row: list[bytes | None] = []
        for _ in range(columns):
            size = struct.unpack(">i", answer[at : at + 4])[0]
            at += 4
            row.append(answer[at : at + size] if size >= 0 else None)
            at += max(size, 0)
        table.append(row)
    return table
