"""One strict reading of URLs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencrust_agent.egress import Refused, parse_url

REFUSED = [
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "javascript:alert(1)",
    "data:text/html,x",
    "//example.com/",
    "example.com",
    "https:example.com",
    "https:/example.com",
    "https://",
    "https:///path",
    "https://user@example.com/",
    "https://user:secret@example.com/",
    "https://example.com@evil.example/",
    "https://example.com%40evil.example/",
    "https://evil.example\\@example.com/",
    "https://example.com\\.evil.example/",
    "https://example.com./",
    "https://127.0.0.1./",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://127.0.0.01/",
    "https://1.2.3.4.5/",
    "https://0/",
    "https://0x/",
    "https://[::1/",
    "https://::1/",
    "https://[::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://[127.0.0.1]/",
    "https://%31%32%37.0.0.1/",
    "https://exa%6dple.com/",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:99999/",
    "https://example.com:-1/",
    "https://example.com:80:80/",
    "https://example.com:8o/",
    "https://example.com:/",
    "https://-example.com/",
    "https://example-.com/",
    "https://exam ple.com/",
    "https://.example.com/",
    "https://example..com/",
    "https://аpple.com/",
    "https://gооgle.com/",
]
REFUSED += [
    "https://example.com/\r\nHost: x",
    "https://example.com/\t",
    "https://example.com/\0",
    " https://example.com",
]
REFUSED += ["https://example.com/" + "a" * 4096, "https://" + "a" * 64 + ".com/", "https://" + "a." * 130 + "com/"]
PASSES = {
    "https://example.com": "https://example.com/",
    "HTTPS://Example.COM/A?b=c#frag": "https://example.com/A?b=c",
    "http://example.com:80/": "http://example.com/",
    "https://example.com:8443/x": "https://example.com:8443/x",
    "https://bücher.example/straße?q=größe": "https://xn--bcher-kva.example/stra%C3%9Fe?q=gr%C3%B6%C3%9Fe",
    "https://пример.испытание/": "https://xn--e1afmkfd.xn--80akhbyknj4f/",
    "https://faß.de/": "https://xn--fa-hia.de/",
    "https://1.1.1.1/dns": "https://1.1.1.1/dns",
    "https://[2606:4700:4700::1111]/": "https://[2606:4700:4700::1111]/",
    "https://[2606:4700:4700:0:0:0:0:1111]:8443/": "https://[2606:4700:4700::1111]:8443/",
    "https://en.wikipedia.org/wiki/Rust_(fungus)": "https://en.wikipedia.org/wiki/Rust_(fungus)",
    "https://web.archive.org/web/2020/http://a.example/": "https://web.archive.org/web/2020/http://a.example/",
    "https://gitlab.com/api/v4/projects/a%2Fb": "https://gitlab.com/api/v4/projects/a%2Fb",
    "https://example.com/@user": "https://example.com/@user",
    "https://a_b.example.com/?x=%20&y=[1]": "https://a_b.example.com/?x=%20&y=%5B1%5D",
    "https://3com.com/": "https://3com.com/",
}  # fmt: skip


@pytest.mark.parametrize("url", REFUSED)
def test_what_could_be_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        parse_url(url)


@pytest.mark.parametrize(("url", "sent"), PASSES.items())
def test_a_legitimate_url_is_sent_as_it_was_checked(url: str, sent: str) -> None:
    target = parse_url(url)
    assert str(target) == sent
    assert str(parse_url(str(target))) == sent


@given(
    st.one_of(st.text(), st.text().map("https://".__add__), st.text(alphabet="a.:/@[]%#?\\1x").map("http://".__add__))
)
def test_any_text_is_refused_or_becomes_one_url_that_reads_the_same_again(text: str) -> None:
    try:
        target = parse_url(text)
    except Refused:
        return
    assert str(target).isascii()
    assert parse_url(str(target)) == target
