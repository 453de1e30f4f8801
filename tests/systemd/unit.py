"""A field unit in a container: Tapetum as its package installed it, under a real systemd."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

from tests.mosquitto import Broker
from tests.systemd.container import Container
from tests.waiting import until

CONFIG = "/etc/tapetum/edge.toml"
PATIENCE_S = 90.0
START_S = 400.0  # systemd itself gives up before


class Unit:
    """What a person in front of the unit would do. Commands run as root."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.run = container.run
        self.config = container.tree / CONFIG.lstrip("/")

    def apt(self, arguments: str, *, check: bool = True) -> str:
        """Run apt-get without a network and without anybody who answers its questions; what it said."""
        options = "-y -q --no-install-recommends -o Dpkg::Options::=--force-confold"
        return self.run(f"DEBIAN_FRONTEND=noninteractive apt-get {options} {arguments}", 600.0, check=check)

    def install(self, deb: Path, *, check: bool = True) -> str:
        """Install, or upgrade."""
        shutil.copy(deb, self.container.tree / "root")
        return self.apt(f"install /root/{deb.name}", check=check)

    def show(self, name: str) -> str:
        """A property of the service."""
        return self.run(f"systemctl show --property={name} --value tapetum-edge")

    @property
    def pid(self) -> int:
        """The service's main process; 0 is none."""
        return int(self.show("MainPID"))

    @property
    def restarts(self) -> int:
        """How often systemd has started the service again by itself."""
        return int(self.show("NRestarts"))

    def is_active(self) -> bool:
        return self.show("ActiveState") == "active"

    def restart(self) -> None:
        """Returns when the service says that it is ready."""
        self.run("systemctl restart tapetum-edge", START_S)

    def kill(self, signal: str) -> None:
        """Send a signal to the service and wait until systemd has started it again, and it is ready."""
        before = self.pid
        self.run(f"kill -{signal} {before}")
        until(lambda: self.pid not in (0, before) and self.is_active(), PATIENCE_S)

    def journal(self) -> str:
        """What the service and systemd wrote about it in this test."""
        return self.run(f"journalctl --unit=tapetum-edge --output=cat --no-pager --after-cursor='{self._cursor}'")

    def begin_journal(self) -> None:
        """What was written until now is no longer of interest."""
        said = self.run("journalctl --lines=0 --show-cursor --no-pager")
        self._cursor = said.rpartition("-- cursor: ")[2]

    def configure(self, **sections: dict[str, str | int]) -> None:
        """Edit keys of the site's configuration, as `source={"kind": "test"}`; comments stay."""
        section, lines = "", []
        for line in self.config.read_text(encoding="utf-8").splitlines():
            section = line.strip("[]") if line.startswith("[") else section
            key = line.split(" = ")[0]
            if key in sections.get(section, {}):
                value = json.dumps(sections[section][key])
                line = re.sub(r"""= ("[^"]*"|\S+)""", f"= {value}", line, count=1)
            lines.append(line)
        self.config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def password(self, name: str) -> str:
        """One that the installation made: rtsp or mqtt."""
        return self.run(f"cat /etc/tapetum/secrets/{name}-password")

    def watch(self, login: str = "") -> str:
        """How ffprobe sees the colour stream, once: codec, width and height, or why it does not."""
        probe = ["ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-of", "csv=p=0"]
        probe += ["-show_entries", "stream=codec_name,width,height", f"rtsp://{login}127.0.0.1:8554/colour"]
        result = subprocess.run([*self.container.in_network, *probe], capture_output=True, text=True, timeout=60)
        return (result.stdout or result.stderr).strip()

    def watch_logged_in(self) -> str:
        """The same with the password of the installation."""
        return self.watch(f"viewer:{self.password('rtsp')}@")


class NearBroker(Broker):
    """A broker on the unit itself, where the tests' own network does not reach."""

    def __init__(self, unit: Unit, folder: Path, users: dict[str, str] | None = None) -> None:
        super().__init__(folder, users=users, within=unit.container.in_network)

    def _answers(self) -> bool:
        connect = ["bash", "-c", f"</dev/tcp/{self.host}/{self.port}"]
        return subprocess.run([*self.within, *connect], capture_output=True).returncode == 0
