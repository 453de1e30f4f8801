"""Which bundle a start takes: whatever the runs before it left behind, one that works."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge.bundles.bundle import Bundle
from edge.bundles.state import CRASHES, SHIPPED
from edge.bundles.store import BundleStore
from edge.config import Config, parse_config
from edge.engines.store import EngineError
from edge.errors import BundleError, ConfigError, TapetumError
from edge.incumbent import Incumbent
from edge.inference.cuda import GpuFaultError
from edge.opening import open_bundle
from tests.edge.bundle_makers import release, stored
from tests.edge.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "state")


@pytest.fixture
def two(tiny: Path, store: BundleStore, tmp_path: Path) -> tuple[str, str]:
    """The first is active; the second waits for its trial."""
    first, second = (stored(store, release(tiny, tmp_path / version, version)) for version in ("1.1", "1.2"))
    store.activate(first, untried=True)
    store.activate(second)
    return first, second


def configured(tmp_path: Path, **bundle: str) -> Config:
    return parse_config({"service": {"state_dir": str(tmp_path / "state")}, "bundle": bundle}, origin="test")


def opened(config: Config) -> str:
    with Incumbent(config) as incumbent:
        bundle = incumbent.open(lambda bundle: bundle)
    return f"{bundle.manifest.name} {bundle.manifest.version}"


def switch(store: BundleStore, name: str) -> None:
    """What the service does before it dies."""
    store.change(lambda state: state.try_begun(name))
    store.change(lambda state: state.switched(name, "", 600))


def crash(config: Config) -> str:
    """A start without an end."""
    incumbent = Incumbent(config)
    incumbent.open(lambda bundle: bundle)
    return incumbent.name


def test_a_unit_on_which_nothing_was_installed(tmp_path: Path) -> None:
    assert opened(configured(tmp_path)).startswith("demo ")
    assert not (tmp_path / "state").exists()


def test_the_active_one(two: tuple[str, str], tmp_path: Path) -> None:
    assert opened(configured(tmp_path)) == "tiny 1.1"
    assert open_bundle(configured(tmp_path)).manifest.version == "1.1"


def test_a_path_of_the_configuration_comes_first(two: tuple[str, str], tiny: Path, tmp_path: Path) -> None:
    assert opened(configured(tmp_path, path=str(tiny))) == "tiny 1.0"


def test_one_that_is_damaged_gives_way_to_the_one_before(
    two: tuple[str, str], store: BundleStore, tmp_path: Path
) -> None:
    switch(store, two[1])
    next(store.path(two[1]).glob("colorizer_fp32*")).write_bytes(b"damaged")
    incumbent = Incumbent(configured(tmp_path))
    bundle = incumbent.open(lambda bundle: bundle)
    assert bundle.manifest.version == "1.1" and incumbent.name == two[0]
    assert "could not be loaded" in incumbent.news and "colorizer_fp32" in incumbent.news
    assert store.state().active == two[0]


def test_and_that_one_to_the_one_that_ships(two: tuple[str, str], store: BundleStore, tmp_path: Path) -> None:
    switch(store, two[1])
    for name in two:
        shutil.rmtree(store.path(name))
    assert opened(configured(tmp_path)).startswith("demo ")
    assert store.state().active == SHIPPED


def test_one_that_no_backend_opens(two: tuple[str, str], store: BundleStore, tmp_path: Path) -> None:
    def open_it(bundle: Bundle) -> str:
        if bundle.manifest.version == "1.1":
            raise BundleError("not a graph that OpenVINO reads")
        return bundle.manifest.name

    assert Incumbent(configured(tmp_path)).open(open_it) == "demo"
    assert store.state().tries(two[1]), "what waits may mend it"


def test_what_is_not_the_bundles_fault_is_raised(two: tuple[str, str], store: BundleStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the public key"):
        opened(configured(tmp_path, public_key="/nowhere.pem"))
    with pytest.raises(TapetumError, match="port"), Incumbent(configured(tmp_path)) as incumbent:
        incumbent.open(_taken_port)
    assert store.state().active == two[0]


def test_engines_that_do_not_work_are_not_the_bundles_fault(
    two: tuple[str, str], store: BundleStore, tmp_path: Path
) -> None:
    def open_it(bundle: Bundle) -> None:
        raise EngineError("engines", "built by TensorRT 10.3.0, here is 10.7.0")

    with pytest.raises(EngineError), Incumbent(configured(tmp_path)) as incumbent:
        incumbent.open(open_it)
    assert store.state().active == two[0]


def _taken_port(bundle: Bundle) -> None:
    raise TapetumError("port 8554 is taken")


class TestProbation:
    def test_runs_without_an_end_are_counted(self, two: tuple[str, str], store: BundleStore, tmp_path: Path) -> None:
        switch(store, two[1])  # the first of them
        for _ in range(CRASHES - 1):
            assert crash(configured(tmp_path)) == two[1]
        assert crash(configured(tmp_path)) == two[0]
        assert "ended 3 times without order" in store.state().history[-1].detail

    def test_those_with_an_end_are_not(self, two: tuple[str, str], store: BundleStore, tmp_path: Path) -> None:
        switch(store, two[1])
        for _ in range(3 * CRASHES):
            assert opened(configured(tmp_path)) == "tiny 1.2"
        probation = store.state().probation
        assert probation is not None and probation.left_s == 600

    def test_a_fault_of_a_lane_is_the_bundles(self, two: tuple[str, str], store: BundleStore, tmp_path: Path) -> None:
        switch(store, two[1])
        with Incumbent(configured(tmp_path)) as incumbent:
            incumbent.open(lambda bundle: bundle)
            incumbent.blame(RuntimeError("a kernel faulted"))
        assert store.state().active == two[0]
        assert store.state().history[-1].detail == "the service ended: a kernel faulted"

    def test_a_fault_of_the_gpu_may_be_nobodys(
        self, two: tuple[str, str], store: BundleStore, tmp_path: Path
    ) -> None:
        switch(store, two[1])
        runs = 0
        while store.state().active == two[1]:
            runs += 1
            with Incumbent(configured(tmp_path)) as incumbent:
                incumbent.open(lambda bundle: bundle)
                incumbent.blame(GpuFaultError("Orin failed: an illegal memory access"))
        assert runs == CRASHES, "one that comes again and again is the bundle's"
        assert "ended 3 times without order" in store.state().history[-1].detail

    def test_and_of_nobody_where_there_is_no_probation(
        self, two: tuple[str, str], store: BundleStore, tmp_path: Path
    ) -> None:
        with Incumbent(configured(tmp_path)) as incumbent:
            incumbent.open(lambda bundle: bundle)
            incumbent.blame(RuntimeError("a kernel faulted"))
        assert store.state().active == two[0]


def test_a_disk_that_takes_nothing_does_not_keep_the_service_from_starting(
    two: tuple[str, str], store: BundleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch(store, two[1])
    next(store.path(two[1]).glob("colorizer_fp32*")).write_bytes(b"damaged")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge.bundles.store.write_atomic", full)
    assert opened(configured(tmp_path)) == "tiny 1.1"
    assert store.state().active == two[1], "nothing could be written"
