"""The archive for somebody far away: all that helps, and no secret."""

from __future__ import annotations

import base64
import json
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import Config
from edge.errors import ConfigError, TapetumError
from edge.station.recent import RecentReports
from edge.tools.doctor.check import Check
from edge.tools.doctor.report import require_new, write_report
from edge.tools.doctor.secrecy import HIDDEN, Scrubber, as_toml, secrets_of, shown_document
from tests.e2e.service import write_config

CHECKS = [Check("clock", "ok", "synchronised"), Check("broker", "failed", "refused", "mend it")]


def read_all(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as packed:
        return {
            member.name.removeprefix("tapetum-report/"): packed.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in packed.getmembers()
        }


class Site:
    """A unit with a secret in every place that may hold one, and a journal and health that repeat them all."""

    camera_password = 'c@mera "owl" €'
    rtsp_password = "viewers/secret"
    mqtt_password = "mqtt\\secret"
    query_secret = "hunter2"

    def __init__(self, folder: Path, pki: Path) -> None:
        self.root, self.config = folder / "root", folder / "edge.toml"
        for name in ("camera", "rtsp", "mqtt"):
            (folder / name).write_text(getattr(self, f"{name}_password") + "\nremark\n", encoding="utf-8")
        self.key = (pki / "unit.key").read_text()
        write_config(
            self.config,
            {
                "source": {
                    "kind": "rtsp",
                    "url": f"rtsp://camera.local/live/{self.query_secret}?user=admin&password={self.query_secret}",
                    "username": "admin",
                    "password_file": str(folder / "camera"),
                },
                "rtsp": {"username": "keeper", "password_file": str(folder / "rtsp")},
                "mqtt": {
                    "username": "unit",
                    "password_file": str(folder / "mqtt"),
                    "tls": True,
                    "cert_file": str(pki / "unit.crt"),
                    "key_file": str(pki / "unit.key"),
                },
            },
        )
        with self.config.open("a") as file:
            file.write(f"# the old password was {self.mqtt_password}\n")
        self.log = "\n".join(
            [
                f"connecting to rtsp://admin:{quote(self.camera_password, safe='')}@camera.local/live",
                f"Authorization: Basic {base64.b64encode(f'admin:{self.camera_password}'.encode()).decode()}",
                repr({"password": self.mqtt_password}),
                json.dumps({"detail": f"no {self.camera_password} and no {self.rtsp_password}"}),
                f"GET /live?user=admin&password={self.query_secret} HTTP/1.1",
                self.key,
                "unit tapetum-1 is well",
            ]
        )
        (self.root / "run/tapetum").mkdir(parents=True)
        for line in self.log.splitlines():
            RecentReports(self.root / "run/tapetum").add(json.dumps({"why": line}).encode())

    def leaks(self, text: str) -> list[str]:
        """The secrets that can be read in a text."""
        secrets = [self.camera_password, self.rtsp_password, self.mqtt_password, self.query_secret]
        secrets += [line for line in self.key.splitlines() if "-----" not in line]
        written = {form for secret in secrets for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1])}
        written.add(base64.b64encode(f"admin:{self.camera_password}".encode()).decode())
        return [form for form in written if form in text]


