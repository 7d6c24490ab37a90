"""Subject builders, wildcards and templates."""

import pytest

from opencrust.bus import subjects


def test_builders_fill_their_templates() -> None:
    assert subjects.msg_in("web", "abc") == "msg.in.web.abc"
    assert subjects.vault_req("channel-telegram", "get") == "vault.req.channel-telegram.get"
    assert subjects.last_token("msg.in.web.abc") == "abc"


@pytest.mark.parametrize("token", ["", "a.b", "a b", "*", ">", "a\r\nPUB x", "ü"])
def test_a_token_cannot_change_the_subject(token: str) -> None:
    with pytest.raises(ValueError, match="one subject token"):
        subjects.msg_in("web", token)


def test_wildcards() -> None:
    assert subjects.wildcard(subjects.MSG_IN) == "msg.in.*.*"
    assert subjects.wildcard(subjects.MSG_IN, channel="web") == "msg.in.web.*"
    assert subjects.wildcard(subjects.EVT_CFG, service="agent") == "evt.cfg.agent.>"


@pytest.mark.parametrize("template", subjects.TEMPLATES)
def test_every_template_is_recognised_from_a_subject(template: str) -> None:
    filled = template.replace("{key+}", "a.b").replace("{", "x").replace("}", "")
    assert subjects.template_of(filled) == template


def test_an_unknown_subject_has_a_name_of_low_cardinality() -> None:
    assert subjects.template_of("$KV.sess.web.abc") == "$KV"
