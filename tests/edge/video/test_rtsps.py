"""RTSP over TLS, both ways: our server before openssl, ffprobe and GStreamer's client, and our source before it."""

from __future__ import annotations

import logging
import re
import socket
import subprocess
from urllib.parse import urlsplit

import pytest

from edge.errors import ConfigError
from edge.sections import RtspConfig, SourceConfig
from edge.station.machine import open_descriptors, rss_mb
from edge.types import SourceState
from edge.video import build, door, rtsp
from edge.video.gi import Gio, Gst
from edge.video.rtsp import RtspServer
from edge.video.source import Source
from tests.edge.video.test_rtsp import probe
from tests.waiting import until


@pytest.fixture
def identity(pki):
    """`identity("server")` are the keys of [rtsp] that name this certificate."""

    def keys(name, key=None):
        return {"cert_file": str(pki / f"{name}.crt"), "key_file": str(pki / f"{key or name}.key")}

    return keys


@pytest.fixture
def login(tmp_path):
    (tmp_path / "secret").write_text("night owl\n")
    return {"username": "keeper", "password_file": str(tmp_path / "secret")}


def handshake(url, pki, *arguments):
    """What openssl says of the server; nothing when the handshake does not come about."""
    parts = urlsplit(url)
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{parts.port}", "-CAfile", pki / "ours.crt"]
    command += ["-verify_return_error", "-verify_ip", "127.0.0.1", *arguments]
    try:
        done = subprocess.run(command, input="", capture_output=True, text=True, timeout=2)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout + done.stderr


def is_served(url, *properties):
    """Whether GStreamer's own client gets a few packets. Its exit code tells nothing: it may stumble at its end."""
    receive = ["rtspsrc", f"location={url}", "user-id=keeper", "user-pw=night owl", *properties]
    command = ["gst-launch-1.0", *receive, "!", "fakesink", "num-buffers=5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return "Got EOS" in done.stdout


class TestServer:
    def test_a_viewer_that_verifies_sees_the_pictures(self, pki, identity, login, serve):
        with serve(**identity("server"), **login) as screen:
            url = screen.server.url("colour")
            assert url.startswith("rtsps://127.0.0.1:")
            assert "Verify return code: 0 (ok)" in handshake(url, pki)
            right = url.replace("//", "//keeper:night%20owl@")
            assert probe(right, "-rtsp_transport", "tcp").returncode == 0
            for wrong in (url, url.replace("//", "//keeper:guess@")):
                refused = probe(wrong, "-rtsp_transport", "tcp")
                assert refused.returncode != 0 and "401" in refused.stderr

    def test_nothing_older_than_tls_1_2(self, pki, identity, serve):
        with serve(**identity("server")) as screen:
            url = screen.server.url("colour")
            assert "New, TLSv1.2" in handshake(url, pki, "-tls1_2")
            for old in ("-tls1_1", "-tls1"):
                assert "New, TLS" not in handshake(url, pki, old, "-cipher", "DEFAULT@SECLEVEL=0")

    def test_the_port_does_not_speak_in_the_clear(self, identity, serve):
        with serve(**identity("server")) as screen:
            port = urlsplit(screen.server.url("colour")).port
            with socket.create_connection(("127.0.0.1", port), timeout=2) as wire:
                wire.sendall(b"OPTIONS rtsp://127.0.0.1/colour RTSP/1.0\r\nCSeq: 1\r\n\r\n")
                try:
                    answer = wire.recv(1000)
                except OSError:  # closed, or no answer at all
                    answer = b""
            assert b"RTSP" not in answer

    def test_video_does_not_leave_the_line(self, identity, serve):
        """RTP over UDP would go unprotected."""
        with serve(**identity("server")) as screen:
            url = screen.server.url("colour")
            assert is_served(url, "tls-validation-flags=0", "protocols=tcp")
            assert not is_served(url, "tls-validation-flags=0", "protocols=udp")

    def test_who_does_not_know_the_authority_sees_nothing(self, identity, serve):
        with serve(**identity("server")) as screen:
            assert not is_served(screen.server.url("colour"), "protocols=tcp")

    @pytest.mark.parametrize(
        ("cert", "key", "words"),
        [
            ("none.crt", "server.key", "No such file"),
            ("garbage.pem", "server.key", "not a usable PEM file"),
            ("empty.pem", "server.key", "not a usable PEM file"),
            ("server.crt", "unit.key", "the key is not that of the certificate"),
            ("server.crt", "locked.key", "not a usable PEM file"),
            ("server.crt", "server.crt", "not a usable PEM file"),
        ],
    )
    def test_an_unusable_certificate_gets_one_line(self, cert, key, words, pki):
        config = RtspConfig(port=0, cert_file=str(pki / cert), key_file=str(pki / key))
        with pytest.raises(ConfigError, match=rf"^rtsp\.cert_file, rtsp\.key_file: .*{words}") as told:
            RtspServer(config)
        assert "\n" not in str(told.value)

    def test_an_expired_certificate_is_told_and_left_to_the_viewers(self, pki, identity, serve, caplog):
        with caplog.at_level(logging.WARNING), serve(**identity("old")) as screen:
            assert "certificate has expired" in handshake(screen.server.url("colour"), pki)
        assert [record.message for record in caplog.records if "old.crt has expired" in record.message]

    def test_credentials_of_systemd_may_be_named(self, pki, monkeypatch):
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(pki))
        RtspServer(RtspConfig(port=0, cert_file="server.crt", key_file="server.key"))


