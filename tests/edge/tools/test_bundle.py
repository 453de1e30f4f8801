"""`tapetum-edge bundle`: what an operator types, and what comes back."""

from __future__ import annotations

import http.server
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from edge.__main__ import main
from edge.bundles.store import BundleStore
from tests.edge.bundle_makers import pack, release, sign
from tests.edge.tiny_bundle import make_tiny_bundle
from trt_build.signing import make_keys

ROOT = Path(__file__).parents[3]
USAGE, INPUT, BUNDLE, ELSE = 2, 3, 4, 1


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_keys(tmp_path_factory.mktemp("keys") / "site")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, keys: tuple[Path, Path]) -> Path:
    folder = make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    return pack(sign(release(folder, folder, "1.5"), keys[0]), folder.parent / "tiny.tar.gz")


@pytest.fixture
def config(tmp_path: Path, keys: tuple[Path, Path]) -> Path:
    path = tmp_path / "edge.toml"
    path.write_text(f'[service]\nstate_dir = "{tmp_path}/state"\n[bundle]\npublic_key = "{keys[1]}"\n')
    return path


@pytest.fixture
def bundle(config: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run a step; its exit code and all that it said."""

    def run(*arguments: object) -> tuple[int, str]:
        code = main(["bundle", *map(str, arguments), "--config", str(config)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_a_bundle_comes_is_tried_and_goes(archive: Path, bundle: Callable[..., tuple[int, str]]) -> None:
    code, said = bundle("install", archive)
    assert code == 0 and "signature ok" in said
    name = said.split()[1].rstrip(",")
    code, said = bundle("list")
    assert (code, said.splitlines()[2].split()[:2]) == (0, [name, "candidate"])
    assert "shipped" in said.splitlines()[1] and " active " in said.splitlines()[1]
    assert said.splitlines()[-1].endswith(f"{name}: installed")
    assert bundle("activate", "tiny", "--untried")[0] == 0
    assert bundle("list")[1].splitlines()[2].split()[1] == "active"
    assert "is active already" in bundle("install", archive)[1]
    assert bundle("rollback") == (0, "back to shipped: the service takes it now, or at its next start\n")
    assert bundle("list", "--history", "0")[1].count("\n") == 3


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["install", "/nowhere.tar.gz"], INPUT, "No such file"),
        (["install", "/etc/passwd"], INPUT, "neither a folder nor a"),
        (["install", "/dev"], BUNDLE, "has no manifest.json"),
        (["install", "http://192.0.2.1/b.tar.gz"], USAGE, "not on the local net"),
        (["install", "ftp://127.0.0.1/b.tar.gz"], INPUT, "cannot read the bundle"),
        (["install", "x.tar.gz", "--allow-unsigned"], USAGE, "public_key is set"),
        (["activate", "nobody"], BUNDLE, "no bundle is named 'nobody'"),
        (["rollback"], ELSE, "no bundle to go back to"),
    ],
)
def test_one_line_says_what_is_wrong(
    arguments: list[str], code: int, reason: str, bundle: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    returned, said = bundle(*arguments)
    assert (returned, said.count("\n")) == (code, 1), said
    assert said.startswith("tapetum-edge: ") and reason in said
    assert BundleStore(tmp_path / "state").installed() == []


def test_without_a_key_it_must_be_meant(archive: Path, config: Path, bundle: Callable[..., tuple[int, str]]) -> None:
    config.write_text(config.read_text().split("[bundle]")[0])
    assert bundle("install", archive)[0] == USAGE
    code, said = bundle("install", "http://127.0.0.1:1/b.tar.gz", "--allow-unsigned")
    assert code == USAGE and "must be signed" in said
    code, said = bundle("install", archive, "--allow-unsigned")
    assert code == 0 and "not signed" in said


def test_a_configuration_that_names_its_bundle(config: Path, bundle: Callable[..., tuple[int, str]]) -> None:
    config.write_text(config.read_text() + 'path = "/opt/bundle"\n')
    for step in (["list"], ["rollback"], ["activate", "x"], ["install", "x"]):
        code, said = bundle(*step)
        assert code == USAGE and "bundle.path names the bundle" in said


def test_an_untried_bundle_must_at_least_load(
    archive: Path, bundle: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    bundle("install", archive)
    store = BundleStore(tmp_path / "state")
    next(store.path(store.installed()[0]).glob("colorizer_fp32*")).write_bytes(b"")
    assert bundle("activate", "tiny", "--untried")[0] == BUNDLE
    assert store.state().active == "shipped"


@pytest.fixture
def web(archive: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

    handler = partial(Quiet, directory=archive.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_from_a_server_of_the_local_net(web: str, bundle: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    code, said = bundle("install", f"{web}/tiny.tar.gz")
    assert code == 0 and "signature ok" in said
    code, said = bundle("install", f"{web}/nothing.tar.gz")
    assert code == INPUT and "answers 404" in said
    files = [path.name for path in (tmp_path / "state" / "bundles").iterdir() if path.is_file()]
    assert sorted(files) == [".install.lock", ".lock", "state.json"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_what_root_installs_belongs_to_the_service(archive: Path, keys: tuple[Path, Path]) -> None:
    """The state folder is the service's; the archive and the key only root can read."""
    other = 54321
    home = Path(tempfile.mkdtemp())
    try:
        home.chmod(0o755)
        (home / "state").mkdir()
        os.chown(home / "state", other, other)
        (home / "edge.toml").write_text(
            f'[service]\nstate_dir = "{home}/state"\n[bundle]\npublic_key = "{keys[1]}"\n'
        )
        keys[1].chmod(0o600)
        command = [
            sys.executable,
            "-m",
            "edge",
            "bundle",
            "install",
            str(archive),
            "--config",
            str(home / "edge.toml"),
        ]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        made = [path.lstat() for path in (home / "state").rglob("*")]
        assert len(made) > 8
        assert {(status.st_uid, status.st_gid) for status in made} == {(other, other)}
        assert not any(stat.S_IMODE(status.st_mode) & 0o002 for status in made)
        (home / "state" / "bundles" / "state.json").unlink()
        (home / "state" / "bundles" / "state.json").symlink_to(keys[0])
        assert (
            subprocess.run([*command[:-4], "list", *command[-2:]], cwd=ROOT, capture_output=True).returncode == ELSE
        )
    finally:
        shutil.rmtree(home)
