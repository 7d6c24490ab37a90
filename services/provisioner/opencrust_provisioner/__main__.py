"""``opencrust-provisioner prepare | apply | rotate``."""

import argparse
import asyncio
import json
import logging
import os
import sys
from pathlib import Path

from opencrust import telemetry
from opencrust.bus import BusError
from opencrust.identity import IdentityError
from opencrust.identity.issuance import Issuer
from opencrust_provisioner.apply import apply
from opencrust_provisioner.prepare import PrepareError, prepare, server_settings

log = logging.getLogger(__name__)

ROTATION = (
    "begin: both authorities are trusted · switch: the new one signs · finish: the old one is forgotten · "
    "status: where it stands. After each, run `prepare` and `apply --reload`, and give services 10 s to follow"
)


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 done · 1 failed, the reason is on stderr · 2 usage."""
    options = _parser().parse_args(arguments)
    telemetry.configure("provisioner", log_level=os.environ.get("OPENCRUST_LOG_LEVEL", "info"))
    try:
        match options.command:
            case "prepare":
                print(json.dumps(_prepare(options)))  # noqa: T201 - for the supervisor
            case "apply":
                print(json.dumps(asyncio.run(_apply(options))))  # noqa: T201
            case "rotate":
                print(json.dumps(_rotate(options)))  # noqa: T201
    except (PrepareError, IdentityError, BusError, ValueError) as error:
        log.error("%s", error)
        return 1
    return 0


def _prepare(options: argparse.Namespace) -> dict[str, object]:
    server = server_settings(options.home, options.listen or f"127.0.0.1:{options.port_bus}")
    done = prepare(options.home, server, hostnames=options.hostname)
    return {"issued": list(done.identities), "configuration": done.configuration, "reload": done.server_must_reload}


async def _apply(options: argparse.Namespace) -> dict[str, object]:
    url = options.bus_url or f"tls://127.0.0.1:{options.port_bus}"
    done = await apply(options.home, url, reload=options.reload, replicas=options.replicas, timeout=options.timeout)
    return {"created": done.created, "updated": done.updated, "published": done.published}


def _rotate(options: argparse.Namespace) -> dict[str, object]:
    """The next step of a rotation of the authority, or the one asked for; follow it with prepare and apply --reload."""
    issuer = Issuer(options.home, hostnames=options.hostname)
    match options.step:
        case "begin":
            issuer.begin_rotation()
        case "switch":
            issuer.switch_authority()
        case "finish":
            issuer.finish_rotation()
    return {"rotation": str(issuer.rotation)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="opencrust-provisioner", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("prepare", "make certificates and nats.conf; the bus need not run"),
        ("apply", "make streams and durables, publish the configuration; waits for the bus"),
        ("rotate", "replace the local authority, step by step, while everything runs"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--home", type=Path, required=True, help="OPENCRUST_HOME")
        command.add_argument("--port-bus", type=int, default=4222, help="port of the bus on 127.0.0.1 (default 4222)")
        if name == "prepare":
            command.add_argument("--listen", help="host:port that nats-server listens on, instead of 127.0.0.1")
        if name != "apply":
            command.add_argument("--hostname", action="append", default=[], help="further name of the bus; repeatable")
        if name == "apply":
            command.add_argument("--bus-url", help="instead of tls://127.0.0.1:<port-bus>")
            command.add_argument("--reload", action="store_true", help="have the server read its configuration anew")
            command.add_argument("--replicas", type=int, default=1, help="copies of each stream (a cluster: 3)")
            command.add_argument("--timeout", type=float, default=30.0, help="seconds to wait for the bus (default 30)")
        if name == "rotate":
            command.add_argument("step", choices=("begin", "switch", "finish", "status"), help=ROTATION)
    return parser


if __name__ == "__main__":
    sys.exit(main())
