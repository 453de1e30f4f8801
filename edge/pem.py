"""Certificates and keys as PEM files: what every part of the service that speaks TLS checks in the same words."""

from __future__ import annotations

import ssl

from edge.config import credential
from edge.errors import ConfigError


def load_identity(context: ssl.SSLContext, section: str, cert_file: str, key_file: str) -> None:
    """Let `context` show a certificate. A bare name is a systemd credential; `section` is that of both keys.

    Raises:
        ConfigError: a file is missing, is not PEM, does not fit the other, or the key is encrypted.
    """
    certificate, key = credential(cert_file), credential(key_file)
    try:
        # An empty password, so that an encrypted key fails instead of asking on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:
        raise ConfigError(
            f"{section}.cert_file, {section}.key_file: {certificate}, {key}: {_reason(error)}"
        ) from error


def client_context(section: str, ca_file: str) -> ssl.SSLContext:
    """A context that verifies certificate and host name, and speaks TLS 1.2 at least.

    It trusts the authorities in `ca_file` (a bare name is a systemd credential), or the system's when that is empty.

    Raises:
        ConfigError: the file is missing or is not PEM.
    """
    path = credential(ca_file) if ca_file else None
    try:
        context = ssl.create_default_context(cafile=path)
    except OSError as error:
        raise ConfigError(f"{section}.ca_file: {path}: {_reason(error)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _reason(error: OSError) -> str:
    if not isinstance(error, ssl.SSLError):
        return error.strerror or str(error)
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not that of the certificate: name the pair that belongs together"
    return f"not a usable PEM file ({error.reason or 'no certificate in it'})"
