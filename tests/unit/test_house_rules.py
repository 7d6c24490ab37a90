"""The rules of the house (CONTRIBUTING.md), held over the source tree by reading its imports.

Each rule is a function from a tree of files to findings, and each is also shown a tree that breaks it: a rule that
cannot fail would be worse than none.
"""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = sorted(p.name for p in (ROOT / "services").iterdir() if (p / "pyproject.toml").exists())
Rule = Callable[[Path], list[str]]


def sources(root: Path) -> Iterator[tuple[str, Path]]:
    """Every module of the product: its package (``opencrust``, ``opencrust_agent`` …) and its file."""
    for top in (root / "shared", root / "cli", *sorted((root / "services").glob("*"))):
        for package in sorted(top.glob("opencrust*")):
            if package.is_dir() and not package.name.endswith(".egg-info"):
                for file in sorted(package.rglob("*.py")):
                    yield package.name, file


def module_of(root: Path, package: str, file: Path) -> str:
    parts = list(file.relative_to(root).with_suffix("").parts)
    return ".".join(parts[parts.index(package) :]).removesuffix(".__init__")


def imports(file: Path, module: str) -> set[str]:
    """Full names of what a file imports, also inside functions and under TYPE_CHECKING, also relative."""
    found: set[str] = set()
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
                found.add(str(node.args[0].value))
    return found


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def _findings(root: Path, wrong: Callable[[str, str, str], bool]) -> list[str]:
    """``wrong(package, module, imported)`` over the tree."""
    return sorted(
        f"{module_of(root, package, file)} imports {name}"
        for package, file in sources(root)
        for name in imports(file, module_of(root, package, file))
        if wrong(package, module_of(root, package, file), name)
    )


def no_service_imports_another(root: Path) -> list[str]:
    def wrong(package: str, module: str, name: str) -> bool:
        top = name.split(".")[0]
        return top.startswith("opencrust_") and top != package and package not in ("opencrust", "opencrust_cli")

    return _findings(root, wrong)


def the_core_imports_no_service(root: Path) -> list[str]:
    return _findings(root, lambda package, _, name: package == "opencrust" and name.startswith("opencrust_"))


def only_the_bus_imports_nats(root: Path) -> list[str]:
    return _findings(root, lambda _, module, name: _within(name, "nats") and not _within(module, "opencrust.bus"))


def one_module_imports_hvac(root: Path) -> list[str]:
    found = _findings(root, lambda _, __, name: _within(name, "hvac"))
    modules = {line.split(" ")[0] for line in found}
    outside = [line for line in found if not line.startswith("opencrust_vault.")]
    return outside or (found if len(modules) > 1 else [])


def only_the_plugin_worker_imports_wasmtime(root: Path) -> list[str]:
    found = _findings(root, lambda _, __, name: _within(name, "wasmtime"))
    return found if len({line.split(" ")[0] for line in found}) > 1 else []


def only_the_vault_opens_the_vault_file(root: Path) -> list[str]:
    """Only the vault's package works on the file (the `opencrust vault` command does through that package); nobody else
    even knows its name."""
    found = _findings(
        root,
        lambda package, module, name: (
            _within(name, "opencrust_vault")
            and package != "opencrust_vault"
            and not module.startswith("opencrust_cli.vault")
        ),
    )
    for package, file in sources(root):
        if package != "opencrust_vault":
            names = [n.value for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Constant)]
            found += [f"{module_of(root, package, file)} names {n}" for n in names if n == "vault.db"]
    return found


