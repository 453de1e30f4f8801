"""One connection to the MQTT broker; the only file that knows paho.

The thread that owns the line drives it by `turn`, in which paho's callbacks run, too. MQTT 5, because it answers each
message: one that the broker's access list forbids is told, not swallowed.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.telemetry import tls
from edge.telemetry.outbox import Message

KEEPALIVE_S = 15  # a silent broker is noticed within twice this time; a silent unit within 1.5 times
TICK_S = 0.05  # the longest that a new message waits for its turn
MAX_ARRIVAL_BYTES = 65_536  # a longer packet is dropped by the broker
_QOS_BITS = 0b0110  # of a PUBLISH's first byte


class LineError(Exception):
    """No connection. `is_refusal`: it will not heal by itself."""

    def __init__(self, reason: str, *, is_refusal: bool = False) -> None:
        super().__init__(reason)
        self.is_refusal = is_refusal


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message to us.

    Attributes:
        is_retained: it was published to be kept, perhaps long ago.
        expiry_s: how long its sender still wants it to be taken; None: for ever.
    """

    topic: str
    payload: bytes
    is_retained: bool = False
    expiry_s: int | None = None


@dataclass(frozen=True, slots=True)
class LineEvents:
    """Who is told what happens on a line. In each `refusal` an empty text means that all is well.

    Attributes:
        connected: (refusal, receive_maximum): the broker has answered, and takes so many messages without an answer.
        disconnected: (reason): the connection is over; an empty reason: closed without a word.
        subscribed: (refusal): the broker has answered to `subscribe`.
        published: (key, refusal): it has answered for the message that `publish` gave this key.
        arrived: a message came. Must not raise, nor wait.
    """

    connected: Callable[[str, int | None], None]
    disconnected: Callable[[str], None]
    subscribed: Callable[[str], None]
    published: Callable[[int, str], None]
    arrived: Callable[[Arrival], None]


class Line:
    """Begins anew at the broker (clean start, no session): what was sent while we were away is not kept for us.

    Args:
        identity: with a fixed one the broker ends a half-dead connection of ours, and publishes its will, before the
            new one begins; otherwise that "offline" would come after our "online".
        will: what the broker publishes when the line dies, if anything.
    """

    def __init__(self, identity: str, will: Message | None, events: LineEvents) -> None:
        self._events = events
        self._client = _Client(CallbackAPIVersion.VERSION2, client_id=identity, protocol=paho.MQTTv5)
        if will is not None:
            self._client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def connect(
        self, host: str, port: int, login: tuple[str, str | None] | None, context: ssl.SSLContext | None
    ) -> None:
        """Open the connection; whether the broker takes us, `events` tell.

        Raises:
            LineError: nobody answers there, or it is not the one that it says it is.
        """
        if login is not None:
            self._client.username_pw_set(*login)
        if context is not None:
            self._client.tls_set_context(context)
        limits = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        limits.MaximumPacketSize = MAX_ARRIVAL_BYTES
        try:
            self._client.connect(host, port, KEEPALIVE_S, clean_start=True, properties=limits)
        except ssl.SSLCertVerificationError as error:
            raise LineError(tls.distrust(error), is_refusal=True) from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a host that is no name
            raise LineError(f"cannot connect: {getattr(error, 'strerror', None) or error}") from error

    def turn(self) -> bool:
        """Send and take what is ready, waiting for it for TICK_S at most; False once the line is dead."""
        return self._client.loop(TICK_S) == paho.MQTT_ERR_SUCCESS

    def publish(self, message: Message) -> int:
        """Send with QoS 1. Returns the key under which the broker's answer comes."""
        return self._client.publish(message.topic, message.payload, qos=1, retain=message.retain).mid

    def subscribe(self, topic: str) -> None:
        """Ask for what is published from now on: what was kept by the broker is not sent, and what is published to be
        kept is marked so.

        With QoS 0, for there is no session in which a message could be sent again; and mosquitto 2.0.11 never frees
        the place of one with QoS 1 that was too long for MAX_ARRIVAL_BYTES, until none comes any more.
        """
        kept = SubscribeOptions.RETAIN_DO_NOT_SEND
        self._client.subscribe(
            topic, options=SubscribeOptions(qos=0, noLocal=True, retainAsPublished=True, retainHandling=kept)
        )

    def disconnect(self) -> None:
        """Say goodbye: the broker forgets the will."""
        self._client.disconnect()

    def close(self) -> None:
        """Without a goodbye, so that the broker publishes the will."""
        self._client.close()

    def _on_connect(
        self, client: paho.Client, _: object, flags: paho.ConnectFlags, code: ReasonCode, props: Properties | None
    ) -> None:
        self._events.connected(_refusal(code), getattr(props, "ReceiveMaximum", None))

    def _on_disconnect(
        self, client: paho.Client, _: object, flags: paho.DisconnectFlags, code: ReasonCode, props: Properties | None
    ) -> None:
        self._events.disconnected("" if code == "Unspecified error" else str(code))

    def _on_publish(
        self, client: paho.Client, _: object, mid: int, code: ReasonCode, props: Properties | None
    ) -> None:
        self._events.published(mid, _refusal(code))

    def _on_subscribe(
        self, client: paho.Client, _: object, mid: int, codes: list[ReasonCode], props: Properties | None
    ) -> None:
        self._events.subscribed("; ".join(filter(None, map(_refusal, codes))))

    def _on_message(self, client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return  # no broker lets that pass
        expiry_s = getattr(message.properties, "MessageExpiryInterval", None)
        self._events.arrived(Arrival(topic, bytes(message.payload), bool(message.retain), expiry_s))


class _Client(paho.Client):
    """Leaves a broker that does not keep to what it was told: paho would hold in memory all that it sends."""

    def close(self) -> None:
        """All sockets, paho's own pair, too: what waits for the garbage collector may wait for days."""
        self._reset_sockets()

    def _sock_recv(self, bufsize: int) -> bytes:
        """Asked first for all of a packet's body."""
        if bufsize > MAX_ARRIVAL_BYTES:
            raise ConnectionError("a packet that is too long")
        return super()._sock_recv(bufsize)

    def _handle_publish(self) -> MQTTErrorCode:
        """A message with QoS 2 waits in memory until the broker releases it; we subscribe with QoS 0."""
        if self._in_packet["command"] & _QOS_BITS:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        return super()._handle_publish()


def _refusal(code: ReasonCode) -> str:
    return str(code) if code.is_failure else ""
