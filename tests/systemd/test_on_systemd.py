"""The installed service under a real systemd, in the order of a unit's life. Each test begins with one that runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mosquitto import Subscriber
from tests.systemd.container import Container
from tests.systemd.unit import CONFIG, PATIENCE_S, START_S, NearBroker, Unit
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NOT_ITS_OWN = "find /var/lib/tapetum /var/cache/tapetum ! -user tapetum"
SEEN = re.compile(r"h264,\d+,\d+")


@pytest.fixture(scope="module")
def unit(container: Container, deb: Path) -> Unit:
    """A unit on which the package is installed; it has no network, no camera and no broker."""
    unit = Unit(container)
    unit.install(deb)
    return unit


@pytest.fixture(scope="module")
def config(unit: Unit) -> str:
    """The configuration as it was installed."""
    return unit.config.read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def site(unit: Unit, config: str) -> None:
    """Each test finds the service as after a start by hand, with GStreamer's test picture as its camera."""
    unit.config.write_text(config, encoding="utf-8")
    unit.configure(source={"kind": "test"})
    unit.restart()
    unit.begin_journal()


class TestInstalled:
    def test_it_runs_as_its_own_user_and_starts_at_boot(self, unit: Unit) -> None:
        assert unit.run(f"stat -c %U:%G /proc/{unit.pid}") == "tapetum:tapetum"
        assert unit.run("systemctl is-enabled tapetum-edge") == "enabled"
        assert unit.run("getent passwd tapetum").endswith("/nologin")

    def test_passwords_are_made_and_only_root_reads_them(self, unit: Unit) -> None:
        assert unit.run("stat -c '%a %U %G' /etc/tapetum/secrets") == "700 root root"
        assert set(unit.run("stat -c '%a %U %G' /etc/tapetum/secrets/*").splitlines()) == {"600 root root"}
        passwords = {unit.password("rtsp"), unit.password("mqtt")}
        assert [len(password) for password in passwords] == [24, 24]
        for place in (f"cat {CONFIG}", "journalctl", f"cat /proc/{unit.pid}/environ /proc/{unit.pid}/cmdline"):
            assert not [password for password in passwords if password in unit.run(place)], place

    def test_ready_means_that_the_video_can_be_watched_by_who_has_the_password(self, unit: Unit) -> None:
        unit.restart()
        assert SEEN.fullmatch(unit.watch_logged_in())
        assert "401" in unit.watch()
        assert "401" in unit.watch("viewer:viewer@")

    def test_what_takes_long_at_the_first_start_is_kept(self, unit: Unit) -> None:
        unit.run("test -s /var/cache/tapetum/gstreamer-registry.bin")
        assert unit.run("ls /var/lib/tapetum/networks")

    def test_the_broker_s_password_reaches_the_service_as_a_credential(self, unit: Unit, tmp_path: Path) -> None:
        password = unit.password("mqtt")
        with NearBroker(unit, tmp_path, users={"unit": password}) as broker:
            unit.configure(mqtt={"port": broker.port, "username": "unit", "password_file": "mqtt-password"})
            unit.restart()
            with Subscriber(broker, arguments=["-u", "unit", "-P", password]) as subscriber:
                subscriber.wait_for_state("online", PATIENCE_S)

    def test_a_check_by_root_leaves_nothing_that_the_service_could_not_write(self, unit: Unit) -> None:
        said = unit.run(f"CREDENTIALS_DIRECTORY=/etc/tapetum/secrets tapetum-edge check --config {CONFIG}")
        assert "configuration ok" in said
        assert unit.run(NOT_ITS_OWN) == ""

    def test_a_stop_is_clean(self, unit: Unit) -> None:
        unit.run("systemctl stop tapetum-edge")
        assert (unit.show("Result"), unit.show("ExecMainStatus")) == ("success", "0")


