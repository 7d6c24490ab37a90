"""The pages beside the chat, in a real browser on a real gateway and bus: what the operator decides takes effect."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, expect

from browser import CONTRAST, chromium, needs_chromium, open_page, say, shoot, sign_in
from harness import BusServer, free_port
from opencrust.access.directory import People
from opencrust.access.people import PairingReply, PairingRequest, Person, PersonId, Role, Verdict
from opencrust.bus import Bus, subjects
from opencrust.contracts import (
    Approval,
    ApprovalCard,
    EventType,
    ReplyAddress,
    TurnEvent,
    decode,
    encode,
)
from opencrust.contracts.messages import now
from simulators.web import RunningGateway, running_gateway

pytestmark = needs_chromium
STRANGER = PersonId(channel="telegram", account="77", user="555")
PAGES = ("approvals", "people", "channels", "plugins", "vault", "usage", "audit", "settings")


@pytest.fixture
async def gateway(bus_server: BusServer) -> AsyncIterator[RunningGateway]:
    async with running_gateway(bus_server) as running:
        await running.agent.serve_approvals()
        yield running


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


async def signed_in(browser: Browser, gateway: RunningGateway, **options: Any) -> tuple[Page, list[str]]:
    _, page, faults = await open_page(browser, **options)
    await sign_in(page, gateway.url, await gateway.ticket())
    return page, faults


async def knock(telegram: Bus, name: str = "Bob <b>x</b>") -> PairingReply:
    """A stranger writes to the bot; what its adapter asks the desk."""
    question = encode(PairingRequest(person=STRANGER, name=name))
    answer = await telegram.request(subjects.pair_req("channel-telegram", "request"), question, timeout=10)
    return decode(PairingReply, answer.data)


def question() -> Approval:
    """Something that waits for the operator's word."""
    card = ApprovalCard(
        id="abcdefghijklmnop",
        tool="send_message",
        lines=["to: telegram / Anna (12345)", "text: <img src=x onerror=alert(1)> See you at 15:00."],
        expires=now() + timedelta(minutes=9),
    )
    address = ReplyAddress(channel="web", account="operator", conversation="main")
    return Approval(card=card, address=address, requester="operator", digest="0" * 64, created=now())


async def test_a_stranger_is_let_in_by_a_click(
    gateway: RunningGateway, browser: Browser, bus_server: BusServer
) -> None:
    telegram = await bus_server.connect("channel-telegram")
    people = People(telegram)
    await people.start()
    assert (await people.admission(STRANGER, is_group=False, mentioned=False)).verdict is Verdict.OFFER_PAIRING
    assert (await knock(telegram)).code
    page, faults = await signed_in(browser, gateway)
    await page.goto(f"{gateway.url}/#/people")
    await page.get_by_role("button", name="Let Bob <b>x</b> in").click()
    await page.get_by_label("Role").select_option("guest")
    await page.get_by_role("button", name="Let in", exact=True).last.click()
    await expect(page.locator("#toast")).to_contain_text("may speak now")
    await expect(page.get_by_role("button", name="Remove Bob <b>x</b>")).to_be_visible()
    async with asyncio.timeout(2):
        while (await people.admission(STRANGER, is_group=False, mentioned=False)).verdict is not Verdict.ADMIT:
            await asyncio.sleep(0.05)
    await page.get_by_role("button", name="Remove Bob <b>x</b>").click()
    await page.get_by_role("button", name="Remove", exact=True).last.click()
    async with asyncio.timeout(2):
        while (await people.admission(STRANGER, is_group=False, mentioned=False)).verdict is Verdict.ADMIT:
            await asyncio.sleep(0.05)
    assert faults == []


