"""The sidecars of engines and cubins: no byte of the code is handed out that its sidecar does not stand for."""

from __future__ import annotations

import json
from pathlib import Path

from edge.engines.cubins import read_cubin
from edge.engines.store import check_engine, read_engine, sidecar_path
from tests.edge.engines.test_cubins import CODE, ORIN, SOURCE, write_cubin
from tests.edge.engines.test_engines import ORIN as TARGET
from tests.edge.engines.test_engines import PLAN, WANTED, write_engine
from tests.fuzz.target import Target
from tests.fuzz.targets.bundles import JSON_TOKENS


def _with_indent(document: bytes) -> bytes:
    return json.dumps(json.loads(document), indent=2).encode()


class EngineSidecar(Target):
    """Bytes of the JSON file beside an engine."""

    tokens = (*JSON_TOKENS, b'"colorizer"', b'"context"', b'"int8"', b"8.7", b'"onnx"')

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._engine = write_engine(folder)
        self._sidecar = sidecar_path(self._engine)
        self._good = self._sidecar.read_bytes()

    def seeds(self) -> list[bytes]:
        return [self._good, _with_indent(self._good)]

    def feed(self, data: bytes) -> None:
        self._sidecar.write_bytes(data)
        sidecar = check_engine(self._engine, WANTED)
        assert (sidecar.engine_bytes, sidecar.target) == (len(PLAN), TARGET)
        assert read_engine(self._engine, TARGET) == PLAN
        assert type(sidecar).model_validate_json(sidecar.model_dump_json(by_alias=True)) == sidecar


class CubinSidecar(Target):
    """Bytes of the JSON file beside a cubin."""

    tokens = (*JSON_TOKENS, b"8.7", b"12.6", b'"source"')

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._sidecar = sidecar_path(write_cubin(folder))
        self._good = self._sidecar.read_bytes()

    def seeds(self) -> list[bytes]:
        return [self._good, _with_indent(self._good)]

    def feed(self, data: bytes) -> None:
        self._sidecar.write_bytes(data)
        assert read_cubin(self.folder, SOURCE, ORIN) == CODE
