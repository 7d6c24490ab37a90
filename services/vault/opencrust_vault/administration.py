"""What a person may do to an open vault. Operations take and return JSON; none returns a value or a key.

The same operations run inside the service (over `admin_socket`) and in the command itself while no service runs. Each
change is on the record before it is reported as done.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Any

from opencrust_vault import audit, policy
from opencrust_vault.document import check_name
from opencrust_vault.errors import BadValue, NotFound
from opencrust_vault.handout import fingerprint_id
from opencrust_vault.inventory import inventory
from opencrust_vault.leases import Leases
from opencrust_vault.opening import OpenVault, read_head
from opencrust_vault.policy import Policy
from opencrust_vault.slots import KeyFile, Passphrase, RecoveryKey, UnlockKey, check_passphrase

Changed = Callable[[list[str], set[str]], Awaitable[None]]
"""Called after a change with the secrets' names and the services that should know."""
JSON = dict[str, Any]
MAX_TAIL = 1000


async def nobody_listens(names: list[str], services: set[str]) -> None:
    """The `Changed` of a vault that no service uses at the moment."""


class Administration:
    """The operations, by name: `await perform("set", {...})`."""

    def __init__(
        self,
        vault: OpenVault,
        *,
        leases: Leases | None = None,
        changed: Changed = nobody_listens,
        policy_changed: Callable[[Policy], None] = lambda fresh: None,
        now: Callable[[], float] | None = None,
    ) -> None:
        self._vault = vault
        self._leases = leases if leases is not None else Leases()
        self._changed = changed
        self._policy_changed = policy_changed
        self._now = now or vault.audit._now
        self._operations: dict[str, Callable[[JSON], Awaitable[JSON]]] = {
            "status": self._status,
            "set": self._set,
            "import": self._import,
            "list": self._list,
            "get-info": self._get_info,
            "destroy": self._destroy,
            "policy": self._policy,
            "why": self._why,
            "grant": self._grant,
            "revoke-grant": self._revoke_grant,
            "revoke-lease": self._revoke_lease,
            "revoke-certificate": self._revoke_certificate,
            "leases": self._list_leases,
            "rekey": self._rekey,
            "rekey-root": self._rekey_root,
            "add-slot": self._add_slot,
            "remove-slot": self._remove_slot,
            "audit": self._audit,
            "audit-verify": self._audit_verify,
        }

    async def perform(self, operation: str, arguments: JSON) -> JSON:
        """Do it.

        Raises:
            VaultError: of a class that says what is wrong.
        """
        handler = self._operations.get(operation)
        if handler is None:
            raise BadValue("this vault does not know that operation; command and service are of different versions")
        return await handler(arguments)

    @property
    def _rules(self) -> Policy:
        return Policy.read(self._vault.store.policy)

    async def _status(self, arguments: JSON) -> JSON:
        store = self._vault.store
        return {
            "vault": store.vault_id,
            "generation": store.generation,
            "secrets": len(await self._vault.backend.names()),
            "slots": {slot_id: slot.kind for slot_id, slot in store.slots.items()},
            "key_memory": store.key_memory,
            "audit_records": self._vault.audit.head.seq,
            "health": await self._vault.backend.health(),
            "locked": False,
        }

    async def _set(self, arguments: JSON) -> JSON:
        name = check_name(arguments.get("name"))
        value = _value(arguments.get("value"))
        must_exist, fresh = arguments.get("must_exist", False), arguments.get("must_be_new", False)
        exists = name in await self._vault.backend.names()
        if must_exist and not exists:
            raise NotFound("there is no such secret to rotate; use `opencrust vault set`")
        if fresh and exists:
            raise BadValue("there is a secret of that name; use `opencrust vault rotate` to replace it")
        version = await self._vault.backend.put(
            name, value, expect=arguments.get("expect"), expires=arguments.get("expires")
        )
        value[:] = bytes(len(value))
        self._vault.audit.append("set", sync=True, name=name, version=version, generation=self._vault.store.generation)
        await self._tell([name])
        return {"name": name, "version": version}

    async def _import(self, arguments: JSON) -> JSON:
        values = {check_name(name): _value(value) for name, value in dict(arguments.get("values", {})).items()}
        versions = {}
        for name, value in values.items():
            versions[name] = await self._vault.backend.put(name, value)
            self._vault.audit.append("set", sync=True, name=name, version=versions[name], note="imported")
        await self._tell(list(values))
        return {"versions": versions}

    async def _list(self, arguments: JSON) -> JSON:
        return {"secrets": await inventory(self._vault.backend, self._rules)}

    async def _get_info(self, arguments: JSON) -> JSON:
        name = check_name(arguments.get("name"))
        info = await self._vault.backend.info(name)
        now = self._now()
        return {
            "name": name,
            "version": info.current,
            "versions": list(info.versions),
            "created": info.created,
            "expires": info.expires,
            "readers": sorted(policy.readers(self._rules, name)),
            "holders": sorted(self._leases.holders(name, now)),
            "fingerprint_id": fingerprint_id(name),
        }

    async def _destroy(self, arguments: JSON) -> JSON:
        name, version = check_name(arguments.get("name")), arguments.get("version")
        await self._vault.backend.destroy(name, version)
        self._vault.audit.append("destroy", sync=True, name=name, version=version)
        await self._tell([name])
        return {"name": name}

    async def _policy(self, arguments: JSON) -> JSON:
        return self._rules.dump()

    async def _why(self, arguments: JSON) -> JSON:
        decision = policy.decide(
            self._rules, str(arguments.get("service")), check_name(arguments.get("name")), str(arguments.get("purpose"))
        )
        return {"granted": decision.grant is not None, "reason": decision.reason}

    async def _grant(self, arguments: JSON) -> JSON:
        grant = policy.make_grant(arguments)
        self._store_policy(self._rules.with_grant(grant))
        self._vault.audit.append(
            "grant",
            sync=True,
            service=grant.service,
            name=grant.secrets,
            purpose=" ".join(grant.purposes),
            ttl=grant.ttl,
            per_minute=grant.per_minute,
        )
        return grant.model_dump(mode="json")

    async def _revoke_grant(self, arguments: JSON) -> JSON:
        service, secrets = str(arguments.get("service")), str(arguments.get("secrets"))
        before = self._rules
        self._store_policy(before.without_grant(service, secrets))
        self._vault.audit.append("revoke-grant", sync=True, service=service, name=secrets)
        lost = [
            lease for lease in self._leases.active(self._now()) if not self._still_granted(lease.service, lease.name)
        ]
        for lease in lost:
            self._leases.revoke(lease.id)
        for lease in lost:
            await self._changed([lease.name], {lease.service})
        return {"dropped_leases": len(lost)}

    async def _revoke_lease(self, arguments: JSON) -> JSON:
        lease = self._leases.revoke(str(arguments.get("lease")))
        if lease is None:
            raise NotFound("no such lease; `opencrust vault leases` shows them")
        self._vault.audit.append("revoke-lease", sync=True, service=lease.service, name=lease.name, lease=lease.id)
        await self._changed([lease.name], {lease.service})
        return {"service": lease.service, "name": lease.name}

    async def _revoke_certificate(self, arguments: JSON) -> JSON:
        digest = str(arguments.get("certificate")).lower().replace(":", "")
        fresh = self._rules.with_revoked_certificate(digest)
        try:
            Policy.model_validate(fresh.model_dump())
        except ValueError:
            raise BadValue("a certificate is given as the SHA-256 of its DER form, 64 hex digits") from None
        self._store_policy(fresh)
        self._vault.audit.append("revoke-certificate", sync=True, certificate=digest)
        return {"certificate": digest}

    async def _list_leases(self, arguments: JSON) -> JSON:
        return {
            "leases": [
                {
                    "lease": lease.id,
                    "service": lease.service,
                    "name": lease.name,
                    "version": lease.version,
                    "purpose": lease.purpose,
                    "granted": int(lease.granted),
                    "not_after": int(lease.not_after),
                }
                for lease in self._leases.active(self._now())
            ]
        }

    async def _rekey(self, arguments: JSON) -> JSON:
        count = self._vault.store.rotate_kek()
        self._vault.audit.append("rekey", sync=True, resealed=count, generation=self._vault.store.generation)
        return {"resealed": count}

    async def _rekey_root(self, arguments: JSON) -> JSON:
        slots = {check_name(slot_id, "slot"): _unlock_key(slot) for slot_id, slot in dict(arguments["slots"]).items()}
        self._vault.store.rekey_root(slots)
        self._vault.audit.append("rekey-root", sync=True, slots=" ".join(sorted(slots)))
        return {"slots": sorted(slots)}

    async def _add_slot(self, arguments: JSON) -> JSON:
        slot_id, unlock = check_name(arguments.get("slot"), "slot"), _unlock_key(arguments)
        self._vault.store.add_slot(slot_id, unlock)
        self._vault.audit.append("add-slot", sync=True, slot=slot_id, kind=unlock.kind)
        return {"slot": slot_id, "kind": unlock.kind}

    async def _remove_slot(self, arguments: JSON) -> JSON:
        slot_id = check_name(arguments.get("slot"), "slot")
        self._vault.store.remove_slot(slot_id)
        self._vault.audit.append("remove-slot", sync=True, slot=slot_id)
        return {"slot": slot_id}

    async def _audit(self, arguments: JSON) -> JSON:
        limit = arguments.get("limit", 50)
        if type(limit) is not int or not 1 <= limit <= MAX_TAIL:
            raise BadValue(f"between 1 and {MAX_TAIL} records can be shown")
        wanted = {name: arguments[name] for name in ("service", "name", "event") if arguments.get(name)}
        matching = [
            record
            for record in audit.records(self._vault.paths.audit)
            if all(record.get(name) == value for name, value in wanted.items())
        ]
        return {"records": matching[-limit:]}

    async def _audit_verify(self, arguments: JSON) -> JSON:
        head = read_head(self._vault.paths.audit_head)
        given = arguments.get("head")
        if given is not None:
            head = audit.Head(int(given["seq"]), str(given["mac"]))
        findings = audit.verify(self._vault.paths.audit, self._vault.store.subkey("audit"), head)
        return {
            "records": self._vault.audit.head.seq,
            "head": self._vault.audit.head.mac,
            "findings": [{"kind": item.kind, "seq": item.seq, "text": item.text} for item in findings],
        }

    def _store_policy(self, fresh: Policy) -> None:
        self._vault.store.set_policy(fresh.dump())
        self._policy_changed(fresh)

    def _still_granted(self, service: str, name: str) -> bool:
        return any(grant.covers(service, name) for grant in self._rules.grants)

    async def _tell(self, names: list[str]) -> None:
        now = self._now()
        for name in names:
            services = policy.readers(self._rules, name) | self._leases.holders(name, now)
            await self._changed([name], services)


def _value(text: object) -> bytearray:
    if not isinstance(text, str):
        raise BadValue("a value is missing")
    try:
        return bytearray(base64.b64decode(text, validate=True))
    except binascii.Error:
        raise BadValue("a value is malformed") from None


def _unlock_key(content: JSON) -> UnlockKey:
    kind, secret = content.get("kind"), str(content.get("secret", ""))
    if kind == "passphrase":
        check_passphrase(secret)
        return Passphrase(secret)
    if kind == "recovery":
        return RecoveryKey.parse(secret)
    if kind == "key-file":
        return KeyFile(bytes(_value(secret)))
    raise BadValue("a slot is a passphrase, a recovery key or a key file")
