import copy
import json
import logging
import pickle
import traceback

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from opencrust.credentials.secret import Secret

VALUE = b"123456:AAF-canary-value-000000000000"


@pytest.fixture
def secret() -> Secret:
    return Secret(VALUE, name="channel.telegram.token", version=3)


class Model(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)
    token: Secret
    other: int = 0


def test_only_reveal_shows_it(secret: Secret, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("x").warning("%s %r %s", secret, secret, {"token": secret})
    model = Model(token=secret)
    shown = [
        str(secret),
        repr(secret),
        f"{secret} {secret!r} {secret:>40}",
        caplog.text,
        repr([secret]),
        repr(model),
        model.model_dump_json(),
        str(model.model_dump()),
        json.dumps({"t": secret}, default=str),
        str(dir(secret)),
    ]
    assert not [text for text in shown if "canary" in text]
    assert secret.reveal() == VALUE
    assert secret.reveal_text() == VALUE.decode()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_not_pickled(secret: Secret, protocol: int) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret, protocol)
    assert copy.copy(secret) is secret
    assert copy.deepcopy({"a": secret})["a"] is secret


def test_errors_do_not_carry_it(secret: Secret) -> None:
    with pytest.raises(ValidationError) as caught:
        Model.model_validate({"token": secret, "other": "x"})
    assert "canary" not in str(caught.value) + str(caught.value.errors())
    binary = Secret(b"\xff" + VALUE, name="a", version=1)
    with pytest.raises(ValueError, match="not text") as caught_text:
        binary.reveal_text()
    assert "canary" not in "".join(traceback.format_exception(caught_text.value))


def test_a_wiped_secret_has_nothing_left(secret: Secret) -> None:
    secret.wipe()
    secret.wipe()
    with pytest.raises(ValueError, match="ask for it again"):
        secret.reveal()


def test_equality_tells_nothing(secret: Secret) -> None:
    same = Secret(VALUE, name=secret.name, version=3)
    assert secret == secret
    assert secret != same
    assert len({secret, same}) == 2
