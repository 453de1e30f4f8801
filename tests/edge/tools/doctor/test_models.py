"""Bundles, engines and certificates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edge.config import Config
from edge.engines.store import Target
from edge.errors import BundleError, ConfigError
from edge.tools.doctor import models
from tests.edge.tiny_bundle import make_tiny_bundle

ORIN = Target("10.3.0", "Orin", "8.7")


class TestBundle:
    def test_the_one_that_ships_is_whole(self, config: Callable[..., Config]) -> None:
        found = models.bundle(config())
        assert found.state == "ok" and "whole" in found.detail

    def test_the_one_that_ships_was_signed_by_no_key(self, config: Callable[..., Config], tmp_path: Path) -> None:
        key = tmp_path / "site.public.pem"
        asked = config(bundle={"public_key": str(key)})
        with pytest.raises(ConfigError, match="cannot read the public key"):
            models.bundle(asked)
        key.write_bytes(
            Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        assert models.bundle(asked).detail.endswith("whole; the one that ships asks for no signature")

    def test_an_altered_one(self, config: Callable[..., Config], tmp_path: Path) -> None:
        folder = make_tiny_bundle(tmp_path / "bundle")
        for graph in folder.glob("*.onnx"):
            graph.write_bytes(graph.read_bytes()[:-1] + b"!")
        with pytest.raises(BundleError, match="altered"):
            models.bundle(config(bundle={"path": str(folder)}))

    def test_one_that_is_not_signed(self, config: Callable[..., Config], tmp_path: Path, pki: Path) -> None:
        folder = make_tiny_bundle(tmp_path / "bundle")
        (tmp_path / "key.pem").write_text("no key")
        with pytest.raises(Exception, match="key"):
            models.bundle(config(bundle={"path": str(folder), "public_key": str(tmp_path / "key.pem")}))


def test_engines_are_missing(config: Callable[..., Config]) -> None:
    found = models.judge_engines(config(), ORIN)
    assert found.state == "warning" and "tapetum-build ensure" in found.cure


def test_no_engines_are_needed(config: Callable[..., Config]) -> None:
    assert models.engines(config(service={"runtime": "cpu"})).state == "ok"


@pytest.mark.parametrize(("runtime", "state"), [("auto", "ok"), ("tensorrt", "failed")])
def test_there_is_no_gpu_for_engines(
    runtime: str, state: str, config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models.GpuFacts, "found", lambda: models.GpuFacts(None, None, "no GPU"))
    assert models.engines(config(service={"runtime": runtime})).state == state


class TestCertificates:
    @pytest.mark.parametrize(("name", "state"), [("server", "ok"), ("soon", "warning"), ("old", "failed")])
    def test_they_run_out(self, name: str, state: str, config: Callable[..., Config], pki: Path) -> None:
        keys = {"cert_file": str(pki / f"{name}.crt"), "key_file": str(pki / f"{name}.key")}
        fresh = {"cert_file": str(pki / "server.crt"), "key_file": str(pki / "server.key")}
        assert models.certificates(config(rtsp=keys)).state == state
        assert models.certificates(config(rtsp=fresh, mqtt={"tls": True, **keys})).state == state

    def test_there_are_none(self, config: Callable[..., Config]) -> None:
        assert models.certificates(config()).detail == "none are configured"
