from importlib import resources

from opencrust_gateway.pages import LOGIN_ASSETS, Pages

WEB = resources.files("opencrust_gateway").joinpath("web")
TEXTS = {entry.name: entry.read_text("utf-8") for entry in WEB.iterdir()}


def test_the_package_is_complete() -> None:
    Pages()
    assert TEXTS.keys() >= LOGIN_ASSETS


def test_the_app_is_small() -> None:
    assert sum(len(text.encode()) for text in TEXTS.values()) <= 250 * 1024


def test_no_page_has_inline_code_or_style_or_a_foreign_source() -> None:
    for name, text in TEXTS.items():
        if name.endswith(".html"):
            assert "style=" not in text
            assert "onclick" not in text
            assert "<script>" not in text
            assert "//" not in text.replace("<!doctype html>", "")


def test_no_script_makes_markup_from_text() -> None:
    for name, text in TEXTS.items():
        if name.endswith(".js"):
            for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
                assert word not in text, f"{word} in {name}"
