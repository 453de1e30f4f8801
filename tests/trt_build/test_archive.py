"""A bundle as one file: what the unit's own reader takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.bundles.bundle import load_bundle
from edge.bundles.contents import open_contents
from edge.bundles.install import install
from edge.bundles.signature import read_public_key
from edge.bundles.store import BundleStore
from tests.edge.tiny_bundle import make_tiny_bundle
from trt_build.__main__ import main


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_tiny_bundle(tmp_path / "bundle")


def test_pack_sign_and_install(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys, archive = tmp_path / "site", tmp_path / "site.tar.gz"
    assert main(["keygen", "--out", str(keys)]) == 0
    command = ["pack", str(bundle), "--out", str(tmp_path / "out"), "--sign", f"{keys}.private.pem"]
    assert main([*command, "--archive", str(archive)]) == 0
    assert f"wrote {archive}" in capsys.readouterr().out
    with open_contents(archive) as contents:
        names = [entry.name for entry in contents.entries()]
        assert names[:2] == ["manifest.json", "manifest.sig"] and len(names) == 8
        store = BundleStore(tmp_path / "state")
        head = install(contents, store, read_public_key(Path(f"{keys}.public.pem")))
    assert load_bundle(store.path(head.bundle)).manifest == load_bundle(tmp_path / "out").manifest


def test_the_same_bundle_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    from trt_build.archive import write_archive

    for name in ("one.tgz", "two.tar.gz"):
        write_archive(bundle, tmp_path / name)
    assert (tmp_path / "one.tgz").read_bytes() == (tmp_path / "two.tar.gz").read_bytes()


def test_another_suffix(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["pack", str(bundle), "--out", str(tmp_path / "out"), "--archive", str(tmp_path / "site.zip")]
    assert main(command) == 2
    assert "ends in .tar.gz or .tgz" in capsys.readouterr().err
