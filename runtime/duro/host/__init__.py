"""The host: threads, timers and activities around the pure engine, and the ``Runtime`` users hold."""
