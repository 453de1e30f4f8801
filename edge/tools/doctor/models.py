"""The bundle, its engines, and certificates: what must be whole, and must not run out."""

from __future__ import annotations

from pathlib import Path

from edge.bundles.signature import read_public_key
from edge.config import Config, credential
from edge.engines.choice import EngineChoice
from edge.engines.store import EngineError, Target
from edge.opening import open_bundle
from edge.tools.doctor.check import Finding, failed, ok, warning
from edge.tools.doctor.machine import GpuFacts

LIMIT_S = 30.0  # every byte of bundle and engines is read
_RENEW_DAYS = 14


def bundle(config: Config) -> Finding:
    """Whether the active bundle is whole, and signed where that is asked for."""
    found = open_bundle(config)
    manifest = found.manifest
    told = f"{manifest.name} version {manifest.version}, {found.precision_of('colorizer')}"
    if not config.bundle.public_key:
        return ok(f"{told}, whole; no signature is asked for")
    if found.is_shipped:
        read_public_key(credential(config.bundle.public_key))  # which the next one will need
        return ok(f"{told}, whole; the one that ships asks for no signature")
    return ok(f"{told}, whole, signature right")


def engines(config: Config) -> Finding:
    """Whether the GPU has an engine of each network that fits it."""
    if config.service.runtime == "cpu":
        return ok("none are needed: the networks run on the CPU")
    facts = GpuFacts.found()
    if facts.trouble or facts.gpu is None or facts.tensorrt is None:
        if config.service.runtime == "tensorrt":
            return failed("nothing can run them", "see the check of TensorRT")
        return ok("none are needed: the networks run on the CPU")
    target = Target(facts.tensorrt, facts.gpu.name, facts.gpu.compute_capability)
    return judge_engines(config, target)


def judge_engines(config: Config, target: Target) -> Finding:
    """Whether those that lie there fit a GPU and a TensorRT."""
    cure = "the service builds them at its next start, or now: tapetum-build ensure"
    try:
        choice = EngineChoice(open_bundle(config), config.service.engines_dir, target)
    except EngineError as error:
        return warning(error.reason, cure)
    if choice.troubles:
        return warning(choice.troubles[0], cure)
    return ok(f"one of each network, for TensorRT {target.tensorrt} and {target.gpu}")


def certificates(config: Config) -> Finding:
    """Whether those that we show can be used, and for how long."""
    named = [
        (section, keys.cert_file, keys.key_file)
        for section, keys in (("rtsp", config.rtsp), ("mqtt", config.mqtt))
        if keys.enabled and keys.cert_file
    ]
    shortest = min((_days_left(*entry) for entry in named), default=None)
    if shortest is None:
        return ok("none are configured")
    days, file = shortest
    if days < 0:
        return failed(f"{file} has expired", "renew it, then restart the service")
    if days < _RENEW_DAYS:
        return warning(f"{file} expires in {days:.0f} days", "renew it, then restart the service")
    return ok(f"{len(named)}; the first expires in {days:.0f} days")


def _days_left(section: str, cert_file: str, key_file: str) -> tuple[float, Path]:
    from edge.video import tls

    return tls.days_left(tls.identity(section, cert_file, key_file)), credential(cert_file)
