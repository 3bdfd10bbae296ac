"""How a replica of a Hearth role is started: its certificate, its settings, its process."""
from __future__ import annotations

import json
import os
import pathlib
import subprocess

from . import Failed, probe
from .process import Process

ROLES = ("device-state", "files", "wakeup", "workflow", "northbound", "gateway")


def toml(value: object) -> str:
    """A value in TOML: strings, numbers, truth and lists of them are written as JSON writes them."""
    return json.dumps(value)


def sections(settings: dict[str, object]) -> str:
    """Settings with dotted keys as a TOML file: the last word is the key, what is before it the table."""
    tables: dict[str, list[str]] = {}
    for name, value in settings.items():
        table, _, key = name.rpartition(".")
        tables.setdefault(table, []).append(f"{key} = {toml(value)}")
    text = "\n".join(tables.pop("", [])) + "\n"
    return text + "".join(f"\n[{table}]\n" + "\n".join(lines) + "\n" for table, lines in tables.items())


class Replica:
    """One process with one role. `port` is what it serves the role by, `admin` its health and metrics."""

    def __init__(self, folder: pathlib.Path, binary: pathlib.Path, role: str, address: str, port: int, admin: int, settings: dict[str, object]):
        self.process = Process(folder)
        self.binary, self.role, self.address, self.port, self.admin = binary, role, address, port, admin
        self.settings = settings

    def configuration(self) -> pathlib.Path:
        return self.process.folder / "hearth.toml"

    def start(self) -> None:
        self.process.folder.mkdir(parents=True, exist_ok=True)
        text = "# Written by scripts/cluster at each start.\n" + sections(self.settings)
        self.configuration().write_text(text, encoding="utf-8")
        command = [str(self.binary), "run", "--roles", self.role, "--config", str(self.configuration())]
        # A first start prints a password.
        self.process.start(command, own_environment(), told="printed")

    def answers(self) -> bool:
        return bool(probe.http(self.address, self.admin, "/readyz"))


def ask(binary: pathlib.Path, *arguments: str) -> str:
    """What a program of Hearth prints; raises `Failed` with its message when it fails."""
    done = subprocess.run([str(binary), *arguments], capture_output=True, text=True, check=False, env=own_environment())
    if done.returncode:
        raise Failed(f"{binary.name} {' '.join(arguments[:2])}: {done.stderr.strip()}")
    return done.stdout


def own_environment() -> dict[str, str]:
    """Without the variables that would be settings of every process."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HEARTH_")}