class TestFailures:
    def test_killed_it_is_started_again(self, unit: Unit) -> None:
        unit.kill("KILL")
        assert unit.restarts == 1
        assert SEEN.fullmatch(unit.watch_logged_in())

    def test_frozen_it_is_killed_by_the_watchdog_and_started_again(self, unit: Unit) -> None:
        unit.kill("STOP")
        assert unit.restarts == 1
        assert "Watchdog timeout" in unit.journal()
        assert SEEN.fullmatch(unit.watch_logged_in())

    def test_while_frames_come_the_watchdog_is_silent(self, unit: Unit) -> None:
        (watchdog_s,) = re.findall(r"^(\d+)s$", unit.run("systemctl show -P WatchdogUSec tapetum-edge"))
        before = unit.pid
        unit.run(f"sleep {int(watchdog_s) + 5}")
        assert (unit.pid, unit.restarts) == (before, 0)

    def test_what_hangs_tells_where_before_it_ends(self, unit: Unit) -> None:
        """SIGABRT is what the watchdog sends first."""
        unit.kill("ABRT")
        assert "Fatal Python error: Aborted" in unit.journal()
        assert re.search(r'File ".*/edge/lane', unit.journal())
        assert "dumped" not in unit.show("Result")

    def test_a_crash_loop_slows_down_and_ends_by_itself(self, unit: Unit) -> None:
        """The port is taken for a while."""
        hold = "import socket as s; s = s.create_server(('127.0.0.1', 8554)); print('taken', flush=True); s.accept()"
        unit.run("systemctl stop tapetum-edge")
        command = [*unit.container.in_network, "python3", "-c", hold]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "taken\n"
            unit.run("systemctl start --no-block tapetum-edge")
            until(lambda: "the next start is in 8 s" in unit.journal(), PATIENCE_S)
            holder.kill()
        until(unit.is_active, PATIENCE_S)
        pauses = re.findall(r"failures in a row: the next start is in (\d+) s", unit.journal())
        assert pauses == ["4", "8"]
        assert unit.restarts == 3
        unit.restart()
        assert unit.journal().count("the next start is in") == 2, "a start by hand does not wait"

    def test_a_wrong_configuration_waits_for_a_person(self, unit: Unit) -> None:
        unit.configure(source={"kind": "nonsense"})
        unit.run("systemctl restart tapetum-edge", START_S, check=False)
        unit.run("sleep 5")
        assert (unit.show("ActiveState"), unit.restarts, unit.show("ExecMainStatus")) == ("failed", 0, "2")
        assert "source.kind" in unit.journal()


