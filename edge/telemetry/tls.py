"""TLS towards the broker: its certificate is always verified, ours is shown where it is asked for."""

from __future__ import annotations

import ssl

from edge import pem
from edge.sections import MqttConfig


def client_context(config: MqttConfig) -> ssl.SSLContext:
    """A context that trusts `config.ca_file`, or the system's authorities when it is empty.

    Raises:
        ConfigError: a file is missing, is not PEM, does not fit the other, or its key is encrypted.
    """
    context = pem.client_context("mqtt", config.ca_file)
    if config.cert_file:
        pem.load_identity(context, "mqtt", config.cert_file, config.key_file)
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
