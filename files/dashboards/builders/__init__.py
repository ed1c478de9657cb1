"""The dashboards as code: every module but the library describes one, and its `build()` returns it."""
