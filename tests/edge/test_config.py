"""The configuration: what is shipped, what is refused and in which words, and where secrets come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge.config import Config, load_config, parse_config, read_secret, tomllib  # tomli on Python 3.10
from edge.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "systemd" / "edge.toml"


def refusal(document: dict[str, Any]) -> str:
    """The one line that tells what is wrong."""
    with pytest.raises(ConfigError) as told:
        parse_config(document, origin="unit.toml")
    line = str(told.value)
    assert line.startswith("unit.toml: ")
    assert "\n" not in line
    return line.removeprefix("unit.toml: ")


def test_commands_need_a_broker() -> None:
    told = refusal({"commands": {"enabled": True}, "mqtt": {"enabled": False}})
    assert told == "top level: commands.enabled = true needs mqtt.enabled = true"


class TestShippedFile:
    def test_it_equals_the_defaults(self) -> None:
        assert load_config(SHIPPED) == Config()

    def test_it_names_every_key(self) -> None:
        shown = {section: set(keys) for section, keys in tomllib.loads(SHIPPED.read_text()).items()}
        known = {section: set(keys) for section, keys in Config().model_dump().items()}
        assert shown == known


class TestRefusals:
    def test_unknown_keys(self) -> None:
        known = "allow_refused, path, precision, public_key"
        assert refusal({"bundle": {"paht": "x"}}) == f"unknown key bundle.paht (allowed here: {known})"
        assert refusal({"rstp": {}}).startswith("unknown key rstp (allowed here: bundle, colour, commands, detect,")

    def test_all_that_is_wrong_is_told_at_once(self) -> None:
        line = refusal({"source": {"kind": "usb", "fps": -1}, "mqtt": {"tls": "yes"}})
        assert "source.kind: Input should be 'file', 'rtsp', 'v4l2', 'csi' or 'test', not 'usb'" in line
        assert "source.fps: Input should be greater than or equal to 0, not -1" in line
        assert "mqtt.tls: Input should be a valid boolean, not 'yes'" in line

    @pytest.mark.parametrize(
        ("section", "keys", "words"),
        [
            ("rtsp", {"port": "8554"}, "rtsp.port: Input should be a valid integer, not '8554'"),
            ("rtsp", {"port": 65536}, "less than or equal to 65535"),
            ("mqtt", {"port": 0}, "greater than or equal to 1"),
            ("mqtt", {"host": ""}, "mqtt.host"),
            ("mqtt", {"prefix": "a/#"}, "mqtt.prefix"),
            ("unit", {"name": "north fold"}, "unit.name"),
            ("colour", {"smoothing": 1}, "less than 1"),
            ("colour", {"smoothing": float("nan")}, "colour.smoothing"),
            ("detect", {"update_interval_s": 0.5}, "greater than or equal to 1"),
            ("source", {"stall_s": True}, "source.stall_s"),
            ("source", {"kind": "file"}, 'kind = "file" needs path'),
            ("source", {"kind": "rtsp"}, 'kind = "rtsp" needs url'),
            ("source", {"url": "http://camera/"}, "source.url"),
            ("source", {"url": "rtsp://user:secret@camera/"}, "url must not carry a login"),
            ("source", {"width": 640}, "width and height are given together"),
            ("source", {"url": "rtsp://camera/live/p@th"}, "url must not carry a login"),
            ("source", {"url": "rtsp://user:se/cret@camera/"}, "url must not carry a login"),
            (
                "source",
                {"kind": "rtsp", "url": "rtsp://camera/", "ca_file": "ca.pem"},
                "ca_file needs an rtsps:// url",
            ),
            ("source", {"kind": "rtsp", "url": "rtsps://camera/", "transport": "udp"}, "would go unprotected"),
            ("rtsp", {"username": "viewer"}, "username and password_file are given together"),
            ("rtsp", {"cert_file": "c.pem"}, "cert_file and key_file are given together"),
            ("rtsp", {"address": "0.0.0.0"}, "opens the video to the network: set username and password_file"),
            ("rtsp", {"address": "::"}, "opens the video to the network"),
            ("rtsp", {"address": "unit.local"}, "opens the video to the network"),
            ("rtsp", {"address": ""}, "rtsp.address"),
            ("rtsp", {"max_viewers": 65}, "rtsp.max_viewers"),
            ("mqtt", {"password_file": "p"}, "password_file needs username"),
            ("mqtt", {"ca_file": "ca.pem"}, "need tls = true"),
            ("mqtt", {"tls": True, "cert_file": "c.pem"}, "cert_file and key_file are given together"),
        ],
    )
    def test_wrong_values(self, section: str, keys: dict[str, Any], words: str) -> None:
        assert words in refusal({section: keys})

    @pytest.mark.parametrize("address", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
    def test_loopback_needs_no_login(self, address: str) -> None:
        assert parse_config({"rtsp": {"address": address}}, origin="unit.toml").rtsp.address == address

    def test_everybody_may_watch_who_has_a_login(self) -> None:
        login = {"username": "viewer", "password_file": "rtsp-password"}
        assert parse_config({"rtsp": {"address": "0.0.0.0", **login}}, origin="unit.toml").rtsp.username == "viewer"

    @pytest.mark.parametrize(
        ("url", "told"),
        [
            ("rtsp://camera/live?user=admin&password=hunter2", "rtsp://camera"),
            ("rtsp://camera?password=hunter2", "rtsp://camera"),
            ("rtsps://[fd00::1]:322/user=admin_password=hunter2", "rtsps://[fd00::1]:322"),
        ],
    )
    def test_what_may_be_told_of_an_address(self, url: str, told: str) -> None:
        assert parse_config({"source": {"kind": "rtsp", "url": url}}, origin="unit.toml").source.camera == told

    def test_a_section_that_is_a_value(self) -> None:
        assert refusal({"source": 3}).startswith("source: ")

    def test_no_secret_is_repeated(self) -> None:
        assert "hunter2" not in refusal({"source": [{"password": "hunter2"}]})
        assert "hunter2" not in refusal({"source": {"path": {"password": "hunter2"}}})
        assert "hunter2" not in refusal({"mqtt": {"password": "hunter2"}})
        assert "hunter2" not in refusal({"source": {"url": "rtsp://user:hunter2@camera/"}})

    @pytest.mark.parametrize("content", [b"[source\n", b"kind = \n", b"\xff\xfe", b"[unit]\n[unit]\n"])
    def test_files_that_are_no_toml(self, content: bytes, tmp_path: Path) -> None:
        path = tmp_path / "edge.toml"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="not valid TOML") as told:
            load_config(path)
        assert str(told.value).startswith(str(path))
        assert "\n" not in str(told.value)

    @pytest.mark.parametrize(
        "content",
        [
            b"a = " + b"[" * 1000,  # RecursionError
            b"[rtsp]\nport = " + b"9" * 1000,
            b"[rtsp]\nport = 0x" + b"f" * 1000,
            b"[rtsp]\nport = 0x" + b"f" * 5000,  # too many digits for Python to write them in decimal
            b"a." * 20_000 + b"a = 1",  # gigabytes, in tomllib
            b"a = 1\n" * 20_000,
            b"\n".join(b'"key %d\\n" = 1' % n for n in range(2000)),
            b"[unit]\nname = '" + b"x" * 1000 + b"'",
            b'[source]\npath = "a\\u0000b"',
            b'[rtsp]\naddress = "\\u202e"',
        ],
    )
    def test_extremes_get_one_short_line(self, content: bytes, tmp_path: Path) -> None:
        path = tmp_path / "edge.toml"
        path.write_bytes(content)
        with pytest.raises(ConfigError) as told:
            load_config(path)
        assert str(told.value).isprintable() and len(str(told.value)) < 2000

    def test_a_byte_order_mark_is_no_key(self, tmp_path: Path) -> None:
        path = tmp_path / "edge.toml"
        path.write_bytes(b"\xef\xbb\xbf[unit]\nname = 'a'\n")
        assert load_config(path).unit.name == "a"

    def test_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="No such file"):
            load_config(tmp_path / "nowhere.toml")
        with pytest.raises(ConfigError, match="directory"):
            load_config(tmp_path)


class TestSecrets:
    def test_the_first_line_of_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("pässword with spaces \nremark\n", encoding="utf-8")
        assert read_secret(str(tmp_path / "secret")) == "pässword with spaces "

    def test_a_bare_name_is_a_systemd_credential(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        (tmp_path / "mqtt-password").write_text("hunter2")
        assert read_secret("mqtt-password") == "hunter2"

    def test_a_bare_name_is_never_a_file_of_the_current_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
        monkeypatch.chdir(tmp_path)
        (tmp_path / "site.public.pem").write_text("a stick's own key")
        with pytest.raises(ConfigError, match=r"^/etc/tapetum/secrets/site\.public\.pem: "):
            read_secret("site.public.pem")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            *((None, "No such file"), (b"", "empty"), (b"\nhunter2\n", "first line"), (b"\xff\xfe", "UTF-8")),
            *((b"hunter2\0", "control character"), (b"x" * 70_000, "UTF-8")),
        ],
    )
    def test_what_cannot_be_one(self, content: bytes | None, words: str, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError, match=words) as told:
            read_secret(str(path))
        assert str(told.value).count(str(path)) == 1
        assert "hunter2" not in str(told.value)


def test_a_login_in_a_wrong_url_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match=r"source\.url") as caught:
        parse_config({"source": {"kind": "rtsp", "url": "http://user:hunter2@camera/"}}, origin="edge.toml")
    assert "hunter2" not in str(caught.value)
