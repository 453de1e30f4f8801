"""TLS towards the broker: its certificate is always verified, ours is shown where it is asked for."""

from __future__ import annotations

import ssl

from edge.errors import ConfigError
from edge.sections import MqttConfig


def client_context(config: MqttConfig) -> ssl.SSLContext:
    """A context that trusts `config.ca_file`, or the system's authorities when it is empty.

    Raises:
        ConfigError: a file is missing, is not PEM, does not fit the other, or its key is encrypted.
    """
    try:
        context = ssl.create_default_context(cafile=config.ca_file or None)
    except OSError as error:
        raise ConfigError(f"mqtt.ca_file: {config.ca_file}: {_reason(error)}") from error
    if config.cert_file:
        try:
            # An empty password, so that an encrypted key fails instead of asking on the terminal.
            context.load_cert_chain(config.cert_file, config.key_file, password="")
        except OSError as error:
            files = f"{config.cert_file}, {config.key_file}"
            raise ConfigError(f"mqtt.cert_file, mqtt.key_file: {files}: {_reason(error)}") from error
    context.sslsocket_class = _Socket
    return context


def distrust(error: ssl.SSLCertVerificationError) -> str:
    """Why the broker's certificate was not accepted, and where to look."""
    return f"certificate not trusted: {error.verify_message.rstrip('.')}: check mqtt.host and mqtt.ca_file"


class _Socket(ssl.SSLSocket):
    """Closes itself when the handshake fails, as paho forgets to do, and tells why."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except ssl.SSLCertVerificationError:
            self.close()
            raise
        except OSError as error:
            self.close()
            reason = getattr(error, "reason", None) or error.strerror or error
            raise ConnectionError(f"no TLS handshake ({reason}): is this the broker's TLS port?") from error


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"not a usable PEM file ({error.reason or 'no certificate in it'})"
    return error.strerror or str(error)