class TestSandbox:
    @pytest.fixture
    def attempt(self, unit: Unit) -> Callable[[str], bool]:
        """Whether a shell script succeeds in the service's place, under all that its unit says."""
        text = unit.run("systemctl cat tapetum-edge")
        for key, value in {"ExecStart": "/bin/sh -ec '. /etc/attempt'", "Type": "oneshot"}.items():
            text = re.sub(rf"^{key}=.*", f"{key}={value}", text, flags=re.MULTILINE)
        text = re.sub(r"^(Exec.*P|Restart|WatchdogSec).*\n", "", text, flags=re.MULTILINE)
        etc = unit.container.tree / "etc"
        (etc / "systemd/system/attempt.service").write_text(text, encoding="utf-8")
        unit.run("systemctl daemon-reload")

        def try_it(script: str) -> bool:
            (etc / "attempt").write_text(script + "\n", encoding="utf-8")
            return unit.run("systemctl start attempt && echo done", check=False).endswith("done")

        return try_it

    @pytest.mark.parametrize(
        "script",
        [
            "touch /var/lib/tapetum/x /var/cache/tapetum/x /run/tapetum/x /tmp/x",
            'test "$(head -c 8 "$CREDENTIALS_DIRECTORY/rtsp-password")"',
            "exec 3<>/dev/tcp/127.0.0.1/8554",
        ],
    )
    def test_what_it_needs_it_may(self, attempt: Callable[[str], bool], script: str) -> None:
        script = f"exec bash -c '{script}'" if "/dev/tcp" in script else script
        assert attempt(script)

    @pytest.mark.parametrize(
        "script",
        [
            "touch /etc/tapetum/x",
            "touch /opt/tapetum/x",
            "ls /etc/tapetum/secrets",
            "ls /root",
            "test -e /proc/1",
            "unshare --user true",
            "mount -t tmpfs tmpfs /var/lib/tapetum",
            "date --set=2030-01-01",
            "chmod u+s /var/lib/tapetum",
        ],
    )
    def test_what_it_does_not_need_it_may_not(self, attempt: Callable[[str], bool], script: str) -> None:
        assert not attempt(script)

    @pytest.mark.parametrize(
        ("number", "answer"),
        [
            ("81 200", "No such device"),  # video4linux: the kernel looks for the camera
            ("226 200", "No such device"),  # DRM
            ("195 200", "No such device"),  # NVIDIA
            ("10 200", "Operation not permitted"),  # a tunnel
            ("1 11", "Operation not permitted"),  # the kernel's log
        ],
    )
    def test_it_opens_cameras_and_gpus_alone(
        self, unit: Unit, attempt: Callable[[str], bool], number: str, answer: str
    ) -> None:
        unit.run(f"rm -f /dev/attempt; mknod -m 666 /dev/attempt c {number}")
        attempt("head -c 1 /dev/attempt")
        assert answer in unit.run("journalctl --unit=attempt --lines=4 --output=cat --no-pager")


class TestBoots:
    def test_without_camera_and_broker_it_waits_for_both(self, unit: Unit, tmp_path: Path) -> None:
        broker = NearBroker(unit, tmp_path)
        unit.configure(source={"kind": "v4l2"}, mqtt={"port": broker.port})
        unit.container.reboot()
        until(unit.is_active, PATIENCE_S)
        unit.run("sleep 10")
        assert unit.restarts == 0
        assert "source lost" in unit.show("StatusText")
        assert SEEN.fullmatch(unit.watch_logged_in()), "the card"
        broker.within = unit.container.in_network
        with broker, Subscriber(broker) as subscriber:
            subscriber.wait_for_state("online", PATIENCE_S)

    def test_after_a_power_cut(self, unit: Unit) -> None:
        unit.container.cut_power()
        until(unit.is_active, PATIENCE_S)
        assert SEEN.fullmatch(unit.watch_logged_in())


def later(deb: Path, folder: Path, revision: int) -> Path:
    """The package as a later one, which ships another configuration."""
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^(Version: .*)-\d+$", rf"\1-{revision}", control.read_text(), flags=re.MULTILINE))
    config = tree / CONFIG.lstrip("/")
    config.write_text(f"{config.read_text()}# revision {revision}\n")
    path = folder / f"tapetum-{revision}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, path], check=True)
    shutil.rmtree(tree)
    return path


def version(unit: Unit) -> str:
    return unit.run("dpkg-query --show --showformat='${db:Status-Status} ${Version}' tapetum")


