"""`python -m edge.tools.doctor.gpu`: what there is to run engines, as one JSON object. It may end in a crash."""

from __future__ import annotations

import json
from dataclasses import asdict

from edge.errors import TapetumError
from edge.inference.cuda import Gpu, need_gpu
from edge.inference.tensorrt import TensorRtError, load_tensorrt, tensorrt_logger, tensorrt_version


def main() -> None:
    gpu: Gpu | None = None
    version: str | None = None
    trouble = ""
    try:
        gpu = need_gpu()
        version = tensorrt_version()
        if load_tensorrt().Runtime(tensorrt_logger()) is None:
            raise TensorRtError(f"TensorRT {version} does not work with this driver: install both from one JetPack")
    except TapetumError as error:
        trouble = str(error)
    print(json.dumps({"gpu": asdict(gpu) if gpu else None, "tensorrt": version, "trouble": trouble}))


if __name__ == "__main__":
    main()
