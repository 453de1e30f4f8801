"""The unit's line to the MQTT broker; the only file that knows paho.

One thread of ours drives paho through `loop()`, instead of paho's own thread: so the order of messages, the
back-off, the reason of every failure and the time that a stop may take are all decided here. Each connection
is a fresh paho client; what outlives a connection is the Outbox, and what outlives the process is the Spool.

MQTT 5, because it answers each message: one that the broker's access list forbids is told, not swallowed.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Mapping
from enum import Enum
from types import TracebackType

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.config import read_secret
from edge.errors import ConfigError
from edge.sections import MqttConfig
from edge.telemetry import payloads, tls
from edge.telemetry.outbox import Message, Outbox, encoded
from edge.telemetry.spool import Spool

log = logging.getLogger(__name__)

KEEPALIVE_S = 15  # a silent broker is noticed within twice this time; a silent unit within 1.5 times
MIN_DELAY_S, MAX_DELAY_S = 1.0, 60.0  # between attempts to connect
TICK_S = 0.05  # the longest that a new message waits for the loop to look into the outbox
STOP_S = 2.0  # what a stop may take to deliver the last messages
WINDOW = 16  # messages on the line without an answer, unless the broker wants fewer


class MqttState(str, Enum):
    CONNECTING = "connecting"
    ONLINE = "online"
    REFUSED = "refused"  # login, rights or certificate: somebody must mend it; tried again all the same
    OFFLINE = "offline"


class MqttClient:
    """Publishes events, health and presence; a broker that is away costs no message and no time.

    Events stay in `spool` until the broker has acknowledged them; of health, the newest report waits. Presence is the
    retained status topic: "online" after each connect, "offline" from `stop` or, when the process or the line dies,
    from the last will.

    Raises:
        ConfigError: a certificate, key or password file that cannot be used.
    """

    def __init__(self, config: MqttConfig, unit: str, spool: Spool) -> None:
        self._config = config
        self._base = f"{config.prefix}/{unit}"
        self._broker = f"MQTT broker {config.host}:{config.port}"
        self._online = encoded(payloads.status(unit, "online"))
        self._offline = encoded(payloads.status(unit, "offline"))
        self._tls = tls.client_context(config) if config.tls else None
        self._password()  # a missing secret is told now, not in the background
        self._backlog = spool.backlog
        self._outbox = Outbox(self._base, self._backlog)
        self._status = (MqttState.CONNECTING, "")
        self._published = 0
        self._denied = 0
        self._denied_topics: set[str] = set()  # of this connection
        self._accepted: bool | None = None  # what the broker said to this connection; None: nothing yet
        self._window = WINDOW
        self._stopping = threading.Event()
        self._deadline_s = float("inf")
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    def start(self) -> None:
        """Connect in the background, and again whenever the connection is lost."""
        self._thread.start()

    def stop(self) -> None:
        """Deliver what waits and then a retained "offline", for STOP_S at most, and disconnect for good."""
        if not self._stopping.is_set():
            self._outbox.put_last(Message(f"{self._base}/status", self._offline, retain=True))
            self._deadline_s = time.monotonic() + STOP_S
            self._stopping.set()
        if self._thread.ident is not None:
            # A thread that hangs in a name server or a firewall is left behind: it ends by itself.
            self._thread.join(STOP_S + 0.5)

    def __enter__(self) -> MqttClient:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def publish_event(self, payload: Mapping[str, object]) -> None:
        """Send to <prefix>/<unit>/events/<kind> by way of the spool. Never blocks; no outage makes it fail."""
        self._backlog.put(str(payload["kind"]), encoded(payload))

    def publish_health(self, payload: Mapping[str, object]) -> None:
        """Send to <prefix>/<unit>/health, instead of one that still waits: a stale report must not cost an event."""
        self._outbox.put(Message(f"{self._base}/health", encoded(payload)))

    def publish_engines(self, payload: Mapping[str, object]) -> None:
        """Send to <prefix>/<unit>/engines/<model>, instead of one of that model that still waits."""
        topic = f"{self._base}/engines/{payload['model'] or 'all'}"
        self._outbox.put(Message(topic, encoded(payload)))

    @property
    def state(self) -> MqttState:
        return self._status[0]

    @property
    def detail(self) -> str:
        """The reason of `state` in one line."""
        return self._status[1]

    @property
    def published(self) -> int:
        """Messages that the broker has acknowledged."""
        return self._published

    @property
    def queued(self) -> int:
        """Messages that wait for the broker or for its acknowledgement."""
        return len(self._outbox)

    @property
    def unsaved(self) -> int:
        """Events that are not on disk: a power cut would lose them."""
        return self._backlog.unsaved

    @property
    def dropped(self) -> int:
        """Messages given up: the spool was full, they were too old, or the broker did not allow them."""
        return self._backlog.dropped + self._denied

    # All below runs in our thread, paho and its callbacks too.

    def _run(self) -> None:
        delay_s = MIN_DELAY_S / 2
        while not self._stopping.is_set():
            started_s = time.monotonic()
            self._session()
            # A short connection counts as a failure: two units of one name must not chase each other.
            lasted = time.monotonic() - started_s > MAX_DELAY_S
            delay_s = MIN_DELAY_S if lasted else min(2 * delay_s, MAX_DELAY_S)
            self._stopping.wait(delay_s)
        self._status = (MqttState.OFFLINE, "stopped")

    def _session(self) -> None:
        """One connection, from the attempt to its end."""
        self._accepted = None
        try:
            client = self._new_client()
            client.connect(self._config.host, self._config.port, KEEPALIVE_S)
        except ConfigError as error:
            self._report(MqttState.REFUSED, str(error))
        except ssl.SSLCertVerificationError as error:
            self._report(MqttState.REFUSED, f"{self._broker}: {tls.distrust(error)}")
        except (OSError, UnicodeError) as error:  # UnicodeError: a host that is no name
            reason = getattr(error, "strerror", None) or error
            self._report(MqttState.OFFLINE, f"{self._broker}: cannot connect: {reason}")
        else:
            self._serve(client)

    def _serve(self, client: paho.Client) -> None:
        try:
            while client.loop(TICK_S) == paho.MQTT_ERR_SUCCESS and not self._is_done():
                self._send(client)
            if self._is_done() and not len(self._outbox):
                client.disconnect()
        finally:
            if (line := client.socket()) is not None:
                line.close()  # without a DISCONNECT, so that the broker publishes the last will
            self._outbox.rewind()

    def _is_done(self) -> bool:
        if not self._stopping.is_set():
            return False
        delivered = self._accepted is True and not len(self._outbox)
        return delivered or time.monotonic() > self._deadline_s

    def _send(self, client: paho.Client) -> None:
        while self._accepted and self._outbox.in_flight < self._window and (message := self._outbox.take()):
            sent = client.publish(message.topic, message.payload, qos=1, retain=message.retain)
            self._outbox.sent(sent.mid, message)

    def _new_client(self) -> paho.Client:
        # With a fixed identity the broker ends a half-dead connection of ours, and publishes its will, before
        # the new one begins; otherwise that "offline" would come after our "online".
        identity = self._base.replace("/", "-")
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=identity, protocol=paho.MQTTv5)
        client.will_set(f"{self._base}/status", self._offline, qos=1, retain=True)
        if self._config.username:
            client.username_pw_set(self._config.username, self._password())
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    def _password(self) -> str | None:
        """Read anew for each connection: a refused login heals when its file is mended."""
        return read_secret(self._config.password_file) if self._config.password_file else None

    def _on_connect(
        self, client: paho.Client, _: object, flags: paho.ConnectFlags, code: ReasonCode, props: Properties | None
    ) -> None:
        self._accepted = not code.is_failure
        if code.is_failure:
            login = f"user {self._config.username!r}" if self._config.username else "a client without a user"
            hint = "check mqtt.username, mqtt.password_file and the broker's access list"
            self._report(MqttState.REFUSED, f"{self._broker} refused {login}: {code}: {hint}")
            return
        self._denied_topics.clear()
        granted = getattr(props, "ReceiveMaximum", WINDOW + 1) - 1  # the "online" below takes one
        self._window = max(1, min(WINDOW, granted))
        client.publish(f"{self._base}/status", self._online, qos=1, retain=True)
        self._report(MqttState.ONLINE, f"{self._broker}: connected")

    def _on_disconnect(
        self, client: paho.Client, _: object, flags: paho.DisconnectFlags, code: ReasonCode, props: Properties | None
    ) -> None:
        if self._accepted is None:
            hint = "does it speak MQTT 5, and do mqtt.tls and mqtt.cert_file suit its port?"
            self._report(MqttState.OFFLINE, f"{self._broker} gave no answer: {hint}")
        elif self._accepted and not self._stopping.is_set():
            reason = "closed from outside" if code == "Unspecified error" else code
            self._report(MqttState.OFFLINE, f"{self._broker}: connection lost: {reason}")

    def _on_publish(
        self, client: paho.Client, _: object, mid: int, code: ReasonCode, props: Properties | None
    ) -> None:
        message = self._outbox.acknowledge(mid)
        if not code.is_failure:
            self._published += 1
            return
        self._denied += 1
        topic = message.topic if message else f"{self._base}/status"
        if topic not in self._denied_topics:
            self._denied_topics.add(topic)
            log.warning("%s does not take messages on %s: %s", self._broker, topic, code)

    def _report(self, state: MqttState, detail: str) -> None:
        """Keep the state, and log it when it is news."""
        if self._status != (state, detail):
            self._status = (state, detail)
            log.log(logging.INFO if state is MqttState.ONLINE else logging.WARNING, "%s", detail)