class TestUpgrade:
    def test_the_site_s_configuration_passwords_and_state_stay(self, unit: Unit, deb: Path, tmp_path: Path) -> None:
        unit.configure(unit={"name": "waterhole-7"})
        unit.run(
            "echo kept >/var/lib/tapetum/kept; chown tapetum: /var/lib/tapetum/kept; touch /etc/nv_tegra_release"
        )
        kept = f"cat {CONFIG} /etc/tapetum/secrets/* /var/lib/tapetum/kept"
        before, pid, program = unit.run(kept), unit.pid, unit.run("readlink /opt/tapetum")
        unit.install(later(deb, tmp_path, 2))
        assert version(unit).startswith("installed ")
        assert version(unit).endswith("-2")
        assert unit.run(kept) == before
        assert "# revision 2" in unit.run(f"cat {CONFIG}.dpkg-dist")
        assert unit.is_active()
        assert unit.pid != pid
        assert unit.run("readlink /opt/tapetum") != program
        assert unit.run("ls /opt").split() == ["tapetum", unit.run("readlink /opt/tapetum")], "the one before is gone"
        assert SEEN.fullmatch(unit.watch_logged_in())
        # A Jetson's devices are none here: that alone keeps nothing from starting.
        assert unit.run(NOT_ITS_OWN) == ""
        assert "jetson.conf" in unit.show("DropInPaths")
        assert "/dev/nvmap" in unit.show("DeviceAllow")

    def test_a_version_that_would_not_start_leaves_the_one_before_at_work(
        self, unit: Unit, deb: Path, tmp_path: Path
    ) -> None:
        pid, program, config = unit.pid, unit.run("readlink /opt/tapetum"), unit.config.read_text()
        unit.configure(source={"kind": "nonsense"})
        said = unit.install(later(deb, tmp_path, 3), check=False)
        assert "source.kind" in said
        assert "tapetum: this version would not start; the one before goes on." in said
        assert (unit.pid, unit.run("readlink /opt/tapetum")) == (pid, program)
        assert SEEN.fullmatch(unit.watch_logged_in())
        unit.config.write_text(config)
        unit.run("dpkg --configure tapetum", START_S)
        assert unit.pid != pid
        assert version(unit).startswith("installed ")

    def test_power_cut_in_the_middle_leaves_the_one_before(self, unit: Unit, deb: Path, tmp_path: Path) -> None:
        program = unit.run("readlink /opt/tapetum")
        shutil.copy(later(deb, tmp_path, 4), unit.container.tree / "root")
        unit.run("(dpkg --force-confold --install /root/tapetum-4.deb >/root/dpkg.log 2>&1 &)")
        until(
            lambda: "pip" in unit.run("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '", check=False), PATIENCE_S
        )
        unit.container.cut_power()
        until(unit.is_active, PATIENCE_S)
        assert unit.run("readlink /opt/tapetum") == program
        assert SEEN.fullmatch(unit.watch_logged_in())
        assert not version(unit).startswith("installed ")
        unit.run("dpkg --configure --pending", START_S)
        assert version(unit).startswith("installed ")
        assert version(unit).endswith("-4")
        assert unit.is_active()


class TestRemoval:
    def test_remove_leaves_what_is_the_site_s(self, unit: Unit, deb: Path) -> None:
        kept = f"cat {CONFIG} /etc/tapetum/secrets/*; ls -d /var/lib/tapetum/networks /var/lib/tapetum/spool.db"
        before = unit.run(kept)
        unit.apt("remove tapetum")
        assert unit.pid == 0
        assert unit.run("ls /opt") == ""
        assert unit.run("pgrep --uid tapetum || true") == ""
        assert unit.run(kept) == before
        unit.install(deb)
        assert unit.run(kept) == before
        assert unit.is_active()

    def test_purge_leaves_nothing_but_the_user(self, unit: Unit, deb: Path) -> None:
        unit.apt("purge tapetum")
        left = unit.run("find / -xdev -name '*tapetum*' -not -path '/proc/*' -not -path '/root/*'")
        assert left == ""
        assert unit.run("systemctl list-units --all --no-legend 'tapetum*'") == ""
        unit.install(deb)  # for the next test's start
        assert unit.is_active()

    def test_it_is_not_mixed_with_an_installation_from_source(self, unit: Unit, deb: Path) -> None:
        unit.apt("purge tapetum")
        unit.run("mkdir -p /opt/tapetum/bin")
        said = unit.install(deb, check=False)
        assert "/opt/tapetum is an installation from source" in said
        unit.run("test -d /opt/tapetum/bin && rmdir -p /opt/tapetum/bin || true")
