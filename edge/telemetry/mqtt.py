"""What the unit has to say to the MQTT broker, and what it is told.

One thread of ours drives the line, instead of paho's own: so the order of messages, the back-off, the reason of every
failure and the time that a stop may take are all decided here. Each connection is a fresh Line; what outlives a
connection is the Outbox, and what outlives the process is the Spool.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from enum import Enum
from types import TracebackType

from edge.config import read_secret
from edge.errors import ConfigError
from edge.sections import MqttConfig
from edge.telemetry import payloads, tls
from edge.telemetry.line import Arrival, Line, LineError, LineEvents
from edge.telemetry.outbox import Message, Outbox, encoded
from edge.telemetry.spool import Spool

log = logging.getLogger(__name__)

MIN_DELAY_S, MAX_DELAY_S = 1.0, 60.0  # between attempts to connect
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
        topic = f"{self._base}/status"
        self._online = Message(topic, encoded(payloads.status(unit, "online")), retain=True)
        self._offline = Message(topic, encoded(payloads.status(unit, "offline")), retain=True)
        self._tls = tls.client_context(config) if config.tls else None
        self._password()  # a missing secret is told now, not in the background
        self._backlog = spool.backlog
        self._outbox = Outbox(self._base, self._backlog)
        self._status = (MqttState.CONNECTING, "")
        self._published = 0
        self._denied = 0
        self._denied_topics: set[str] = set()  # of this connection
        self._accepted: bool | None = None  # what the broker said to this connection; None: nothing yet
        self._is_greeted = self._is_subscribed = False  # on this connection
        self._window = WINDOW
        self._take_command: Callable[[Arrival], None] | None = None
        self._stopping = threading.Event()
        self._deadline_s = float("inf")
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    def start(self) -> None:
        """Connect in the background, and again whenever the connection is lost."""
        self._thread.start()

    def stop(self) -> None:
        """Deliver what waits and then a retained "offline", for STOP_S at most, and disconnect for good."""
        if not self._stopping.is_set():
            self._outbox.put_last(self._offline)
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

    def publish_answer(self, payload: Mapping[str, object]) -> None:
        """Send to <prefix>/<unit>/ack what became of a command."""
        self._outbox.put_answer(Message(f"{self._base}/ack", encoded(payload), is_answer=True))

    def publish_snapshot(self, topic: str, jpeg: bytes) -> None:
        """Send a picture to <prefix>/<unit>/snapshot/<topic>; on a line that breaks it is lost."""
        self._outbox.put_answer(Message(f"{self._base}/snapshot/{topic}", jpeg, is_answer=True, is_picture=True))

    def listen(self, take_command: Callable[[Arrival], None]) -> None:
        """Take what comes on <prefix>/<unit>/cmd/<name> from now on. Called in our thread, it must not wait."""
        self._take_command = take_command

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

    # All below runs in our thread, what the line tells too.

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
        self._accepted, self._is_greeted, self._is_subscribed = None, False, False
        line = self._new_line()
        try:
            login = (self._config.username, self._password()) if self._config.username else None
            line.connect(self._config.host, self._config.port, login, self._tls)
        except ConfigError as error:
            self._report(MqttState.REFUSED, str(error))
        except LineError as error:
            state = MqttState.REFUSED if error.is_refusal else MqttState.OFFLINE
            self._report(state, f"{self._broker}: {error}")
        else:
            self._serve(line)

    def _serve(self, line: Line) -> None:
        try:
            while line.turn() and not self._is_done():
                self._send(line)
            if self._is_done() and not len(self._outbox):
                line.disconnect()
        finally:
            line.close()
            self._outbox.rewind()

    def _is_done(self) -> bool:
        if not self._stopping.is_set():
            return False
        delivered = self._accepted is True and not len(self._outbox)
        return delivered or time.monotonic() > self._deadline_s

    def _send(self, line: Line) -> None:
        if not self._accepted:
            return
        if not self._is_greeted:
            line.publish(self._online)
        if self._take_command and not self._is_subscribed:
            line.subscribe(f"{self._base}/cmd/+")
        self._is_greeted, self._is_subscribed = True, self._take_command is not None
        while self._outbox.in_flight < self._window and (message := self._outbox.take()):
            self._outbox.sent(line.publish(message), message)

    def _new_line(self) -> Line:
        events = LineEvents(
            self._on_connected, self._on_disconnected, self._on_subscribed, self._on_published, self._on_arrived
        )
        return Line(self._base.replace("/", "-"), self._offline, events)

    def _password(self) -> str | None:
        """Read anew for each connection: a refused login heals when its file is mended."""
        return read_secret(self._config.password_file) if self._config.password_file else None

    def _on_connected(self, refusal: str, receive_maximum: int | None) -> None:
        self._accepted = not refusal
        if refusal:
            login = f"user {self._config.username!r}" if self._config.username else "a client without a user"
            hint = "check mqtt.username, mqtt.password_file and the broker's access list"
            self._report(MqttState.REFUSED, f"{self._broker} refused {login}: {refusal}: {hint}")
            return
        self._denied_topics.clear()
        granted = (receive_maximum or WINDOW + 1) - 1  # the "online" takes one
        self._window = max(1, min(WINDOW, granted))
        self._report(MqttState.ONLINE, f"{self._broker}: connected")

    def _on_disconnected(self, reason: str) -> None:
        if self._accepted is None:
            hint = "does it speak MQTT 5, and do mqtt.tls and mqtt.cert_file suit its port?"
            self._report(MqttState.OFFLINE, f"{self._broker} gave no answer: {hint}")
        elif self._accepted and not self._stopping.is_set():
            self._report(MqttState.OFFLINE, f"{self._broker}: connection lost: {reason or 'closed from outside'}")

    def _on_subscribed(self, refusal: str) -> None:
        if refusal:
            reason = f"{refusal}: no command will come; mend its access list (docs/mqtt.md)"
            log.warning("%s does not let us read %s/cmd/+: %s", self._broker, self._base, reason)

    def _on_published(self, key: int, refusal: str) -> None:
        message = self._outbox.acknowledge(key)
        if not refusal:
            self._published += 1
            return
        self._denied += 1
        topic = message.topic if message else self._online.topic
        if topic not in self._denied_topics:
            self._denied_topics.add(topic)
            log.warning("%s does not take messages on %s: %s", self._broker, topic, refusal)

    def _on_arrived(self, arrival: Arrival) -> None:
        if self._take_command and not self._stopping.is_set():
            self._take_command(arrival)

    def _report(self, state: MqttState, detail: str) -> None:
        """Keep the state, and log it when it is news."""
        if self._status != (state, detail):
            self._status = (state, detail)
            log.log(logging.INFO if state is MqttState.ONLINE else logging.WARNING, "%s", detail)
