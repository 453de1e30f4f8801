"""The systemd files: accepted by systemd's own tools, and in step with the service that they start."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.config import load_config
from edge.errors import BundleError, ConfigError

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = SYSTEMD / "tapetum-edge.service"
JETSON = SYSTEMD / "jetson.conf"
WORST_EXPOSURE = 2.0  # 0 is fully sandboxed, 10 is not at all


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    )


def systemd_version() -> int:
    return int(run("systemd-analyze", "--version").stdout.split()[1])


def values(key: str, file: Path = UNIT) -> list[str]:
    """Every value that the unit, or a drop-in, gives to a key, in order."""
    return re.findall(rf"^{key}=(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as shipped, but for its programs, which are not on the machine that runs the tests."""
    text, replaced = re.subn("^(Exec[A-Za-z]+)=.*", r"\1=/bin/true", UNIT.read_text(encoding="utf-8"), flags=re.M)
    assert replaced == 3
    copy = tmp_path / UNIT.name
    copy.write_text(text, encoding="utf-8")
    return copy


@pytest.fixture(params=["anywhere", "Jetson"])
def installed(request: pytest.FixtureRequest, unit: Path) -> Path:
    """The unit, alone or with the drop-in of a Jetson."""
    if request.param == "Jetson":
        folder = unit.with_name(f"{unit.name}.d")
        folder.mkdir()
        shutil.copy(JETSON, folder)
    return unit


def test_systemd_accepts_the_unit_without_a_word(installed: Path) -> None:
    result = run("systemd-analyze", "verify", installed)
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize(("key", "typo"), [("WatchdogSec", "WatchdogSecs"), ("PrivateTmp", "PrivateTemp")])
def test_systemd_would_have_said_a_word(installed: Path, key: str, typo: str) -> None:
    for file in (installed, *installed.parent.glob("*.d/*")):
        file.write_text(file.read_text(encoding="utf-8").replace(f"{key}=", f"{typo}="), encoding="utf-8")
    assert typo in run("systemd-analyze", "verify", installed).stdout


@pytest.mark.parametrize("file", [UNIT, JETSON], ids=["unit", "jetson"])
def test_nothing_is_younger_than_the_oldest_systemd(file: Path) -> None:
    """Ubuntu 22.04 has 249. Unknown keys are but a warning there, and what they promise does not happen."""
    younger = {
        "RestartSteps": 254,
        "RestartMaxDelaySec": 254,
        "RestartMode": 254,
        "MemoryKSM": 254,
        "ImportCredential": 254,
        "OpenFile": 253,
        "LogFilterPatterns": 253,
        "ExtensionDirectories": 251,
        "RestrictFileSystems": 250,
        "StartupAllowedCPUs": 250,
    }
    assert not [key for key in younger if values(key, file)]


@pytest.mark.skipif(systemd_version() < 250, reason="systemd-analyze security --offline came with systemd 250")
def test_exposure(installed: Path) -> None:
    result = run("systemd-analyze", "security", "--offline=yes", "--no-pager", installed)
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


def test_a_gpu_and_a_camera_need_no_other_device() -> None:
    """Each entry names cameras, GPUs, or what a Jetson's GPU and encoder share their memory by."""
    known = {"char-81", "char-226", "char-195", "char-nvidia*"}
    assert {entry.split()[0] for entry in values("DeviceAllow")} == known
    assert values("DevicePolicy") == ["closed"]
    for entry in values("DeviceAllow", JETSON):
        assert re.match(r"(char-(\*\.g|nv|host1x)|/dev/(nv|host1x))\S* rw$", entry), entry


def test_the_credentials_are_those_that_the_package_makes() -> None:
    made = re.findall(r"^make_password (\S+)$", (SYSTEMD / "deb" / "postinst").read_text(), re.MULTILINE)
    assert values("LoadCredential") == [f"{name}:/etc/tapetum/secrets/{name}" for name in sorted(made)]


@pytest.mark.parametrize("script", ["restart-delay", "deb/preinst", "deb/postinst", "deb/prerm", "deb/postrm"])
def test_scripts_are_well_formed(script: str) -> None:
    result = run("sh", "-n", SYSTEMD / script)
    assert (result.returncode, result.stdout) == (0, "")


def test_the_unit_s_folders_are_those_of_the_configuration() -> None:
    config = load_config(SYSTEMD / "edge.toml")
    assert [f"/var/lib/{name}" for name in values("StateDirectory")] == [config.service.state_dir]
    (cache,) = values("CacheDirectory")
    folders = [entry for entry in values("Environment") if "/" in entry]
    assert folders
    assert all(f"=/var/cache/{cache}" in entry for entry in folders)
