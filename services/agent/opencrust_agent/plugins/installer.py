"""Looking at a plugin before it is one: every check, and the question to the person. Changes nothing but the cache."""

import contextlib
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from opencrust.contracts.plugins import PluginGrant, PluginInspection, PluginRecord, PluginRequest, PluginTool
from opencrust_agent.assess import Assessor, Verdict
from opencrust_agent.plugins import consent, description, manifest, signature
from opencrust_agent.plugins.components import Code, Components
from opencrust_agent.plugins.errors import PluginFault, PluginRefused
from opencrust_agent.plugins.manifest import Manifest
from opencrust_agent.plugins.processes import Processes
from opencrust_agent.plugins.running import Running


@dataclass(frozen=True, slots=True)
class Inspected:
    """A plugin that passed every check."""

    manifest: Manifest
    text: str
    wasm: str
    size: int
    description: str
    signer: str
    tools: list[PluginTool]
    inspection: PluginInspection

    def grant(self, by: str) -> PluginGrant:
        """What is written into the lock once a person said yes."""
        return PluginGrant(
            version=self.manifest.version,
            wasm=self.wasm,
            size=self.size,
            manifest=self.text,
            description=self.description,
            consent=self.inspection.consent,
            signer=self.signer,
            tools=self.tools,
            permissions=self.inspection.sentences,
            by=by,
            at=datetime.now(UTC),
        )


class Installer:
    """Checks components: size, hash, signature, compiling, types, a first run of ``describe``, its content."""

    def __init__(self, components: Components, processes: Processes, assessor: Assessor) -> None:
        self._components = components
        self._processes = processes
        self._assessor = assessor

    async def inspect(self, request: PluginRequest, installed: PluginRecord | None) -> Inspected:
        """Everything there is to know.

        Raises:
            PluginRefused: what is wrong with it.
            PluginFault: this system cannot run plugins.
            BusError: the bus is away.
        """
        wanted = manifest.read(request.manifest)
        if installed is not None and installed.name != wanted.name:
            raise PluginRefused("the record is of another plugin")
        if not request.allow_downgrade:
            self._check_version(wanted, installed)
        signer = signature.signer(request.manifest, request.signature)
        if signer and wanted.sha256 is None:
            raise PluginRefused(
                "plugin.toml is signed and names no sha256: the signature would not cover the component"
            )
        if wanted.sha256 is not None and wanted.sha256 != request.wasm:
            raise PluginRefused("the component is not the one that plugin.toml names: its sha256 differs")
        self._components.look_at(request.wasm)
        size = await self._components.size(request.wasm)
        if wanted.size is not None and wanted.size != size:
            raise PluginRefused(f"the component has {size} bytes; plugin.toml says {wanted.size}")
        said = await self._described(wanted, request.wasm)
        digest = hashlib.sha256(said.encode()).hexdigest()
        if wanted.describe_sha256 is not None and wanted.describe_sha256 != digest:
            raise PluginRefused("what the component says of itself is not what plugin.toml names: describe_sha256")
        tools = description.read(said, wanted)
        self._assess(tools)
        current = None if installed is None else installed.current
        known = current is not None and bool(signer) and current.signer == signer
        sentences = consent.sentences(wanted, tools, signer, known=known)
        return Inspected(
            wanted,
            request.manifest,
            request.wasm,
            size,
            digest,
            signer,
            tools,
            PluginInspection(
                name=wanted.name,
                version=wanted.version,
                installed="" if current is None else current.version,
                sentences=sentences,
                changes=[] if current is None else consent.changes(current, wanted.version, sentences, signer),
                new_signer=current is not None and consent.new_signer(current, signer),
                consent=consent.digest(request.wasm, manifest.digest(request.manifest), digest, signer),
            ),
        )

    @staticmethod
    def _check_version(wanted: Manifest, installed: PluginRecord | None) -> None:
        if installed is not None and consent.older(wanted.version, installed.current.version):
            raise PluginRefused(
                f"version {wanted.version} is older than the installed {installed.current.version}: an old version may "
                f"have holes that are known. To go back, `opencrust plugins rollback {wanted.name}`; to install it all "
                "the same, add --allow-downgrade"
            )

    async def _described(self, wanted: Manifest, wasm: str) -> str:
        running = Running(wanted, None, self._processes, Code(self._components, wasm))
        try:
            return await running.describe()
        except PluginFault as fault:
            if fault.name in ("lock", "stale"):
                raise
            raise PluginRefused(f"its first run failed ({fault})") from None
        finally:
            with contextlib.suppress(PluginFault):
                await running.stop()

    def _assess(self, tools: list[PluginTool]) -> None:
        """A description is read by the model at every turn: one that gives it orders is no description."""
        for tool in tools:
            found = self._assessor.assess(f"{tool.name}\n{tool.description}\n{_words(tool.parameters)}", "plugin")
            if found.verdict in (Verdict.BLOCK, Verdict.REPLACE):
                raise PluginRefused(
                    f"tool {tool.name} describes itself with what reads like orders to the model (score "
                    f"{found.score:.2f}). Tell its author, or do not use it"
                )


def _words(schema: object) -> str:
    if isinstance(schema, dict):
        return " ".join(f"{key.replace('_', ' ')} {_words(value)}" for key, value in schema.items())
    if isinstance(schema, list):
        return " ".join(_words(value) for value in schema)
    return schema if isinstance(schema, str) else ""
