import json

import pytest

from opencrust.credentials.references import find_plain_secrets, referenced, with_references

CONFIG = """{
  "providers": [
    {"name": "home", "kind": "ollama", "model": "llama3.2"},
    {"name": "openai", "kind": "openai", "model": "gpt-5",
     "credential": "sk-proj-abcdefghijklmnopqrstuvwxyz012345"},
    {"name": "lab", "credential": "vault:provider.lab.api_key"}
  ],
  "channels": {"telegram": {"bot_token": "123456789:AAFq9-kxZr0v3LxTq1wPzN5uYb7HcJdEsGm"}},
  "note": "call me at sk-ant-REDACTED-0123456789abcdef or later",
  "agent": {"max_tokens": 5, "password": "", "instructions": "You are helpful."}
}"""


def test_it_names_line_place_and_a_good_name() -> None:
    assert [(found.line, found.path, found.suggestion) for found in find_plain_secrets(CONFIG)] == [
        (5, ("providers", 1, "credential"), "provider.openai.api_key"),
        (8, ("channels", "telegram", "bot_token"), "channels.telegram.bot_token"),
        (9, ("note",), "note"),
    ]


def test_replacing_leaves_references_and_returns_the_values() -> None:
    found = find_plain_secrets(CONFIG)
    text, values = with_references(CONFIG, {item.path: item.suggestion for item in found})
    assert find_plain_secrets(text) == []
    content = json.loads(text)
    assert content["providers"][1]["credential"] == "vault:provider.openai.api_key"
    assert content["providers"][0] == json.loads(CONFIG)["providers"][0]
    assert values["channels.telegram.bot_token"] == b"123456789:AAFq9-kxZr0v3LxTq1wPzN5uYb7HcJdEsGm"
    assert not [value for value in values.values() if value.decode() in text]


def test_two_secrets_never_share_a_name() -> None:
    text = json.dumps({"a b": {"token": "x1"}, "a?b": {"token": "x2"}})
    names = [item.suggestion for item in find_plain_secrets(text)]
    assert len(set(names)) == 2


@pytest.mark.parametrize(
    "text", ["vault:", "vault:A", "Vault:a", "vault:a/b", "vault:a b", "xvault:a", "vault:" + "a" * 97]
)
def test_what_is_no_reference(text: str) -> None:
    assert referenced(text) is None
    assert referenced("vault:a.b-c_d") == "a.b-c_d"


def test_an_error_does_not_repeat_the_text() -> None:
    with pytest.raises(ValueError, match="not JSON") as caught:
        find_plain_secrets('{"token": "canary')
    assert "canary" not in str(caught.value)
    assert caught.value.__suppress_context__
