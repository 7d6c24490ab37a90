"""Who is who: the local authority, 24-hour certificates, and TLS that follows their renewal.

* `names`     the SPIFFE name in a certificate
* `files`     private files, written whole or not at all
* `ca`        the authority that signs
* `issuance`  the provisioner's part: supply every service's directory, rotate the authority
* `context`   strict TLS 1.3 contexts, one of which follows its files
* `leaf`      a service's part: `Identity`, its certificate and key as they are now

A service needs `Identity` alone::

    identity = Identity(settings.identity_dir)
    bus = await Bus.connect(url, identity)      # uses identity.client_context()
"""

from .leaf import Credentials, Identity, needs_renewal
from .names import BUS_HOSTNAME, TRUST_DOMAIN, IdentityError, check_service, service_of, spiffe_id

__all__ = [
    "BUS_HOSTNAME",
    "TRUST_DOMAIN",
    "Credentials",
    "Identity",
    "IdentityError",
    "check_service",
    "needs_renewal",
    "service_of",
    "spiffe_id",
]
