"""A new bundle comes into the running service while somebody watches: taken, refused, or taken back."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.bundles.state import CRASHES
from edge.bundles.store import BundleStore
from tests.e2e.service import PATIENCE_S, Sections, Service, Viewer, edge, write_config
from tests.edge import spoilt_bundle
from tests.edge.bundle_makers import blind, not_finite, pack, release, sign, stored
from tests.mosquitto import Broker, Received, Subscriber, wait_until
from trt_build.__main__ import main as build

UNIT = "fold-3"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix of a pair."""
    prefix = tmp_path_factory.mktemp("keys") / "site"
    assert build(["keygen", "--out", str(prefix)]) == 0
    return prefix


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def sections(clip: Path, broker: Broker, tmp_path: Path) -> Sections:
    return {
        "unit": {"name": UNIT},
        "service": {"state_dir": str(tmp_path / "state"), "runtime": "cpu"},
        "source": {"kind": "file", "path": str(clip)},
        "mqtt": {"port": broker.port, "health_interval_s": 1},
        "updates": {"trial_s": 2, "probation_s": 600},
    }


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "state")


@pytest.fixture
def first(store: BundleStore, bundle: Path, tmp_path: Path) -> str:
    """The bundle that the unit has run so far."""
    name = stored(store, release(bundle, tmp_path / "first", "1.1"))
    store.activate(name, untried=True)
    return name


def signed(folder: Path, key: Path) -> Path:
    return sign(folder, Path(f"{key}.private.pem"))


def wait_for(store: BundleStore, bundle: str, what: str) -> str:
    """Until this has happened to a bundle; returns its detail."""

    def details() -> list[str]:
        return [past.detail for past in store.state().history if (past.bundle, past.what) == (bundle, what)]

    wait_until(details, PATIENCE_S, what=f"{bundle} is {what}")
    return details()[-1]


def test_a_signed_bundle_is_tried_taken_and_taken_back(
    sections: Sections, store: BundleStore, broker: Broker, bundle: Path, key: Path, tmp_path: Path
) -> None:
    """By the commands of an operator, from the first bundle on; the viewer's session is never interrupted."""
    sections = {
        **sections,
        "bundle": {"public_key": f"{key}.public.pem"},
        "updates": {"trial_s": 2, "probation_s": 3},
    }
    one = pack(signed(release(bundle, tmp_path / "one", "1.1"), key), tmp_path / "one.tar.gz")
    relabelled = spoilt_bundle.with_labels(bundle, tmp_path / "two", "fox", "wolf")
    two = pack(signed(release(relabelled, relabelled, "1.2"), key), tmp_path / "two.tar.gz")
    config = write_config(tmp_path / "operator.toml", sections)
    assert "signature ok" in edge("bundle", "install", one, "--config", config).stdout
    assert edge("bundle", "activate", "tiny", "--untried", "--config", config).returncode == 0
    first = store.state().active
    with (
        Subscriber(broker, f"tapetum/{UNIT}/#") as messages,
        Service(tmp_path / "unit", sections, {"PYTHONFAULTHANDLER": "1"}) as service,
    ):
        service.wait_ready()
        with Viewer(service.url("colour")) as viewer:
            wait_until(lambda: messages.on("/events/appear"), PATIENCE_S)
            assert edge("bundle", "install", two, "--config", config).returncode == 0
            second = next(name for name in store.installed() if name != first)
            assert "of the" in wait_for(store, second, "switched")
            wait_until(lambda: bundle_of(messages, "1.2"), PATIENCE_S, what="events of the new bundle")
            assert {"fox", "wolf"} >= {m.payload["label"] for m in bundle_of(messages, "1.2")}
            wait_for(store, second, "proven")
            wait_until(
                lambda: any("is proven" in m.payload["update"]["news"] for m in messages.on("/health")), PATIENCE_S
            )
            assert edge("bundle", "rollback", "--config", config).returncode == 0
            changed = len(messages.received)
            wait_until(lambda: bundle_of(messages, "1.1", changed), PATIENCE_S, what="events of the first bundle")
            seen = viewer.frames
            wait_until(lambda: viewer.frames > seen + 10, PATIENCE_S, what="pictures in the same session")
        assert service.stop() == 0, service.stderr
    listed = edge("bundle", "list", "--config", config).stdout
    assert f"{first} " in listed and "rolled back: asked for" in listed
    assert "Traceback" not in service.stderr


def bundle_of(messages: Subscriber, version: str, after: int = 0) -> list[Received]:
    """Events of a bundle's version."""
    return [
        message
        for message in messages.received[after:]
        if "/events/" in message.topic and message.payload.get("bundle", {}).get("version") == version
    ]


@pytest.mark.parametrize(("make", "reason"), [(blind, "objects that the other found"), (not_finite, "grey")])
def test_what_does_badly_is_rejected_by_its_trial(
    make: Callable[[Path, Path, str], Path],
    reason: str,
    sections: Sections,
    store: BundleStore,
    first: str,
    bundle: Path,
    tmp_path: Path,
) -> None:
    with Service(tmp_path / "unit", sections, {"PYTHONFAULTHANDLER": "1"}) as service:
        service.wait_ready()
        with Viewer(service.url("colour")) as viewer:
            bad = stored(store, make(bundle, tmp_path / "bad", "1.2"))
            assert reason in wait_for(store, bad, "rejected")
            seen = viewer.frames
            wait_until(lambda: viewer.frames > seen + 10, PATIENCE_S)
        assert service.stop() == 0, service.stderr
    assert (store.state().active, store.state().candidate) == (first, None)


