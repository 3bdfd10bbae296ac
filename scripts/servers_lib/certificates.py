"""Certificates for servers that speak TLS in tests: made by openssl, good for ten years, of no use elsewhere."""
from __future__ import annotations

import pathlib
import shutil
import subprocess

from . import Failed, Skipped


def openssl(*arguments: str, given: str = "") -> None:
    done = subprocess.run(["openssl", *arguments], input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"openssl {arguments[0]}: {done.stderr.strip()}")


def make(folder: pathlib.Path, address: str) -> None:
    """`ca.crt`, of it `server.pem` (key and certificate, for `address`) and `client.crt`, `client.key`; the same of
    another authority as `other.*`. What is there stays."""
    if (folder / "other.key").exists():
        return
    if not shutil.which("openssl"):
        raise Skipped("openssl is not installed")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for authority, names in (("ca", ("server", "client")), ("other-ca", ("other",))):
        ca = folder / authority
        openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", f"/CN=test {authority}",
            "-keyout", f"{ca}.key", "-out", f"{ca}.crt",
        )
        for name in names:
            file = folder / name
            openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{file}.key", "-out", f"{file}.csr")
            (folder / "extensions").write_text(f"subjectAltName = IP:{address}\n", encoding="utf-8")
            openssl(
                "x509", "-req", "-days", "3650", "-in", f"{file}.csr", "-CA", f"{ca}.crt", "-CAkey", f"{ca}.key",
                "-CAcreateserial", "-extfile", str(folder / "extensions"), "-out", f"{file}.crt",
            )
    pem = (folder / "server.key").read_text(encoding="utf-8") + (folder / "server.crt").read_text(encoding="utf-8")
    (folder / "server.pem").write_text(pem, encoding="utf-8")
