"""Authorities and certificates for tests of TLS, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
HERE = "subjectAltName=IP:127.0.0.1"


def make_pki(folder: Path) -> Path:
    """Two authorities, ours and a stranger, and what they signed.

    server, elsewhere, old: for 127.0.0.1, for another host, and one that has expired; unit, old-unit: of clients.
    """
    make_authority(folder, "ours")
    make_authority(folder, "stranger")
    make_certificate(folder, "server", "ours", HERE)
    make_certificate(folder, "elsewhere", "ours", "subjectAltName=DNS:elsewhere.example")
    make_certificate(folder, "old", "ours", HERE, days=-1)
    make_certificate(folder, "soon", "ours", HERE, days=9)
    make_certificate(folder, "unit", "ours", "extendedKeyUsage=clientAuth")
    make_certificate(folder, "old-unit", "ours", "extendedKeyUsage=clientAuth", days=-1)
    openssl("ec", "-in", folder / "unit.key", "-out", folder / "locked.key", "-aes128", "-passout", "pass:secret")
    (folder / "garbage.pem").write_text("-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n")
    (folder / "empty.pem").touch()
    return folder


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def make_authority(folder: Path, name: str) -> None:
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl("req", "-x509", *NEW_KEY, "-keyout", key, "-out", certificate, "-days", 2, "-subj", f"/CN={name}", *usage)


def make_certificate(folder: Path, name: str, authority: str, extensions: str, *, days: int = 100) -> None:
    key, request, certificate = (folder / f"{name}.{suffix}" for suffix in ("key", "csr", "crt"))
    rules = folder / f"{name}.ext"
    rules.write_text(f"{extensions}\nauthorityKeyIdentifier=keyid\n")
    openssl("req", *NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
    signer = ("-CA", folder / f"{authority}.crt", "-CAkey", folder / f"{authority}.key", "-CAcreateserial")
    openssl("x509", "-req", "-in", request, *signer, "-out", certificate, "-days", days, "-extfile", rules)
