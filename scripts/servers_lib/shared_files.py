"""What all processes of a cluster must have in common: certificates of one CA, the key ring, the API's token."""
from __future__ import annotations

import json
import os
import pathlib
import time

from . import Failed
from .roles import ask
from .topology import HOME, LOOPBACK, SECRETS, SHOWN, Topology


def prepare(topology: Topology, say) -> None:
    """Makes what is not there yet, before the roles start."""
    hearth = pathlib.Path(topology.options.binary)
    ca = HOME / "ca"
    SECRETS.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (ca / "ca.key").exists():
        ca.mkdir(mode=0o700, parents=True, exist_ok=True)
        ask(hearth, "ca", "init", "--dir", str(ca))
    for member in topology.members:
        out = member.process.folder / "tls"
        if member.kind == "hearth":
            # Each time anew: what an older Hearth issued may not name the role yet.
            out.mkdir(mode=0o700, parents=True, exist_ok=True)
            who = ["--name", member.name, "--roles", member.node.role, "--ip", LOOPBACK]
            ask(hearth, "ca", "issue", "--dir", str(ca), *who, "--out", str(out))
    ask(hearth, "keys", "init", "--file", str(SECRETS / "secret.key"))
    ask(hearth, "keys", "token", "--file", str(SECRETS / "admin.token"))
    say(f"certificates, key ring and token: {SHOWN}/ca and {SHOWN}/secrets")


def onboarding(api: str) -> bool:
    """Writes user and password that devices connect with into a file, asked of the API; whether hearthctl is there."""
    ctl, file = HOME / "bin" / "hearthctl", SECRETS / "onboarding"
    if not ctl.exists():
        return False
    command = ["--server", f"http://{api}", "--token-file", str(SECRETS / "admin.token"), "-o", "json", "credential", "onboarding"]
    deadline = time.monotonic() + 30.0
    while True:
        try:
            told = json.loads(ask(ctl, *command))
            break
        except Failed:
            # The front may not have seen yet that the API is ready.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
    with open(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(f"{told['username']}\n{told['password']}\n")
    return True