class TestCamera:
    def test_a_certificate_of_an_authority_that_we_know(self, pki, identity, login, serve, watch):
        with serve(**identity("server"), **login) as screen:
            camera = {"kind": "rtsp", "url": screen.server.url("colour"), **login}
            with watch(**camera, ca_file=str(pki / "ours.crt")) as seen:
                assert seen.wait_for_frames(3)[-1].luma.shape == (240, 320)
            with watch(
                **camera, ca_file=str(pki / "server.crt")
            ) as seen:  # it alone, as of a camera that signs itself
                seen.wait_for_frames(3)

    @pytest.mark.parametrize(
        ("certificate", "ca", "host", "reason"),
        [
            ("server", None, "127.0.0.1", "unknown-ca"),
            ("server", "stranger.crt", "127.0.0.1", "unknown-ca"),
            ("server", "ours.crt", "localhost", "bad-identity"),
            ("elsewhere", "ours.crt", "127.0.0.1", "bad-identity"),
            ("old", "ours.crt", "127.0.0.1", "expired"),
        ],
    )
    def test_any_other_is_not_trusted(self, certificate, ca, host, reason, pki, identity, serve, watch):
        with serve(**identity(certificate)) as screen:
            url = screen.server.url("colour").replace("127.0.0.1", host)
            with watch(kind="rtsp", url=url, ca_file=str(pki / ca) if ca else "") as seen:
                detail = seen.wait_for(SourceState.LOST).detail
                assert re.search(rf"certificate is not trusted \([a-z, -]*{reason}.*check source\.url and", detail)
                assert not seen.frames

    def test_the_login_is_not_sent_to_such_a_one(self):
        camera = Gst.ElementFactory.make("rtspsrc", None)
        assert build._accept_none(camera, None, None, Gio.TlsCertificateFlags.EXPIRED) is False

    def test_unusable_authorities_get_one_line(self, pki):
        for name, words in (("none.pem", "No such file"), ("empty.pem", "PEM"), ("garbage.pem", "PEM")):
            config = SourceConfig(kind="rtsp", url="rtsps://camera/live", ca_file=str(pki / name))
            with pytest.raises(ConfigError, match=rf"^source\.ca_file: .*{name}.*{words}"):
                Source(config, lambda frame: None)


def test_connections_over_tls_leave_nothing_behind(pki, identity, serve, monkeypatch):
    """GLib would keep each of them, with all of the system's authorities, for want of a main loop."""
    monkeypatch.setattr(door, "PATIENCE_S", 1)
    monkeypatch.setattr(rtsp, "_SESSION_CLEANUP_S", 1)

    def connect(times):
        for _ in range(times):
            handshake(url, pki)
            with socket.create_connection(("127.0.0.1", urlsplit(url).port)) as wire:
                wire.sendall(b"no handshake")
        until(lambda: screen.server.clients == 0)

    with serve(**identity("server")) as screen:
        url = screen.server.url("colour")
        connect(5)
        descriptors, memory_mb = open_descriptors(), rss_mb()
        connect(20)
        until(lambda: open_descriptors() <= descriptors + 2)
        assert rss_mb() - memory_mb < 40, "a kept connection takes 3.6 MB"