@pytest.fixture
def site(tmp_path: Path, pki: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """With a journal of its own: a program of this name that tells what the service logged."""
    made = Site(tmp_path, pki)
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "log").write_text(made.log, encoding="utf-8")
    (programs / "journalctl").write_text(f"#!/bin/sh\nexec cat '{tmp_path}/log'\n")
    (programs / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    assert made.leaks(made.log), "the test itself can see them"
    return made


def test_there_is_no_secret_in_it(site: Site, tmp_path: Path) -> None:
    checks = [*CHECKS, Check("camera", "failed", f"not {site.camera_password}", f"try {site.mqtt_password}")]
    write_report(tmp_path / "report.tar.gz", site.config, checks, site.root)
    packed = read_all(tmp_path / "report.tar.gz")
    assert {name: site.leaks(text) for name, text in packed.items() if site.leaks(text)} == {}
    assert "unit tapetum-1 is well" in packed["journal.txt"] and "tapetum-1 is well" in packed["health.jsonl"]


def test_what_helps_is_in_it(site: Site, tmp_path: Path) -> None:
    write_report(tmp_path / "report.tar.gz", site.config, CHECKS, site.root)
    packed = read_all(tmp_path / "report.tar.gz")
    assert "failed   broker        refused -> mend it" in packed["doctor.txt"]
    assert json.loads(packed["doctor.json"])[0]["name"] == "clock"
    assert 'url = "rtsp://camera.local/***"' in packed["edge.toml"]
    assert f'password_file = "{tmp_path}/mqtt"' in packed["edge.toml"], "where it is, is no secret"
    assert "the old password" not in packed["edge.toml"]
    assert packed["versions.txt"].startswith("tapetum ") and "\npydantic " in packed["versions.txt"]


def test_only_its_owner_may_read_it(site: Site, tmp_path: Path) -> None:
    write_report(tmp_path / "report.tar.gz", site.config, CHECKS, site.root)
    assert stat.S_IMODE((tmp_path / "report.tar.gz").stat().st_mode) == 0o600


def test_nothing_is_overwritten(site: Site, tmp_path: Path) -> None:
    for taken in (tmp_path / "file", tmp_path / "link"):
        taken.symlink_to("nowhere") if taken.name == "link" else taken.write_text("precious")
        with pytest.raises(ConfigError, match="is not overwritten"):
            write_report(taken, site.config, CHECKS, site.root)
    assert (tmp_path / "file").read_text() == "precious"
    with pytest.raises(ConfigError, match="no such folder"):
        require_new(tmp_path / "nowhere/report.tar.gz")


def test_half_a_report_is_none(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TapetumError, match="No space left"):
        write_report(tmp_path / "report.tar.gz", site.config, CHECKS, site.root)
    assert not list(tmp_path.glob("*report*"))


@pytest.mark.parametrize("content", ["[mqtt\nbroken", "[mqtt]\npassword = 'hunter2'\nport = 'hunter2'\n", None])
def test_a_configuration_that_is_wrong(content: str | None, tmp_path: Path) -> None:
    config = tmp_path / "edge.toml"
    if content is not None:
        config.write_text(content)
    write_report(tmp_path / "report.tar.gz", config, CHECKS, tmp_path)
    packed = read_all(tmp_path / "report.tar.gz")
    assert "password" not in packed["edge.toml"]
    assert packed["health.jsonl"].startswith("no health reports")


def test_a_password_that_was_written_in_place_of_its_file(tmp_path: Path) -> None:
    shown = as_toml(
        shown_document({"mqtt": {"password_file": "hunter2", "port": 1}, "surprise": {"hunter2": "hunter2"}})
    )
    assert "hunter2" not in shown and HIDDEN in shown


@given(secret=st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=3), around=st.text(max_size=20))
def test_no_form_of_a_secret_passes(secret: str, around: str) -> None:
    scrubbed = Scrubber([secret])
    forms = [secret, quote(secret), json.dumps(secret)[1:-1], base64.b64encode(secret.encode()).decode()]
    for form in forms:
        assert form not in scrubbed(f"{around} {form} {around}").replace(HIDDEN, "") or form in around * 2


def test_the_secrets_of_a_configuration(site: Site, config: Callable[..., Config]) -> None:
    from edge.config import load_config

    found = set(secrets_of(load_config(site.config)))
    assert {site.camera_password, site.rtsp_password, site.mqtt_password, site.query_secret} <= found


class TestRecentReports:
    def test_they_are_appended_and_bounded(self, tmp_path: Path) -> None:
        recent = RecentReports(tmp_path)
        for number in range(3):
            recent.add(b'{"n": %d}' % number)
        assert (tmp_path / "health.jsonl").read_text().splitlines() == ['{"n": 0}', '{"n": 1}', '{"n": 2}']
        for _ in range(50):
            recent.add(b"x" * 100_000)
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2_500_000

    def test_without_a_place_nothing_happens(self, tmp_path: Path) -> None:
        RecentReports(None).add(b"{}")
        RecentReports(tmp_path / "nowhere").add(b"{}")
        assert not list(tmp_path.iterdir())
