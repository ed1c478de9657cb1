"""Sinks that speak the protocols of the services that Alertmanager notifies.

Each is a real server in a thread, usable as a context manager in a test and as a program of its own
(``python -m tests.emulators.slack --listen 127.0.0.1:8080 --log slack.jsonl``). Each keeps what it accepted and what it
refused, in memory and, when asked, as JSON lines.

``grafana`` is another thing: a stand-in for the whole program, see there. ``uptimerobot`` and ``sentry`` stand in for
the API of a service.
"""
