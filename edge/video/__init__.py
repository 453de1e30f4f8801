"""Live video: sources, RTSP server, overlay. Only `gi.py` imports GStreamer."""
