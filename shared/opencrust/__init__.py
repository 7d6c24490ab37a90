"""The core library of OpenCrust: the only thing that a service imports.

A message's way, and the room that owns each step:

* ``contracts``    what is said: envelopes and payloads, versioned, one JSON Schema each
* ``bus``          how it travels: the subject registry, the NATS connection, streams, leases, the ordered drain
* ``identity``     who says it: the local CA, 24-hour leaf certificates, TLS contexts that reload in place
* ``credentials``  what may be known: the vault's client and the type that never shows its value
* ``access``       who may speak: tokens, scopes, login tickets
* ``telemetry``    what was seen: spans over NATS, structured logs, one redaction point
* ``config``       what a person set: settings models and their live reload
* ``service``      one way to start, be healthy, drain and stop
* ``confine``      what a service's process may touch on its host

Nothing here imports a service.
"""

__version__ = "0.1.0"
