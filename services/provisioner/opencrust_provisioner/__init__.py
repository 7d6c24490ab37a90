"""The provisioner: makes the house ready, and is the only one with the keys to do so.

It holds the local authority's key and the only bus identity that may make streams and consumers. Two steps, each
idempotent, each safe to run again at any time:

* ``prepare`` (no bus needed): certificates for every service, ``nats.conf`` from the registry, checked by nats-server
* ``apply`` (bus runs): streams, buckets and durables as the registry says; the person's configuration into KV ``cfg``

``rotate`` replaces the authority itself in three steps, with a ``prepare`` and an ``apply --reload`` after each.
Whoever runs the house repeats them, since certificates are renewed at half of their life: the supervisor behind
``opencrust up``, and ``deploy/provision.py`` in compose.
"""
