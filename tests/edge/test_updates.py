"""Bundles that the running service is told to take: what its own state is afterwards. The rest is in tests/e2e."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.app import App
from edge.bundles.store import BundleStore
from edge.config import Config, parse_config
from edge.tracking import Tracker
from tests.clip import make_clip
from tests.edge.bundle_makers import release, stored
from tests.edge.standing import orin, write_engines_of
from tests.edge.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "night.mp4")


@pytest.fixture
def configured(clip: Path, tmp_path: Path) -> Callable[[str], Config]:
    def make(runtime: str) -> Config:
        sections: dict[str, dict[str, object]] = {
            "service": {"state_dir": str(tmp_path / "state"), "runtime": runtime},
            "source": {"kind": "file", "path": str(clip)},
            "rtsp": {"enabled": False},
            "mqtt": {"enabled": False},
        }
        return parse_config(sections, origin="test")

    return make


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "state")


@pytest.fixture
def first(store: BundleStore, tiny: Path, tmp_path: Path) -> str:
    """The bundle that the unit runs."""
    name = stored(store, release(tiny, tmp_path / "first", "1.1"))
    store.activate(name, untried=True)
    return name


@pytest.fixture
def second(store: BundleStore, first: str, tiny: Path, tmp_path: Path) -> str:
    return stored(store, release(tiny, tmp_path / "second", "1.2", name="other"))


def run_until(app: App, condition: Callable[[], object]) -> None:
    stop = threading.Event()
    app.run(stop, lambda: stop.set() if condition() else None)


def test_a_probation_that_was_ended_by_hand_blames_nobody_later(
    configured: Callable[[str], Config],
    store: BundleStore,
    first: str,
    second: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store.change(lambda state: state.switched(second, "", 600))
    with pytest.raises(ZeroDivisionError), App(configured("cpu")) as app:
        run_until(app, lambda: app.updates.state.phase == "probation")
        assert app.updates.rollback() == first
        run_until(app, lambda: app.updates.state.bundle == first and app.live.info.version == "1.1")
        monkeypatch.setattr(Tracker, "update", lambda *_: 1 // 0)
        app.run(threading.Event())
    assert store.state().active == first


def test_missing_engines_are_built_for_a_bundle_that_takes_over(
    configured: Callable[[str], Config],
    store: BundleStore,
    first: str,
    second: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With `runtime = "tensorrt"`: nothing else can run it, and that is not its fault."""
    opened = orin(monkeypatch)
    config = configured("tensorrt")
    config.service.engines_dir.mkdir()
    engines = write_engines_of(store.path(first), config.service.engines_dir)
    contents = {
        path: path.read_bytes() for engine in engines.values() for path in (engine, engine.with_suffix(".json"))
    }
    asked: list[str] = []

    def renewal_command(config: Config, bundle: object) -> None:
        for path, content in contents.items():
            path.write_bytes(content)
        asked.append(app.updates.state.bundle)

    monkeypatch.setattr("edge.live.renewal_command", lambda *_: None)
    monkeypatch.setattr("edge.updates.renewal_command", renewal_command)
    with App(config) as app:
        for engine in engines.values():
            engine.unlink()
        store.activate(second, untried=True)
        run_until(app, lambda: app.live.info.name == "other")
    assert asked == [first]
    assert store.state().active == second
    assert all(part.is_closed for part in opened.parts)
