"""What is fuzzed: name -> where its `Target` stands. Each is imported by the process that runs it alone."""

from __future__ import annotations

import importlib

from tests.fuzz.target import Target

WHERE = {
    "configuration": "configuration.Configuration",
    "secret": "configuration.Secret",
    "manifest": "bundles.ManifestFile",
    "signature": "bundles.SignatureFile",
    "public-key": "bundles.PublicKey",
    "archive": "store.BundleArchive",
    "store-state": "store.StoreState",
    "command": "commands.MqttCommand",
    "engine-sidecar": "engines.EngineSidecar",
    "cubin-sidecar": "engines.CubinSidecar",
    "still": "media.Still",
    "clip": "media.Clip",
    "spool": "spool.SpoolDatabase",
    "rtsp": "rtsp.Rtsp",
    "rtsp-login": "rtsp.RtspWithLogin",
}
PLANTED = {
    f"planted-{name.lower()}": f"planted.{name}"
    for name in ("Error", "Lines", "Secret", "Segfault", "Hang", "Memory", "Noise", "Thread", "Promise", "Batch")
}
"""Readers that go wrong, each in its way: what the fuzzer is worth."""
SHARES = {
    "configuration": 16,
    "secret": 3,
    "command": 16,
    "manifest": 12,
    "signature": 5,
    "public-key": 3,
    "archive": 6,
    "store-state": 3,
    "engine-sidecar": 6,
    "cubin-sidecar": 4,
    "still": 12,
    "clip": 3,
    "spool": 5,
    "rtsp": 3,
    "rtsp-login": 3,
}
"""What part of all inputs each gets: those that are quick, and those that most comes to from outside, get more."""


def target_class(name: str) -> type[Target]:
    """The class of a target."""
    module, attribute = (WHERE | PLANTED)[name].split(".")
    found: type[Target] = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    return found
