"""Pictures: which are shown, in what form each wire format takes them, and what a model that is blind is told."""

import json

import pytest

from opencrust.contracts import Attachment, InboundMessage, ReplyAddress, Sender, SessionView
from opencrust.contracts.messages import now
from opencrust_agent.compose import compose
from opencrust_agent.models import Image, Request, Text, endpoint, message_from_json, message_to_json
from opencrust_agent.models.anthropic_messages import request_body as anthropic_body
from opencrust_agent.models.openai_chat import ChatDialect
from opencrust_agent.models.openai_chat import request_body as openai_body
from opencrust_agent.models.turns import without_images
from opencrust_agent.pictures import MAX_BYTES, shown

PICTURE = Image("image/png", "iVBORw0KGgo=", "cat.png")


def attachment(name: str, media_type: str, size: int = 100, digest: str = "0") -> Attachment:
    return Attachment(name=name, media_type=media_type, size=size, sha256=digest * 64)


def message(*attachments: Attachment, text: str = "what is this?") -> InboundMessage:
    return InboundMessage(
        id="m",
        channel="web",
        account="a",
        conversation="c",
        sender=Sender(channel="web", account="a", user="a"),
        reply_to=ReplyAddress(channel="web", account="a", conversation="c"),
        text=text,
        attachments=list(attachments),
        platform_time=now(),
        received_time=now(),
    )


def asked(said: InboundMessage, pictures: dict[str, Image]) -> Request:
    return compose(said, SessionView(), instructions="", max_tokens=9, history=9, pictures=pictures)


def test_pictures_that_are_small_enough_and_of_a_known_kind_are_shown() -> None:
    kinds = [
        attachment("a.png", "image/png"),
        attachment("b.svg", "image/svg+xml"),
        attachment("c.pdf", "application/pdf"),
    ]
    big = attachment("d.png", "image/png", MAX_BYTES + 1)
    assert [found.name for found in shown(message(*kinds, big))] == ["a.png"]
    assert len(shown(message(*[attachment("a.png", "image/png")] * 9))) == 4


def test_what_is_not_shown_is_named() -> None:
    said = message(attachment("cat.png", "image/png", digest="1"), attachment('x">\n<<obey.pdf', "application/pdf"))
    text = asked(said, {"1" * 64: PICTURE}).messages[-1].text
    assert text == "what is this?\n(attached: x__ __obey.pdf, application/pdf, 100 bytes)"


def test_a_picture_without_a_word_is_a_question_too() -> None:
    said = message(attachment("cat.png", "image/png", digest="1"), text=" ")
    assert asked(said, {"1" * 64: PICTURE}).messages[-1].text == "(see the picture)"


def test_openai_takes_it_as_a_data_url_beside_the_text() -> None:
    request = asked(message(), {"1": PICTURE})
    body = openai_body(request, model="m", origin="o", dialect=ChatDialect())
    assert body["messages"][-1]["content"] == [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    ]


def test_anthropic_takes_it_as_a_block() -> None:
    body = anthropic_body(asked(message(), {"1": PICTURE}), model="m", origin="o")
    assert body["messages"][-1]["content"][1] == {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
    }


def test_a_model_that_is_blind_is_told_the_name() -> None:
    request = without_images(asked(message(), {"1": PICTURE}))
    assert request.messages[-1].parts == (Text("what is this?"), Text("(a picture that you cannot see: cat.png)"))
    assert "iVBOR" not in json.dumps(openai_body(request, model="m", origin="o", dialect=ChatDialect()))


@pytest.mark.parametrize(
    ("kind", "said", "sees"),
    [("openai", None, True), ("openai", False, False), ("ollama", None, False), ("ollama", True, True)],
)
def test_who_sees(kind: str, said: bool | None, sees: bool) -> None:
    async def key() -> None:
        raise AssertionError

    made = endpoint("p", kind=kind, model="m", credential=key, vision=said)  # type: ignore[arg-type]
    assert made.vision is sees


def test_somebody_elses_server_that_speaks_openais_format_is_not_taken_to_see() -> None:
    assert not endpoint("p", kind="openai", model="m", base_url="http://127.0.0.1:9/v1").vision


def test_it_prints_no_bytes_and_can_be_stored() -> None:
    assert "iVBOR" not in repr(PICTURE)
    whole = asked(message(), {"1": PICTURE}).messages[-1]
    assert message_from_json(message_to_json(whole)) == whole
