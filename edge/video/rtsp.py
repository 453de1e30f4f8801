"""The RTSP server: pictures in, H.264 out, on /colour and /nir."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from types import TracebackType
from typing import Any

from edge.config import read_secret
from edge.errors import TapetumError
from edge.sections import RtspConfig
from edge.types import UInt8Array
from edge.video import build, launch, tls
from edge.video.door import Door
from edge.video.gi import GLib, Gst, GstRtsp, GstRtspServer, GstVideo
from edge.video.mount import Mount

log = logging.getLogger(__name__)

MOUNTS = ("colour", "nir")
_VIEWER = "viewer"
_SESSION_CLEANUP_S = 5
_UDP_PORTS = 32768, 60999  # where Linux takes ports for outgoing traffic from, too


class RtspServer:
    """Serves each mount to any number of viewers, over TCP and UDP, from a thread of its own.

    With a user name in the configuration every viewer needs the login (digest). With a certificate the port speaks
    TLS alone, 1.2 or later, and video comes through it, too: never over UDP.

    Raises:
        ConfigError: the file of the password, the certificate or its key cannot be used.
        TapetumError: GStreamer lacks an element of the encoder, or GLib has no TLS.
    """

    def __init__(self, config: RtspConfig) -> None:
        chain = _encoder(config.bitrate_kbps)
        build.require(chain)
        self._config = config
        self._mounts = {name: Mount(chain) for name in MOUNTS}
        self._server = GstRtspServer.RTSPServer()
        address = _numeric(config.address)
        self._server.set_address(address)
        self._server.set_service(str(config.port))
        for name, mount in self._mounts.items():
            mount.factory.set_address_pool(_udp_addresses(address))
            self._server.get_mount_points().add_factory(f"/{name}", mount.factory)
        self._server.set_auth(self._auth())
        self._door = Door(self._server, config.max_viewers)
        self._server.connect("client-connected", _on_client)
        self._context = GLib.MainContext()
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="rtsp", daemon=True)

    @property
    def clients(self) -> int:
        """How many RTSP connections are open."""
        return len(self._server.client_filter(None))

    def push(self, mount: str, nv12: UInt8Array) -> None:
        """Show a picture, uint8[H * 3 // 2, W], on a mount; it must not be changed afterwards.

        Never waits, and encodes only while somebody watches. The size may change from one picture to the next.
        """
        self._mounts[mount].push(nv12)

    def set_bitrate(self, kbps: int) -> None:
        """Encode with so many kbit/s from now on, also for those who watch already."""
        for mount in self._mounts.values():
            mount.set_bitrate(_encoder(kbps))

    def watching(self, mount: str) -> bool:
        """Whether somebody watches a mount, so that its pictures are encoded."""
        return self._mounts[mount].watched

    def url(self, mount: str) -> str:
        """Where a viewer finds a mount. The port is the real one, the host of a wildcard this machine's name."""
        host = self._config.address
        if host in ("0.0.0.0", "::"):
            host = socket.gethostname()
        bracketed = f"[{host}]" if ":" in host else host
        scheme = "rtsps" if self._config.cert_file else "rtsp"
        return f"{scheme}://{bracketed}:{self._server.get_bound_port()}/{mount}"

    def start(self) -> None:
        """Open the port.

        Raises:
            TapetumError: the port is taken, or the address is not one of this machine.
        """
        self._attached = self._server.attach(self._context)
        if not self._attached:
            raise TapetumError(_why_not(self._config.address, self._config.port))
        self._thread.start()

    def stop(self) -> None:
        """Send every viewer away and close the port."""
        self._stopping = True
        self._context.wakeup()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _auth(self) -> Any:
        """Who is let in to the mounts, and by which certificate viewers know us."""
        config, auth, viewer = self._config, GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
        viewer.set_string("media.factory.role", _VIEWER)
        if config.username:
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
            auth.add_digest(config.username, read_secret(config.password_file), viewer)
        else:
            auth.set_default_token(viewer)
        for mount in self._mounts.values():
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_role(_VIEWER)
            for right in ("media.factory.access", "media.factory.construct"):
                permissions.add_permission_for_role(_VIEWER, right, True)
            mount.factory.set_permissions(permissions)
        if config.cert_file:
            self._speak_tls(auth)
        return auth

    def _speak_tls(self, auth: Any) -> None:
        certificate = tls.identity("rtsp", self._config.cert_file, self._config.key_file)
        if tls.days_left(certificate) < 0:  # viewers judge, by better clocks than a unit may have
            log.warning("%s has expired: viewers will not trust it: renew it", self._config.cert_file)
        auth.set_tls_certificate(certificate)
        for mount in self._mounts.values():
            mount.factory.set_protocols(GstRtsp.RTSPLowerTrans.TCP)

    def _serve(self) -> None:
        cleanup = GLib.timeout_source_new_seconds(_SESSION_CLEANUP_S)
        cleanup.set_callback(self._clean_up_sessions)
        cleanup.attach(self._context)
        default = GLib.MainContext.default()  # GLib ends TLS connections there; unattended, each would be kept
        while not self._stopping:
            self._context.iteration(True)
            self._door.sweep()
            while default.iteration(False):
                pass
        cleanup.destroy()
        self._context.find_source_by_id(self._attached).destroy()
        self._door.close()
        self._server.client_filter(lambda *_: GstRtspServer.RTSPFilterResult.REMOVE)

    def _clean_up_sessions(self, *_: Any) -> bool:
        """Forget viewers that vanished without a word; otherwise their encoder would run for ever."""
        self._server.get_session_pool().cleanup()
        return True


def _encoder(bitrate_kbps: int) -> launch.Chain:
    return launch.encoder(bitrate_kbps, jetson=launch.JETSON_ENCODER.exists())


def _on_client(_server: Any, client: Any) -> None:
    client.connect("play-request", _on_play)


def _on_play(_client: Any, context: Any) -> None:
    """Ask the encoder for a key frame, so that a viewer who comes late sees a picture at once."""
    payload = context.media.get_element().get_by_name("pay0")
    key_frame = GstVideo.video_event_new_upstream_force_key_unit(Gst.CLOCK_TIME_NONE, True, 0)
    payload.get_static_pad("src").send_event(key_frame)


def _why_not(address: str, port: int) -> str:
    """Why the port does not open: GStreamer does not tell, a plain socket does."""
    where = f"RTSP server: {address} port {port}"
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, endpoint in found:
            with contextlib.closing(socket.socket(family, kind, protocol)) as probe:
                probe.bind(endpoint)
    except OSError as error:
        return f"{where}: {error.strerror}: choose another in [rtsp]"
    return f"{where}: cannot be opened"


def _numeric(address: str) -> str:
    """An address of this machine by its numbers: GLib takes "localhost" for ::1, whatever the machine says."""
    try:
        return str(socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:  # `start` tells it
        return address


def _udp_addresses(address: str) -> Any:
    """Where video over UDP is sent from: without a pool, GStreamer opens those ports to all networks."""
    pool = GstRtspServer.RTSPAddressPool()
    pool.add_range(address, address, *_UDP_PORTS, 0)
    return pool
