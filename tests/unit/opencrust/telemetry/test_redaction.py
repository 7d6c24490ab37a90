from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencrust.telemetry.redaction import HIDDEN, Redactor, redact_shapes

A40 = "abcdefghijKLMNOPQRST0123456789uvwxyzABCD"
PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIDx\nAoGBAK\n-----END EC PRIVATE KEY-----"

SECRETS = {
    "openai": f"sk-proj-{A40}",
    "anthropic": f"sk-ant-api03-{A40}",
    "openrouter": f"sk-or-v1-{A40}",
    "stripe": f"sk_live_{A40}",
    "slack bot": "xoxb-1234567890-abcdefghij",
    "slack rotating": "xoxe.xoxp-1-Mi0yLTEyMzQ1Njc4OTA",
    "slack app": "xapp-1-A0123456789-12345-abcdef",
    "telegram": "123456789:AAF-abcdefghijklmnopqrstuvwxyz0123456",
    "discord": "MTIzNDU2Nzg5MDEyMzQ1Njc4.GabcDE.abcdefghijklmnopqrstuvwxyz0123456789AB",
    "google": f"AIza{A40[:35]}",
    "google client": f"GOCSPX-{A40[:28]}",
    "github": f"ghp_{A40[:36]}",
    "github fine": f"github_pat_{A40}",
    "gitlab": f"glpat-{A40[:20]}",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "meta": f"EAA{A40}",
    "hugging face": f"hf_{A40[:34]}",
    "vault": f"hvs.{A40[:24]}",
    "nkey seed": "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
    "own token": f"oc_{A40}",
    "pem": PEM,
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "failed with {}.",
        '{{"k": "{}"}}',
        "https://host/path/{}/x?y=1",
        "a={}&b=2",
        "Bearer {}",
        "({})",
        "x\n{}\ny",
    ],
)
def test_hides_each_known_shape_wherever_it_stands(secret: str, around: str) -> None:
    hidden = redact_shapes(around.format(secret))
    assert secret not in hidden
    assert HIDDEN in hidden
    for start in range(0, len(secret) - 24, 8):  # no long piece of it is left either
        assert secret[start : start + 24] not in hidden


def test_hides_a_telegram_token_in_a_url() -> None:
    token = SECRETS["telegram"]
    for url in (f"https://api.telegram.org/bot{token}/getMe", f"https://x/bot{token.replace(':', '%3A')}/getMe"):
        hidden = redact_shapes(f"GET {url} failed")
        assert "AAF-" not in hidden
        assert hidden.endswith("/getMe failed")


def test_hides_a_private_key_whose_end_was_cut_off() -> None:
    hidden = redact_shapes("key: " + PEM[:50] + " and more")
    assert "MHcCAQ" not in hidden


@pytest.mark.parametrize(
    ("text", "gone", "kept"),
    [
        ("password=hunter2hunter2", "hunter2hunter2", "password="),
        ('"api_key": "0123456789abcdef"', "0123456789abcdef", "api_key"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNz", "Authorization"),
        ("Cookie: session=0123456789abcdef", "0123456789abcdef", "Cookie"),
        ("GET /login?ticket=0123456789abcdef HTTP/1.1", "0123456789abcdef", "GET /login?ticket="),
        ("nats://user:sesame-sesame@10.0.0.1:4222", "sesame-sesame", "@10.0.0.1:4222"),
    ],
)
def test_hides_values_behind_telling_names(text: str, gone: str, kept: str) -> None:
    hidden = redact_shapes(text)
    assert gone not in hidden
    assert kept in hidden


@pytest.mark.parametrize(
    "text",
    [
        "answered in 0.41 s with 1,204 input_tokens and 80 output_tokens",
        "trace 0af7651916cd43dd8448eb211c80319c span b7ad6b7169203331",
        "msg.in.telegram.abcdefghijklmnopqrstuvwx23",
        "spiffe://opencrust.local/agent",
        "/home/sky/.opencrust/log/agent.log",
        "see https://opencrust.local/docs/tokens#how",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "task-sk-short risk-free disk-usage",
        "the token: expired",
    ],
)
def test_leaves_ordinary_lines_alone(text: str) -> None:
    assert redact_shapes(text) == text


def test_cuts_after_hiding_so_that_no_half_token_is_left() -> None:
    secret = SECRETS["openai"]
    text = "x" * 90 + " " + secret
    for limit in range(80, 140):
        assert secret[:12] not in Redactor().text(text, limit)


def test_says_how_long_a_cut_text_was() -> None:
    assert Redactor().text("y" * 100_000, 50) == "y" * 50 + "…[100000 characters]"


@pytest.mark.parametrize(
    "unit", ["-----BEGIN A PRIVATE KEY-----", "eyJaaaaaaaa.", "1234567:", "token=", "://a:b", "M" * 30 + "."]
)
def test_takes_linear_time_on_hostile_text(unit: str) -> None:
    redactor = Redactor()
    text = unit * (200_000 // len(unit))
    started = time.perf_counter()
    redactor.text(text)
    assert time.perf_counter() - started < 2.0


def test_a_detector_hides_an_exact_value_without_any_shape() -> None:
    secret = "correct horse battery staple"
    redactor = Redactor()
    redactor.add_detector(lambda text: [(i, i + len(secret)) for i in range(len(text)) if text.startswith(secret, i)])
    assert redactor.text(f"a {secret} b {secret}") == f"a {HIDDEN} b {HIDDEN}"


def test_overlapping_findings_hide_their_union() -> None:
    redactor = Redactor()
    redactor.add_detector(lambda _: [(4, 8), (2, 6), (5, 6)])
    assert redactor.text("0123456789") == f"01{HIDDEN}89"


def test_a_broken_detector_hides_everything() -> None:
    def broken(_: str) -> list[tuple[int, int]]:
        raise RuntimeError("bug")

    redactor = Redactor()
    redactor.add_detector(broken)
    assert redactor.text("anything at all") == HIDDEN


def test_values_keep_their_shape_and_lose_their_secrets() -> None:
    secret = SECRETS["github"]
    made = Redactor().value(
        {
            "count": 3,
            "ratio": 0.5,
            "none": None,
            "body": b"secret bytes",
            "password": "abc",
            "pin_token": 4711,
            "nested": {"list": ["a", secret]},
            secret: 1,
            "input_tokens": 12,
        }
    )
    assert made == {
        "count": 3,
        "ratio": 0.5,
        "none": None,
        "body": "[12 bytes]",
        "password": HIDDEN,
        "pin_token": HIDDEN,
        "nested": {"list": ["a", HIDDEN]},
        HIDDEN: 1,
        "input_tokens": 12,
    }


def test_a_value_that_contains_itself_ends() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert "too deep" in str(Redactor().value(loop))


@given(st.text(max_size=200), st.text(max_size=200), st.sampled_from(sorted(SECRETS.values())))
def test_no_surrounding_text_that_is_not_a_word_lets_a_secret_through(before: str, after: str, secret: str) -> None:
    assert secret not in Redactor().text(f"{before} {secret} {after}")
