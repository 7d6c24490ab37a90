"""What was seen: spans over NATS, structured logs, one redaction point.

One message is one trace, from the platform's event to the platform's receipt, across every service it passes.
Each service calls :func:`configure` once, **after the fork**, inside its ``run``::

    telemetry = configure("agent", settings.otlp_endpoint, log_level=settings.log_level)
    try:
        ...
    finally:
        telemetry.shutdown()

and then says what it does with the context managers of :mod:`opencrust.telemetry.spans` and the ordinary
:mod:`logging` module. Without an endpoint no exporter is imported and no thread runs, but trace ids are still made
and carried in the ``traceparent`` header, so that the logs of all services name one message by one id.

The rooms:

* ``semconv``     the attribute names, as our own constants, and the allow-list made of them
* ``spans``       ``producer``, ``process``, ``client`` …: one context manager for each step of a message
* ``genai``       ``invoke_agent``, ``chat``, ``execute_tool``
* ``propagation`` ``traceparent`` in and out of plain headers; never baggage
* ``gate``        the last gate before the wire: attributes that are not on the allow-list are dropped
* ``redaction``   the one place that knows what a secret looks like
* ``logs``        JSON lines for machines, short lines for people
* ``wiring``      puts them together for one process

No content of a message is ever an attribute or part of a log line by default.
"""

from opencrust.telemetry.redaction import Redactor
from opencrust.telemetry.spans import client, internal, process, producer, server
from opencrust.telemetry.wiring import Telemetry, configure

__all__ = ["Redactor", "Telemetry", "client", "configure", "internal", "process", "producer", "server"]
