"""Processes that outlive the script that started them: known by a file with their id, stopped by SIGTERM."""
from __future__ import annotations

import os
import pathlib
import random
import signal
import socket
import subprocess
import time

from . import Failed


def birth(pid: int) -> str | None:
    """When a process was started, or None when there is none: an id alone may be another process's by now."""
    out = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    state, _, started = out.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None


class Process:
    """One server or role with a folder of its own: `pid`, `log`, and what the program keeps there."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.name = folder.name
        self.log = folder / "log"
        self._pid_file = folder / "pid"

    def pid(self) -> int | None:
        """The id of the running process, None when it does not run."""
        try:
            pid, _, started = self._pid_file.read_text(encoding="utf-8").strip().partition(" ")
        except FileNotFoundError:
            return None
        return int(pid) if started and birth(int(pid)) == started else None

    def paused(self) -> bool:
        pid = self.pid()
        if pid is None:
            return False
        out = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
        return out.startswith("T")

    def start(self, command: list[str], environment: dict[str, str] | None = None, told: str | None = None) -> None:
        """Starts it in a session of its own, so that an interrupt of the script is none of the server. What it prints
        goes to the log, or to the private file `told` where it may be a secret."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log, open(os.open(self.folder / (told or "log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "ab") as out:
            child = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=log, start_new_session=True,
                env=os.environ if environment is None else environment,
            )
        self._pid_file.write_text(f"{child.pid} {birth(child.pid)}\n", encoding="utf-8")

    def signal(self, number: signal.Signals) -> None:
        pid = self.pid()
        if pid is None:
            raise Failed(f"{self.name} does not run")
        os.kill(pid, number)

    def stop(self, limit: float = 30.0) -> bool:
        """SIGTERM, then waits until it is gone, SIGKILL after `limit` seconds. Whether there was one to stop."""
        pid = self.pid()
        if pid is None:
            self._pid_file.unlink(missing_ok=True)
            return False
        # One that a test paused can't end before it goes on.
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)
        if not self.gone(limit):
            os.kill(pid, signal.SIGKILL)
            self.gone(5.0)
            self._pid_file.unlink(missing_ok=True)
            raise Failed(f"{self.name} did not end within {limit:.0f} s of SIGTERM and was killed, see {self.log}")
        self._pid_file.unlink(missing_ok=True)
        return True

    def gone(self, limit: float) -> bool:
        """Waits until it is gone, at most `limit` seconds; whether it is."""
        deadline = time.monotonic() + limit
        while self.pid() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def wait(self, answers, limit: float) -> None:
        """Waits until `answers()`, which raises OSError or returns false while it does not."""
        deadline = time.monotonic() + limit
        problem = "it does not answer"
        while True:
            try:
                if answers():
                    return
            except (OSError, ValueError) as error:
                problem = str(error)
            if self.pid() is None:
                raise Failed(f"{self.name} ended while it started, see {self.log}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise Failed(f"{self.name} is not there after {limit:.0f} s ({problem}), see {self.log}:\n{self.tail()}")
            time.sleep(0.1)

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log, indented."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(f"    {line[:300]}" for line in text.splitlines()[-lines:])


def is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def free_port(address: str = "127.0.0.1", taken: set[int] | None = None) -> int:
    """A port that nobody listens on, below those that the system gives to outgoing connections and to port 0."""
    for _ in range(1000):
        port = random.randrange(20000, 32000)
        if port not in (taken or ()) and is_free(address, port):
            return port
    raise Failed(f"no free port on {address}")


def remembered_ports(folder: pathlib.Path, count: int, address: str = "127.0.0.1") -> list[int]:
    """The ports of the last start, when they are free still; else new ones, remembered."""
    file = folder / "ports"
    try:
        ports = [int(port) for port in file.read_text(encoding="utf-8").split()]
    except (FileNotFoundError, ValueError):
        ports = []
    if len(ports) != count or not all(is_free(address, port) for port in ports):
        ports = []
        while len(ports) < count:
            ports.append(free_port(address, set(ports)))
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(" ".join(map(str, ports)) + "\n", encoding="utf-8")
    return ports


def known_ports(folder: pathlib.Path) -> list[int]:
    """The ports that `remembered_ports` gave last, [] before the first start."""
    try:
        return [int(port) for port in (folder / "ports").read_text(encoding="utf-8").split()]
    except (FileNotFoundError, ValueError):
        return []
