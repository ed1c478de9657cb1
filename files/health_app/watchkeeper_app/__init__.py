"""The health app: truthful health answers, metrics, logs, errors and traces of a service.

Run it as ``python -m watchkeeper_app --config app.yml``. An application of one's own may import the pieces:
``business`` and ``metrics`` for the metrics, ``logs``, ``errors`` and ``tracing`` for the rest.
"""

__version__ = "0.1.0"
