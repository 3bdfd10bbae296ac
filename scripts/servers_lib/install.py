"""Installs the servers where they are not there yet, or not as their pins say."""
from __future__ import annotations

import contextlib
import os
import subprocess
import sys

from . import ROOT, TOOLS, Failed

PINS = {"servers": "servers-requirements.txt", "cassandra": "servers-pom.xml"}


def install(say) -> None:
    """Runs `scripts/tools servers` unless what it installed is newer than the pins."""
    for environment, pin in PINS.items():
        stamp = TOOLS / environment / ".stamp"
        if not stamp.exists() or stamp.stat().st_mtime < (ROOT / "scripts" / pin).stat().st_mtime:
            break
    else:
        return
    say("installing the servers ...")
    done = subprocess.run([str(ROOT / "scripts" / "tools"), "servers"], stdout=sys.stderr, check=False)
    if done.returncode:
        raise Failed("scripts/tools servers failed (its message is above)")
    for environment in PINS:
        with contextlib.suppress(FileNotFoundError):
            os.utime(TOOLS / environment / ".stamp")