async def test_an_invitation_is_a_code_that_works(
    gateway: RunningGateway, browser: Browser, bus_server: BusServer
) -> None:
    telegram = await bus_server.connect("channel-telegram")
    await knock(telegram)
    page, _ = await signed_in(browser, gateway)
    await page.goto(f"{gateway.url}/#/people")
    await page.get_by_role("button", name="Invite somebody").click()
    await page.get_by_label("Channel").select_option("telegram")
    await page.get_by_role("button", name="Make a code").click()
    shown = (await page.locator(".secret").inner_text()).removeprefix("/pair ")
    request = PairingRequest(person=STRANGER, name="Bob", code=shown)
    answer = await telegram.request(subjects.pair_req("channel-telegram", "redeem"), encode(request), timeout=10)
    assert decode(PairingReply, answer.data).outcome == "paired"


async def test_a_revoked_session_is_out_within_a_second(gateway: RunningGateway, browser: Browser) -> None:
    page, _ = await signed_in(browser, gateway)
    _, other, _ = await open_page(browser)
    await sign_in(other, gateway.url, await gateway.ticket())
    await page.goto(f"{gateway.url}/#/settings")
    rows = page.get_by_role("button", name="Revoke browser")
    await expect(rows).to_have_count(2)
    mine = page.locator("tr", has_text="this one").get_by_role("button")
    for index in range(2):
        if await rows.nth(index).evaluate("(one, mine) => one !== mine", await mine.element_handle()):
            await rows.nth(index).click()
            break
    await page.get_by_role("button", name="Revoke", exact=True).last.click()
    await expect(other).to_have_url(f"{gateway.url}/login", timeout=2_000)
    await expect(page.locator("#state")).to_have_text("Connected")


async def test_an_approval_is_seen_and_decided(gateway: RunningGateway, browser: Browser) -> None:
    gateway.agent.approvals = [question()]
    page, faults = await signed_in(browser, gateway)
    await expect(page.locator(".pages .count")).to_have_text("1")
    await page.goto(f"{gateway.url}/#/approvals")
    card = page.locator("[data-approval=abcdefghijklmnop]")
    await expect(card).to_contain_text("<img src=x onerror=alert(1)> See you at 15:00.")
    await card.get_by_role("button", name="Approve send_message").click()
    await expect(page.locator(".empty")).to_have_text("Nothing waits for you.")
    await expect(page.locator(".pages .count")).to_have_count(0)
    (word,) = gateway.agent.decisions
    assert (word.id, word.approve) == ("abcdefghijklmnop", True)
    assert faults == []


async def test_steps_with_tools_are_shown_as_they_happen(
    gateway: RunningGateway, browser: Browser, bus_server: BusServer
) -> None:
    agent = await bus_server.connect("agent")
    page, _ = await signed_in(browser, gateway)
    gateway.agent.hold.clear()
    await say(page, "what is the weather?")
    await expect(page.locator(".reply.live .prose")).to_be_visible()
    (message,) = gateway.agent.seen

    async def step(index: int, **data: object) -> None:
        event = TurnEvent(type=EventType.TOOL, message_id=message.id, index=index, data=data)
        await agent.publish(subjects.evt_conv("web", message.key), encode(event))

    await step(2, call="c1", tool="web_fetch", state="started", arguments={"url": "https://example.org/<b>"})
    line = page.locator(".tools li")
    await expect(line).to_contain_text("running…")
    await step(3, call="c1", tool="web_fetch", state="done", summary="1,204 characters")
    await expect(line).to_have_count(1)
    await expect(line.locator(".state-of")).to_have_text("done")
    await line.locator("summary").click()
    await expect(line.locator("pre")).to_contain_text("https://example.org/<b>")
    gateway.agent.hold.set()
    await expect(page.locator(".about")).to_be_visible()
    await expect(line).to_have_count(1)


async def test_who_comes_later_sees_the_turn_at_work(gateway: RunningGateway, browser: Browser) -> None:
    page, _ = await signed_in(browser, gateway)
    gateway.agent.hold.clear()
    await say(page, "take your time")
    await expect(page.locator(".reply.live .prose")).to_have_text("echo:")
    other = await page.context.new_page()
    await other.goto(gateway.url)
    await expect(other.locator(".said")).to_have_text("take your time")
    await expect(other.locator(".reply.live .prose")).to_have_text("echo:")
    await expect(other.locator("#stop")).to_be_visible()
    gateway.agent.hold.set()
    await expect(other.locator(".reply .prose")).to_have_text("echo: take your time")


