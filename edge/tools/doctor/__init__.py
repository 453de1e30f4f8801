"""`tapetum-edge doctor`: what a technician looks at first, a line each, with the cure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edge.config import Config, load_config
from edge.errors import TapetumError
from edge.station.machine import ROOT
from edge.tools.doctor import account, camera, machine, models, network, storage
from edge.tools.doctor.check import Check, Examination, failed, ok

__all__ = ["Check", "all_checks", "quick_checks"]

DEFAULT_CONFIG = Path("/etc/tapetum/edge.toml")


def all_checks(config_path: Path, root: Path = ROOT) -> Iterator[Check]:
    """Check the machine, and what the configuration names, each as soon as it is asked for.

    None changes anything but that the camera is watched, and the broker visited, for a moment. Without a
    configuration that can be read, there is the machine alone. `root` is where /proc, /sys and /etc are.
    """
    _find_credentials(root)
    config = None
    try:
        config = load_config(config_path)
        yield Check("configuration", *ok(f"{config_path}, unit {config.unit.name}"))
    except TapetumError as error:
        yield Check("configuration", *failed(str(error), ""))
    for examination in _of_machine(config, root):
        yield examination.made()
    if config:
        for examination in _of_unit(config, root):
            yield examination.made()


def quick_checks(config: Config) -> Iterator[Check]:
    """Those that may be made within the running service: they touch neither camera, GPU nor broker."""
    own = account.current_account()
    for examination in (
        Examination("clock", machine.time_of_day),
        Examination("GStreamer", lambda: machine.gstreamer(config), machine.GSTREAMER_LIMIT_S),
        Examination("state folder", lambda: storage.state_folder(config, own)),
        Examination("disk", lambda: storage.disk(config)),
        Examination("secrets", lambda: storage.secrets(config)),
        Examination("certificates", lambda: models.certificates(config)),
        Examination("bundle", lambda: models.bundle(config), models.LIMIT_S),
    ):
        yield examination.made()


def _of_machine(config: Config | None, root: Path) -> Iterator[Examination]:
    yield Examination("board", lambda: machine.board(root))
    yield Examination("clock", machine.time_of_day)
    yield Examination("GStreamer", lambda: machine.gstreamer(config), machine.GSTREAMER_LIMIT_S)
    yield Examination("encoder", lambda: machine.encoder(root))
    yield Examination("TensorRT", lambda: machine.tensorrt(config, root), 2 * machine.GPU_LIMIT_S)


def _of_unit(config: Config, root: Path) -> Iterator[Examination]:
    user = account.service_account()
    devices = [Path(config.source.device)] if config.source.kind == "v4l2" else []
    devices += [root / "dev/v4l2-nvenc", *sorted((root / "dev/dri").glob("renderD*"))]
    yield Examination("user", lambda: account.user(user, devices))
    yield Examination("state folder", lambda: storage.state_folder(config, user))
    yield Examination("disk", lambda: storage.disk(config))
    yield Examination("cache", lambda: storage.cache(config, user, root))
    yield Examination("secrets", lambda: storage.secrets(config))
    yield Examination("certificates", lambda: models.certificates(config))
    yield Examination("camera", lambda: camera.camera(config, user, root), camera.LIMIT_S)
    yield Examination("broker", lambda: network.broker(config), network.LIMIT_S)
    yield Examination("RTSP port", lambda: network.rtsp_port(config, root))
    yield Examination("bundle", lambda: models.bundle(config), models.LIMIT_S)
    yield Examination("engines", lambda: models.engines(config), models.LIMIT_S + machine.GPU_LIMIT_S)


def _find_credentials(root: Path) -> None:
    """Bare names of secrets mean what they mean to the service, whose credentials root may read."""
    for folder in (root / "run/credentials/tapetum-edge.service", root / "etc/tapetum/secrets"):
        if os.access(folder, os.R_OK | os.X_OK):
            os.environ.setdefault("CREDENTIALS_DIRECTORY", str(folder))
