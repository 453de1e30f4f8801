"""The field service: camera in, detections (MQTT) and colour video (RTSP) out."""

__version__ = "0.1.0"
