"""Folders and secrets, with real permissions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge.config import Config
from edge.errors import ConfigError
from edge.tools.doctor import account, storage
from edge.tools.doctor.account import Account, current_account

ANYBODY = Account("anybody", 65_000, frozenset({65_000}))
OURS = Account("keeper", os.geteuid() + 1, frozenset({os.getegid()}))  # of our group, but not us


class TestAccount:
    @pytest.mark.parametrize(
        ("mode", "who", "may"),
        [(0o700, ANYBODY, False), (0o707, ANYBODY, True), (0o770, OURS, True), (0o707, OURS, False)],
    )
    def test_permissions(self, mode: int, who: Account, may: bool, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder").chmod(mode)
        assert who.may(tmp_path / "folder", os.R_OK | os.W_OK | os.X_OK) is may

    def test_groups_of_devices(self, tmp_path: Path) -> None:
        assert account.user(OURS, [Path("/dev/null"), tmp_path / "none"]).state == "ok"
        disk = next(
            (each for each in Path("/dev").iterdir() if each.is_char_device() and not each.stat().st_mode & 6), None
        )
        if disk is None:
            pytest.skip("every device here is open to everybody")
        assert account.user(ANYBODY, [disk]).cure.startswith("usermod -aG ")

    def test_root_is_told_that_he_may_do_all(self) -> None:
        assert account.user(Account("root", 0, frozenset({0})), []).state == "warning"


class TestFolders:
    def test_the_state_folder(self, config: Callable[..., Config], tmp_path: Path) -> None:
        state = tmp_path / "state"
        assert storage.state_folder(config(), current_account()).detail.endswith("is made at the first start")
        state.mkdir(mode=0o750)
        assert storage.state_folder(config(), current_account()).state == "ok"
        refused = storage.state_folder(config(), ANYBODY)
        assert refused.state == "failed" and refused.cure == f"chown -R anybody {state}"
        state.chmod(0o755)
        assert storage.state_folder(config(), current_account()).cure == f"chmod 750 {state}"

    def test_a_file_in_its_place(self, config: Callable[..., Config], tmp_path: Path) -> None:
        (tmp_path / "state").touch()
        assert storage.state_folder(config(), current_account()).state == "failed"

    @pytest.mark.parametrize(("free_mib", "state"), [(10_000, "ok"), (300, "warning"), (30, "failed")])
    def test_the_disk(
        self, free_mib: int, state: str, config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = SimpleNamespace(free=free_mib << 20, total=20_000 << 20)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        assert storage.disk(config()).state == state

    def test_this_disk(self, config: Callable[..., Config]) -> None:
        assert "MiB free of" in storage.disk(config()).detail

    def test_the_cache(self, config: Callable[..., Config], tmp_path: Path) -> None:
        assert storage.cache(config(), ANYBODY, tmp_path).detail == "made at the first start"
        (tmp_path / "state/networks").mkdir(parents=True)
        assert storage.cache(config(), current_account(), tmp_path).state == "ok"
        (tmp_path / "state/networks").chmod(0o700)
        assert storage.cache(config(), ANYBODY, tmp_path).state == "failed"


class TestSecrets:
    def test_none(self, config: Callable[..., Config]) -> None:
        assert storage.secrets(config()).detail == "none are configured"

    def test_who_may_read_them(self, config: Callable[..., Config], tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        named = config(mqtt={"username": "unit", "password_file": str(secret)})
        missing = storage.secrets(named)
        assert missing.state == "failed" and missing.detail == f"mqtt.password_file: {secret} cannot be read"
        secret.write_text("owl\n")
        secret.chmod(0o644)
        assert storage.secrets(named).cure == f"chmod 600 {secret}"
        secret.chmod(0o600)
        assert storage.secrets(named).state == "ok"
        secret.write_text("\n")
        with pytest.raises(ConfigError, match="first line"):
            storage.secrets(named)
