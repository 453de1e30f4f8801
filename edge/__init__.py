"""The field service: camera in, detections (MQTT) and colour video (RTSP) out."""

import os

# Before anything imports onnxruntime: what a camera sees and runs is nobody's business.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
