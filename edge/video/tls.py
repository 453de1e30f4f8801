"""TLS for GStreamer: the certificate that we show, and the authorities that a camera is judged by."""

from __future__ import annotations

import ssl
import time
from typing import Any

from edge import pem
from edge.config import credential
from edge.errors import ConfigError, TapetumError
from edge.video.gi import Gio, GLib


def identity(section: str, cert_file: str, key_file: str) -> Any:
    """A Gio.TlsCertificate with its key, that both keys of a section name. A chain may follow it in its file.

    Raises:
        ConfigError: a file is missing, is not PEM, does not fit the other, or the key is encrypted.
        TapetumError: GLib has no TLS.
    """
    _require_tls()
    pem.load_identity(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), section, cert_file, key_file)  # GLib takes any pair
    try:
        return Gio.TlsCertificate.new_from_files(str(credential(cert_file)), str(credential(key_file)))
    except GLib.Error as error:
        raise ConfigError(f"{section}.cert_file, {section}.key_file: {error.message}") from error


def authorities(ca_file: str) -> Any:
    """A Gio.TlsDatabase of those that may have signed a camera's certificate.

    Raises:
        ConfigError: the file is missing or is not PEM.
        TapetumError: GLib has no TLS.
    """
    _require_tls()
    pem.client_context("source", ca_file)  # GLib takes an empty file, too, and then trusts nobody
    return Gio.TlsFileDatabase.new(str(credential(ca_file)))


def days_left(certificate: Any) -> float:
    """Until it expires, by the unit's clock; below 0: since then."""
    return float((certificate.get_not_valid_after().to_unix() - time.time()) / 86400)


def _require_tls() -> None:
    if not Gio.TlsBackend.get_default().supports_tls():
        raise TapetumError("GLib has no TLS: install it with: apt install glib-networking")
