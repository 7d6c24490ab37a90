"""The log of the HTTP server beneath us. What cannot be parsed was written by strangers, and may hold a credential.

aiohttp logs a malformed request with the line that it could not read, ``Authorization`` among them, and a traceback: a
secret in the log, and a way for anybody to fill it. Nothing of that is our fault, so nothing is logged.
"""

import logging

from aiohttp.http_exceptions import HttpProcessingError


def server_logger() -> logging.Logger:
    """For ``AppRunner(…, logger=…)``: without what malformed requests leave."""
    logger = logging.getLogger("aiohttp.server")
    logger.addFilter(_ours)  # the same function again changes nothing
    return logger


def _ours(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, (HttpProcessingError, ConnectionError))