def put_on_probation(store: BundleStore, folder: Path) -> str:
    """As if the trial had missed what is wrong with a bundle."""
    name = stored(store, folder)
    store.change(lambda state: state.try_begun(name))
    store.change(lambda state: state.switched(name, "", 600))
    return name


@pytest.mark.slow
@pytest.mark.parametrize(("make", "reason"), [(blind, "objects that the other found"), (not_finite, "grey")])
def test_what_does_badly_in_its_probation_is_taken_back_while_somebody_watches(
    make: Callable[[Path, Path, str], Path],
    reason: str,
    sections: Sections,
    store: BundleStore,
    first: str,
    bundle: Path,
    broker: Broker,
    tmp_path: Path,
) -> None:
    bad = put_on_probation(store, make(bundle, tmp_path / "bad", "1.2"))
    with (
        Subscriber(broker, f"tapetum/{UNIT}/#") as messages,
        Service(tmp_path / "unit", sections, {"PYTHONFAULTHANDLER": "1"}) as service,
    ):
        service.wait_ready()
        with Viewer(service.url("colour")) as viewer:
            assert reason in wait_for(store, bad, "rolled back")
            wait_until(lambda: bundle_of(messages, "1.1"), PATIENCE_S, what="events of the bundle before")
            seen = viewer.frames
            wait_until(lambda: viewer.frames > seen + 10, PATIENCE_S)
        wait_until(lambda: any(f"back to {first}" in m.payload["update"]["news"] for m in messages.on("/health")))
        assert service.stop() == 0, service.stderr
    assert "Traceback" not in service.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_runs_that_end_without_order_in_a_probation_take_it_back(
    sections: Sections, store: BundleStore, first: str, bundle: Path, broker: Broker, tmp_path: Path
) -> None:
    second = put_on_probation(store, release(bundle, tmp_path / "second", "1.2"))
    for number in range(CRASHES - 1):
        with Service(tmp_path / f"unit{number}", sections) as service:
            service.wait_ready()
            assert store.state().active == second
            assert service.stop(signal.SIGKILL) == -signal.SIGKILL
    with (
        Subscriber(broker, f"tapetum/{UNIT}/#") as messages,
        Service(tmp_path / "unit", sections, {"PYTHONFAULTHANDLER": "1"}) as service,
    ):
        service.wait_ready()
        assert store.state().active == first
        health = messages.wait_for(1, "/health")[-1].payload
        assert health["bundle"]["version"] == "1.1"
        assert "ended 3 times without order" in health["update"]["news"]
        assert service.stop() == 0, service.stderr


@pytest.mark.slow
def test_a_candidate_that_cannot_be_loaded_and_an_active_one_that_is_damaged(
    sections: Sections, store: BundleStore, first: str, bundle: Path, broker: Broker, tmp_path: Path
) -> None:
    """The start takes the one before; the candidate is refused for what it is."""
    second = stored(store, release(bundle, tmp_path / "second", "1.2"))
    store.activate(second, untried=True)
    next(store.path(second).glob("recognizer_fp32*")).write_bytes(b"damaged")
    odd = spoilt_bundle.with_graph(bundle, tmp_path / "odd", "context", b"not a graph")
    third = stored(store, release(odd, odd, "1.3"))
    with (
        Subscriber(broker, f"tapetum/{UNIT}/#") as messages,
        Service(tmp_path / "unit", sections, {"PYTHONFAULTHANDLER": "1"}) as service,
    ):
        service.wait_ready()
        assert store.state().active == first
        assert "could not be loaded" in wait_for(store, second, "rolled back")
        assert "context_fp32.onnx: not a graph" in wait_for(store, third, "rejected")
        assert messages.wait_for(1, "/health")[-1].payload["update"]["bundle"] == first
        assert service.stop() == 0, service.stderr
    assert "Traceback" not in service.stderr


@pytest.mark.slow
def test_a_stop_in_the_middle_of_a_trial_is_no_crash(
    sections: Sections, store: BundleStore, first: str, bundle: Path, tmp_path: Path
) -> None:
    sections = {**sections, "updates": {"trial_s": 600}}
    second = stored(store, release(bundle, tmp_path / "second", "1.2"))

    def begun() -> int:
        candidate = store.state().candidate
        return candidate.begun if candidate else -1

    for number, end in enumerate((signal.SIGTERM, signal.SIGKILL)):
        with Service(tmp_path / f"unit{number}", sections) as service:
            service.wait_ready()
            wait_until(lambda: begun() == 1, PATIENCE_S, what="the trial begins")
            service.stop(end)
        assert begun() == (0 if end is signal.SIGTERM else 1)
    assert store.state().tries(second)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_engines_of_a_candidate_are_built_before_its_trial(
    sections: Sections,
    store: BundleStore,
    first: str,
    bundle: Path,
    broker: Broker,
    tensorrt_env: dict[str, str],
    tmp_path: Path,
) -> None:
    """The real builder; a dry run, since what it builds here no GPU is there to run."""
    sections = {**sections, "service": {**sections["service"], "runtime": "auto"}, "engines": {"renew": "dry-run"}}
    with (
        Subscriber(broker, f"tapetum/{UNIT}/#") as messages,
        Service(tmp_path / "unit", sections, tensorrt_env) as service,
    ):
        service.wait_ready()
        wait_until(lambda: "the engines are up to date" in service.stderr, PATIENCE_S, what="the first one's")
        before = len(messages.on("/engines/recognizer"))
        second = stored(store, release(bundle, tmp_path / "second", "1.2"))
        wait_for(store, second, "switched")
        assert len(messages.on("/engines/recognizer")) > before
        told = service.stderr
        assert told.index(f"bundle {second} is tried") < told.rindex("the engines are up to date")
        assert service.stop() == 0, service.stderr