async def test_a_file_goes_along_and_comes_back_as_a_download(gateway: RunningGateway, browser: Browser) -> None:
    page, faults = await signed_in(browser, gateway)
    await page.locator("#files").set_input_files(
        {"name": "notes ü.txt", "mimeType": "text/plain", "buffer": b"buy flour"}
    )
    await expect(page.locator("#attached .chip")).to_contain_text("notes ü.txt")
    await say(page, "keep this")
    await expect(page.locator(".said .chip")).to_contain_text("9 B")
    async with asyncio.timeout(5):
        while not gateway.agent.seen:
            await asyncio.sleep(0.02)
    (file,) = gateway.agent.seen[0].attachments
    assert (file.name, file.size, file.media_type) == ("notes ü.txt", 9, "text/plain")
    async with page.expect_download() as downloading:
        await page.locator(".said .chip").click()
    download = await downloading.value
    assert (await download.path()).read_bytes() == b"buy flour"
    assert faults == []


async def test_a_page_from_elsewhere_gets_nothing(gateway: RunningGateway, browser: Browser) -> None:
    context, page, _ = await open_page(browser)
    await sign_in(page, gateway.url, await gateway.ticket())
    elsewhere, port = web.Application(), free_port()

    async def evil(request: web.Request) -> web.Response:
        return web.Response(text="<title>evil</title>", content_type="text/html")

    elsewhere.router.add_get("/", evil)
    runner = web.AppRunner(elsewhere)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        stranger = await context.new_page()
        await stranger.goto(f"http://127.0.0.1:{port}/")
        outcome = await stranger.evaluate(
            """async (url) => {
              const socket = await new Promise((resolve) => {
                const one = new WebSocket(url.replace("http", "ws") + "/v1/ws");
                one.onopen = () => resolve("open");
                one.onerror = () => resolve("refused");
              });
              const post = await fetch(url + "/v1/tokens", {method: "POST", credentials: "include", body: "{}"})
                .then((answer) => answer.status, () => "refused");
              const read = await fetch(url + "/v1/people", {credentials: "include"})
                .then((answer) => answer.text(), () => "refused");
              return [socket, post, read];
            }""",
            gateway.url,
        )
        assert outcome == ["refused", "refused", "refused"]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 860)])
async def test_every_page_fits_the_screen_and_can_be_read(
    gateway: RunningGateway, browser: Browser, bus_server: BusServer, scheme: str, width: int, height: int
) -> None:
    gateway.agent.approvals = [question()]
    await knock(await bus_server.connect("channel-telegram"))
    anna = PersonId(channel="telegram", account="77", user="12345")
    record = Person(id=anna, role=Role.USER, name="Anna", since=datetime.now(UTC) - timedelta(days=3))
    await gateway.bus.kv("access").put(anna.key, encode(record))
    await gateway.bearer()
    page, faults = await signed_in(
        browser, gateway, viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1
    )
    for name in PAGES:
        await page.goto(f"{gateway.url}/#/{name}")
        await expect(page.locator("#page-column > *").first).not_to_have_text("Loading…", timeout=15_000)
        await shoot(page, f"{name}-{width}-{scheme}")
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert await page.evaluate(CONTRAST) == [], name
    # No agent serves plugins in this half of a house: the page says so.
    unexpected = [fault for fault in faults if "503" not in fault]
    assert unexpected == []


async def test_pages_are_reached_and_left_by_keyboard(gateway: RunningGateway, browser: Browser) -> None:
    page, _ = await signed_in(browser, gateway)
    await page.get_by_role("link", name="Settings").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#title")).to_have_text("Settings")
    await page.get_by_role("button", name="New token").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page.get_by_role("button", name="New token")).to_be_focused()
    await page.locator("#new").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#text")).to_be_focused()
