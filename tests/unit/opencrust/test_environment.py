import pytest

from opencrust.environment import unlock_key_in


@pytest.mark.parametrize(
    "name",
    ["OPENCRUST_VAULT_KEY", "opencrust_vault_passphrase", "OPENCRUST_UNLOCK_PASSWORD", "OPENCRUST_RECOVERY_SECRET"],
)
def test_keys_are_found(name: str) -> None:
    assert unlock_key_in({"PATH": "/bin", name: "swordfish"}) == name


def test_files_and_other_programs_variables_are_not_taken_for_keys() -> None:
    assert (
        unlock_key_in({"OPENCRUST_VAULT_KEY_FILE": "/run/secrets/k", "VAULT_KEY": "x", "OPENAI_API_KEY": "x"}) is None
    )
