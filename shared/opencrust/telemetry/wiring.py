"""Puts logs, spans and the exporter together for one process."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import IO, Final
from urllib.parse import urlsplit

import opencrust
from opencrust.telemetry.logs import configure_logs
from opencrust.telemetry.redaction import Redactor
from opencrust.telemetry.spans import use_tracer

_EXPORT_TIMEOUT: Final = 3.0
_SCHEDULE_MS: Final = 1_000
_SHUTDOWN_TIMEOUT: Final = 2.0


class Telemetry:
    """One process's telemetry. ``redactor`` is the process's one redaction point; ``exporting`` says whether spans
    leave the process."""

    def __init__(self, redactor: Redactor, stop: Callable[[], None] | None) -> None:
        self.redactor = redactor
        self._stop = stop

    @property
    def exporting(self) -> bool:
        return self._stop is not None

    def shutdown(self, timeout: float = _SHUTDOWN_TIMEOUT) -> None:
        """Send what is left, for at most ``timeout`` seconds; a receiver that hangs does not hold up the exit."""
        stop, self._stop = self._stop, None
        if stop is None:
            return
        use_tracer(None)
        sender = threading.Thread(target=stop, name="telemetry-shutdown", daemon=True)
        sender.start()
        sender.join(timeout)


def configure(
    service: str,
    otlp_endpoint: str | None = None,
    *,
    log_level: str = "info",
    stream: IO[str] | None = None,
    human: bool | None = None,
) -> Telemetry:
    """Set up logs and spans of this process. Call it after the fork: with an endpoint it starts a thread.

    Parameters:
        service: the service's name, ``agent``.
        otlp_endpoint: an OTLP/HTTP receiver's base URL, ``http://127.0.0.1:4318`` (``/v1/traces`` is added), or None:
            then nothing is exported, nothing heavy is imported, and trace ids are still made and carried.
        log_level, stream, human: see :func:`opencrust.telemetry.logs.configure_logs`.

    Raises ValueError for an endpoint or level that cannot be used.
    """
    redactor = Redactor()
    url = None if not otlp_endpoint else traces_url(otlp_endpoint)
    configure_logs(service, redactor, level=log_level, stream=stream, human=human)
    if url is None:
        use_tracer(None)
        return Telemetry(redactor, None)
    return Telemetry(redactor, _export(service, url, redactor))


def traces_url(endpoint: str) -> str:
    """The URL to post spans to, from a receiver's base URL. Raises ValueError."""
    parts = urlsplit(endpoint)
    _ = parts.port  # raises ValueError where it is no port
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the OTLP endpoint must be a URL such as http://127.0.0.1:4318")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("the OTLP endpoint must not hold a user, a password, a query or a fragment")
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path if path.endswith('/v1/traces') else path + '/v1/traces'}"


def _export(service: str, url: str, redactor: Redactor) -> Callable[[], None]:
    # 9 MB of protobuf, requests and SDK: only for those who asked for it.
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    from opencrust.telemetry.gate import GateExporter

    # The receiver may be away for hours. The gate says so once a minute; the exporter would for every retry.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    session = requests.Session()
    session.trust_env = False  # no proxy, no .netrc: spans go to the endpoint and nowhere else
    provider = TracerProvider(
        # ALWAYS_ON, not parent-based: a stranger's "not sampled" flag must not hide what happened.
        sampler=ALWAYS_ON,
        resource=Resource(
            {
                "service.name": service,
                "service.namespace": "opencrust",
                "service.version": opencrust.__version__,
                "service.instance.id": f"{service}-{os.getpid()}",
            }
        ),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(
        BatchSpanProcessor(
            GateExporter(
                OTLPSpanExporter(endpoint=url, headers={}, timeout=_EXPORT_TIMEOUT, session=session), redactor
            ),
            max_queue_size=2_048,
            schedule_delay_millis=_SCHEDULE_MS,
            max_export_batch_size=256,
        )
    )
    use_tracer(provider.get_tracer("opencrust", opencrust.__version__))
    return provider.shutdown
