"""Making the server's streams, buckets and durables what the registry says. For the provisioner alone.

Idempotent: running it again changes nothing, or updates limits in place without touching what is stored.
"""

import logging
from dataclasses import dataclass, fields
from typing import Any

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext, api

from opencrust.bus import errors
from opencrust.bus.connection import Bus
from opencrust.bus.registry import BUCKETS, DURABLES, STREAMS, Bucket, Durable, Stream

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Applied:
    """What one run did."""

    created: list[str]
    updated: list[str]


async def apply(bus: Bus, *, replicas: int = 1, max_bytes: dict[str, int] | None = None) -> Applied:
    """Create what is missing and update what differs.

    Args:
        replicas: copies of each stream; more than one needs a cluster.
        max_bytes: other sizes than the registry's, by stream name, from the person's configuration.

    Raises:
        BusError: the server refused, naming what.
    """
    manager = bus.jetstream_manager()
    done = Applied([], [])
    sizes = max_bytes or {}
    unknown = sizes.keys() - {s.name for s in STREAMS} - {b.stream for b in BUCKETS}
    if unknown:
        raise ValueError(f"no such stream to size: {', '.join(sorted(unknown))}")
    for config in (*map(_stream, STREAMS), *map(_bucket, BUCKETS)):
        config.num_replicas = replicas
        config.max_bytes = sizes.get(config.name or "", config.max_bytes)
        await _ensure_stream(manager, config, done)
    for durable in DURABLES:
        await _ensure_durable(manager, durable, done)
    return done


async def _ensure_stream(manager: JetStreamContext, wanted: api.StreamConfig, done: Applied) -> None:
    try:
        try:
            current = (await manager.stream_info(str(wanted.name))).config
        except nats.js.errors.NotFoundError:
            await manager.add_stream(wanted)
            done.created.append(str(wanted.name))
            return
        if _differs(current, wanted):
            await manager.update_stream(wanted)
            done.updated.append(str(wanted.name))
    except nats.js.errors.ServiceUnavailableError:
        raise errors.Timeout(f"stream {wanted.name}: JetStream is not there now") from None
    except nats.js.errors.APIError as error:
        raise errors.ApiError(error.err_code or 0, f"stream {wanted.name}: {error.description}") from None
    except nats.errors.Error as error:
        raise errors.Timeout(f"stream {wanted.name}: {error}") from None


async def _ensure_durable(manager: JetStreamContext, durable: Durable, done: Applied) -> None:
    wanted = _durable(durable)
    try:
        try:
            current = (await manager.consumer_info(durable.stream, durable.name)).config
        except nats.js.errors.NotFoundError:
            await manager.add_consumer(durable.stream, wanted)
            done.created.append(f"{durable.stream}/{durable.name}")
            return
        if _differs(current, wanted):
            await manager.add_consumer(durable.stream, wanted)  # create with the same name updates
            done.updated.append(f"{durable.stream}/{durable.name}")
    except nats.js.errors.ServiceUnavailableError:
        raise errors.Timeout(f"consumer {durable.name}: JetStream is not there now") from None
    except nats.js.errors.APIError as error:
        name = f"consumer {durable.stream}/{durable.name}"
        raise errors.ApiError(error.err_code or 0, f"{name}: {error.description}") from None
    except nats.errors.Error as error:
        raise errors.Timeout(f"consumer {durable.name}: {error}") from None


def _differs(current: Any, wanted: Any) -> bool:
    """Whether a field that we set reads otherwise on the server; fields left to the server do not count."""
    return any(
        getattr(wanted, f.name) is not None and getattr(current, f.name) != getattr(wanted, f.name)
        for f in fields(wanted)
    )


def _stream(stream: Stream) -> api.StreamConfig:
    return api.StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects) or None,
        sources=_sources(stream.copies),
        retention=api.RetentionPolicy.WORK_QUEUE if stream.work_queue else api.RetentionPolicy.LIMITS,
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.NEW if stream.discard_new else api.DiscardPolicy.OLD,
        max_bytes=stream.max_bytes,
        max_msgs_per_subject=1 if stream.latest_only else -1,
        max_age=stream.max_age,
        duplicate_window=stream.duplicate_window,
        allow_direct=True,
        deny_delete=stream.permanent,
        deny_purge=stream.permanent,
        republish=_republish(stream.republish),
    )


def _sources(copies: tuple[str, str] | None) -> list[api.StreamSource] | None:
    return None if copies is None else [api.StreamSource(copies[0], filter_subject=copies[1])]


def _bucket(bucket: Bucket) -> api.StreamConfig:
    return api.StreamConfig(
        name=bucket.stream,
        subjects=[f"$KV.{bucket.name}.>"],
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.OLD if bucket.evict_oldest else api.DiscardPolicy.NEW,
        max_bytes=bucket.max_bytes,
        max_msgs_per_subject=bucket.history,
        allow_direct=True,
        allow_msg_ttl=True,
        allow_rollup_hdrs=True,
        duplicate_window=120.0,
        deny_delete=True,
        republish=_republish(bucket.republish),
    )


def _republish(pair: tuple[str, str] | None) -> api.RePublish | None:
    return None if pair is None else api.RePublish(src=pair[0], dest=pair[1])


def _durable(durable: Durable) -> api.ConsumerConfig:
    return api.ConsumerConfig(
        durable_name=durable.name,
        filter_subject=durable.filter_subject,
        ack_policy=api.AckPolicy.EXPLICIT,
        ack_wait=durable.ack_wait,
        max_deliver=durable.max_deliver,
        max_ack_pending=durable.max_ack_pending,
        max_waiting=4096,
    )