def heavy_imports_are_lazy(root: Path) -> list[str]:
    """The exporter, hvac and the demo model are never imported when a module is: the preloaded parent has them all."""
    heavy = ("hvac", "opentelemetry.sdk", "opentelemetry.exporter", "google.protobuf", "requests", "xllamacpp")
    rooms = ("opencrust.telemetry.gate", "opencrust_vault.openbao")  # heavy themselves: only imported inside functions
    found = []
    for package, file in sources(root):
        module = module_of(root, package, file)
        for node in _at_import_time(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{name}" for name in names)]
            found += [
                f"{module} imports {name} at import time"
                for name in names
                if any(_within(name, h) for h in (*heavy, *rooms)) and module not in rooms and ".demo" not in module
            ]
    return found


def _at_import_time(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _at_import_time(node)


RULES: list[tuple[Rule, str, str]] = [
    # rule, a file that breaks it, its text
    (no_service_imports_another, "services/agent/opencrust_agent/x.py", "from opencrust_vault.store import FileStore"),
    (no_service_imports_another, "services/agent/opencrust_agent/x.py", "def f():\n    import opencrust_gateway"),
    (
        no_service_imports_another,
        "services/agent/opencrust_agent/x.py",
        "import importlib\nimportlib.import_module('opencrust_dlq')",
    ),
    (the_core_imports_no_service, "shared/opencrust/service.py", "import opencrust_agent.turn"),
    (only_the_bus_imports_nats, "services/agent/opencrust_agent/x.py", "from nats.aio.client import Client"),
    (only_the_bus_imports_nats, "shared/opencrust/service.py", "import nats"),
    (one_module_imports_hvac, "shared/opencrust/credentials/x.py", "import hvac"),
    (
        only_the_plugin_worker_imports_wasmtime,
        "services/agent/opencrust_agent/x.py",
        "import wasmtime\n",
    ),
    (only_the_vault_opens_the_vault_file, "cli/opencrust_cli/x.py", "from opencrust_vault.store import FileStore"),
    (
        only_the_vault_opens_the_vault_file,
        "cli/opencrust_cli/x.py",
        "from pathlib import Path\nPath('vault.db').open()",
    ),
    (heavy_imports_are_lazy, "shared/opencrust/x.py", "from opentelemetry.sdk.trace import TracerProvider"),
    (heavy_imports_are_lazy, "services/vault/opencrust_vault/x.py", "from opencrust_vault import openbao"),
    (heavy_imports_are_lazy, "services/vault/opencrust_vault/x.py", "try:\n    import hvac\nexcept ImportError: pass"),
]


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _, _ in RULES), ids=lambda rule: rule.__name__)
def test_the_house_keeps(rule: Rule) -> None:
    assert rule(ROOT) == []


@pytest.mark.parametrize(("rule", "name", "text"), RULES)
def test_a_break_is_found(rule: Rule, name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    file = tmp_path / name
    file.parent.mkdir(parents=True)
    (file.parent / "__init__.py").touch()
    file.write_text(text)
    if rule is only_the_plugin_worker_imports_wasmtime:
        file.with_name("y.py").write_text(text)
    found = rule(tmp_path)
    assert found
    assert file.stem in found[0] or "opencrust_cli" in found[0]


def test_relative_imports_are_resolved(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("from ..bus import nats_thing\nfrom . import y\n")
    assert imports(file, "opencrust.access.x") >= {"opencrust.bus", "opencrust.bus.nats_thing", "opencrust.access.y"}


def test_every_service_has_what_a_newcomer_looks_for() -> None:
    missing = [
        f"services/{name}/{needed}"
        for name in SERVICES
        for needed in ("pyproject.toml", "README.md", f"opencrust_{name.replace('-', '_')}/__init__.py")
        if not (ROOT / "services" / name / needed).exists()
    ]
    assert missing == []


def test_every_package_says_what_it_is() -> None:
    silent = [
        str(file.relative_to(ROOT))
        for _, file in sources(ROOT)
        if file.name == "__init__.py" and file.stat().st_size and not ast.get_docstring(ast.parse(file.read_text()))
    ]
    assert silent == []


def _committed() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:  # a release archive
        pytest.skip("not a git checkout: there is no list of committed files")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def _forbidden_texts() -> list[str]:
    """Hosts of the public registries, put together so that this file does not name them, and whatever host this
    machine's own pip and uv are configured for."""
    hosts = [
        "py" + "pi.org",
        "files.python" + "hosted.org",
        "registry.npm" + "js.org",
        "deb.deb" + "ian.org",
        "/work/" + "main",
        "/work/" + "shared",
    ]
    for file in ("/etc/pip.conf", "/etc/xdg/pip/pip.conf", "~/.config/pip/pip.conf", "~/.pip/pip.conf"):
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(Path(file).expanduser())
        for section in parser.sections():
            for key in ("index-url", "extra-index-url", "find-links"):
                for url in parser.get(section, key, fallback="").split():
                    host = urlsplit(url).hostname
                    if host and host not in ("localhost", "127.0.0.1"):
                        hosts.append(host)
    return hosts


def test_no_committed_file_names_a_registry_or_a_folder_of_the_machine_it_was_made_on() -> None:
    pattern = re.compile("|".join(re.escape(text) for text in _forbidden_texts()).encode())
    named = []
    for path in _committed():
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if found := pattern.search(line):
                named.append(f"{path.relative_to(ROOT)}:{number}: {found.group().decode()}")
    assert named == []


def test_no_committed_file_holds_a_private_key_or_a_lock_that_names_hosts() -> None:
    names = {path.name for path in _committed()}
    assert not names & {"uv.lock", "poetry.lock", "package-lock.json", "key.pem", "current.pem", ".env"}
