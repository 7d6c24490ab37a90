"""How messages travel: everything of OpenCrust that touches NATS, and the only package that imports its client.

Read in this order:

* ``subjects``    the names, as templates and builders
* ``grants``      what an identity may do, and which NATS rights that comes to
* ``registry``    the one table: streams, buckets, durables, channels, identities
* ``conf``        nats.conf, generated from it
* ``topology``    the server's streams and durables, made to follow it (provisioner)
* ``connection``  :class:`Bus`: publish, request, subscribe; typed errors at once
* ``reader``      reading stored messages back; ``kv``: keys with compare-and-set; ``consumer``: pulling from a durable
* ``lease``       who works on a conversation; ``drain``: in order, answered once, fenced
* ``health``      answering PING, INFO and STATS
"""

from opencrust.bus.connection import Bus, Subscription
from opencrust.bus.consumer import Consumer, Delivery
from opencrust.bus.errors import (
    ApiError,
    BusError,
    Denied,
    Disconnected,
    KeyExists,
    NoResponders,
    NotFound,
    PayloadTooLarge,
    StreamFull,
    Timeout,
    WrongRevision,
)
from opencrust.bus.kv import Entry, KeyValue
from opencrust.bus.message import Message, Stored, StoredMessage
from opencrust.bus.reader import StreamReader

__all__ = [
    "ApiError",
    "Bus",
    "BusError",
    "Consumer",
    "Delivery",
    "Denied",
    "Disconnected",
    "Entry",
    "KeyExists",
    "KeyValue",
    "Message",
    "NoResponders",
    "NotFound",
    "PayloadTooLarge",
    "Stored",
    "StoredMessage",
    "StreamFull",
    "StreamReader",
    "Subscription",
    "Timeout",
    "WrongRevision",
]
