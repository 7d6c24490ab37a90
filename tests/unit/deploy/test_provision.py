from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def provision() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deploy_provision", ROOT / "deploy" / "provision.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("bus", "agent", "vault"):
        directory = tmp_path / "home" / "identity" / name
        directory.mkdir(parents=True)
        for file in ("cert.pem", "key.pem", "ca.pem"):
            (directory / file).write_text(f"{name} {file}")
            (directory / file).chmod(0o600)
    (tmp_path / "home" / "bus").mkdir()
    (tmp_path / "home" / "bus" / "nats.conf").write_text("listen")
    return tmp_path / "home"


def test_hands_each_identity_to_the_folder_of_its_name_alone(provision: ModuleType, home: Path, tmp_path: Path) -> None:
    deliver = tmp_path / "deliver"
    for name in ("bus", "agent"):
        (deliver / name).mkdir(parents=True)
    assert provision.hand_over(home, deliver) == ["agent", "bus"]
    assert sorted(p.name for p in (deliver / "agent").iterdir()) == ["ca.pem", "cert.pem", "key.pem"]
    assert (deliver / "agent" / "key.pem").read_text() == "agent key.pem"
    assert (deliver / "bus" / "nats.conf").read_text() == "listen"
    assert not (deliver / "vault").exists()
    assert {p.stat().st_mode & 0o777 for p in deliver.rglob("*.pem")} == {0o640}


def test_copies_only_what_changed_and_leaves_nothing_behind(provision: ModuleType, home: Path, tmp_path: Path) -> None:
    deliver = tmp_path / "deliver"
    (deliver / "agent").mkdir(parents=True)
    (deliver / "bus").mkdir()
    provision.hand_over(home, deliver)
    assert provision.hand_over(home, deliver) == []
    (home / "identity" / "agent" / "cert.pem").write_text("renewed")
    (deliver / "agent" / ".cert.pem.new").write_text("left over from a crash")
    assert provision.hand_over(home, deliver) == ["agent"]
    assert (deliver / "agent" / "cert.pem").read_text() == "renewed"
    assert not [p for p in deliver.rglob(".*")]


def test_does_not_follow_a_link_out_of_the_volume(provision: ModuleType, home: Path, tmp_path: Path) -> None:
    deliver, outside = tmp_path / "deliver", tmp_path / "outside"
    (deliver / "agent").mkdir(parents=True)
    outside.write_text("mine")
    (deliver / "agent" / "key.pem").symlink_to(outside)
    provision.hand_over(home, deliver)
    assert outside.read_text() == "mine"
    assert not (deliver / "agent" / "key.pem").is_symlink()
