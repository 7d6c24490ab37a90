import pytest

from opencrust_gateway.attachments import file_name, media_type_of
from opencrust_gateway.errors import ApiError


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        ("bill.pdf", "bill.pdf"),
        ("caf%C3%A9.png", "café.png"),
        ("..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("C:%5CUsers%5Cx%5Cphoto.jpg", "photo.jpg"),
        ("evil%0d%0aSet-Cookie:x", "evilSet-Cookie:x"),
        ("gpj.%E2%80%AEexe", "gpj.exe"),
        ("", "file"),
        ("...", "file"),
    ],
)
def test_a_name_is_a_name_and_nothing_else(shown: str, name: str) -> None:
    assert file_name(shown) == name


@pytest.mark.parametrize("shown", ["%ff", "%ed%a0%80", "x" * 256])
def test_what_cannot_be_a_name_is_refused(shown: str) -> None:
    with pytest.raises(ApiError):
        file_name(shown)


@pytest.mark.parametrize("shown", ["image/png", "IMAGE/PNG", "application/pdf", "text/html", "image/svg+xml"])
def test_documents_and_media_are_taken(shown: str) -> None:
    assert media_type_of(shown) == shown.lower()


@pytest.mark.parametrize("shown", ["application/x-msdownload", "application/x-sh", "image", "a/b/c", "image/p ng", ""])
def test_programs_and_nonsense_are_not(shown: str) -> None:
    with pytest.raises(ApiError) as refused:
        media_type_of(shown)
    assert refused.value.status == 415
