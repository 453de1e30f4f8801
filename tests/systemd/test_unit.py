"""The systemd files: accepted by systemd's own tools, and in step with the service that they start."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from edge.config import load_config
from edge.errors import BundleError, ConfigError

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = SYSTEMD / "tapetum-edge.service"
# 0 is fully sandboxed, 10 is not at all. Three is what we promise; ours is better and stays so.
WORST_EXPOSURE = 2.0


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    )


def systemd_version() -> int:
    return int(run("systemd-analyze", "--version").stdout.split()[1])


def values(key: str) -> list[str]:
    """Every value that the unit gives to a key, in order."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as shipped, but for its program: /opt/tapetum is not on the machine that runs the tests."""
    text, replaced = re.subn("^ExecStart=.*", "ExecStart=/bin/true", UNIT.read_text(encoding="utf-8"), flags=re.M)
    assert replaced == 1
    copy = tmp_path / UNIT.name
    copy.write_text(text, encoding="utf-8")
    return copy


def test_systemd_accepts_the_unit_without_a_word(unit: Path) -> None:
    result = run("systemd-analyze", "verify", unit)
    assert (result.returncode, result.stdout) == (0, "")


def test_systemd_would_have_said_a_word(unit: Path) -> None:
    unit.write_text(unit.read_text(encoding="utf-8").replace("WatchdogSec=", "WatchdogSecs="), encoding="utf-8")
    assert "WatchdogSecs" in run("systemd-analyze", "verify", unit).stdout


@pytest.mark.skipif(systemd_version() < 250, reason="systemd-analyze security --offline came with systemd 250")
def test_exposure(unit: Path) -> None:
    result = run("systemd-analyze", "security", "--offline=yes", "--no-pager", unit)
    found = re.search(r"Overall exposure level for tapetum-edge\.service: ([\d.]+)", result.stdout)
    assert found, result.stdout
    assert float(found[1]) <= WORST_EXPOSURE, result.stdout


@pytest.mark.skipif(systemd_version() < 250, reason="systemd-sysusers --dry-run came with systemd 250")
def test_sysusers_makes_the_unit_s_user_and_its_groups(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    result = run("systemd-sysusers", "--dry-run", f"--root={tmp_path}", SYSTEMD / "tapetum.sysusers.conf")
    assert result.returncode == 0, result.stdout
    (user,) = values("User")
    for made in (f"user '{user}'", f"group '{user}'", "group 'video'", "group 'render'"):
        assert made in result.stdout


def test_tmpfiles_are_well_formed(tmp_path: Path) -> None:
    """--remove reads the lines as --create does, but needs no root: "d" lines remove nothing."""
    conf = SYSTEMD / "tapetum.tmpfiles.conf"
    result = run("systemd-tmpfiles", "--remove", f"--root={tmp_path}", conf)
    assert (result.returncode, result.stdout) == (0, "")
    broken = tmp_path / "broken.conf"
    broken.write_text(conf.read_text(encoding="utf-8").replace("0700", "07x0"), encoding="utf-8")
    assert run("systemd-tmpfiles", "--remove", f"--root={tmp_path}", broken).returncode != 0


def test_only_what_a_person_must_mend_is_not_started_again() -> None:
    (codes,) = values("RestartPreventExitStatus")
    assert {int(code) for code in codes.split()} == {ConfigError.exit_code, BundleError.exit_code}


def test_the_unit_s_folders_are_those_of_the_configuration() -> None:
    config = load_config(SYSTEMD / "edge.toml")
    assert [f"/var/lib/{name}" for name in values("StateDirectory")] == [config.service.state_dir]
    (cache,) = values("CacheDirectory")
    assert all(f"=/var/cache/{cache}" in entry for entry in values("Environment"))
