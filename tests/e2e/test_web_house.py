"""The browser on the whole product, started as a person starts it, with processes that die."""

import asyncio
import json
from pathlib import Path

import pytest
from playwright.async_api import expect

from browser import chromium, needs_chromium, open_page, say, sign_in
from house import House
from simulators.model import ModelSimulator
from simulators.model_replies import Reply

pytestmark = [needs_chromium, pytest.mark.timeout(120)]
LONG = "word " * 60


async def test_an_answer_arrives_once_though_the_gateway_is_killed_while_it_streams(tmp_path: Path) -> None:
    async with ModelSimulator() as simulator, chromium() as browser:
        house = House(tmp_path / "home")
        await asyncio.to_thread(house.up)
        try:
            await asyncio.to_thread(house.provider, simulator.url, "echo")
            link = json.loads(await asyncio.to_thread(house.run, "login-link", "--json"))["url"]
            _, page, _ = await open_page(browser)
            await sign_in(page, house.url, link.partition("#ticket=")[2])
            simulator.queue(Reply(LONG, pace=0.04))
            await say(page, "tell me something long")
            await expect(page.locator(".reply.live .prose")).to_contain_text("word word", timeout=15_000)
            assert await asyncio.to_thread(house.kill, "gateway")
            await expect(page.locator("#state")).to_have_text("Reconnecting…")
            await expect(page.locator(".about")).to_have_count(1, timeout=30_000)
            await expect(page.locator(".reply .prose")).to_have_text(LONG.strip())
            await say(page, "and again")
            await expect(page.locator(".reply .prose")).to_have_count(2, timeout=15_000)
            await expect(page.locator(".said")).to_have_text(["tell me something long", "and again"])
            await expect(page.locator(".about")).to_have_count(2, timeout=15_000)
            assert len(simulator.requests) == 2, "each message was asked of the model once"
        finally:
            await asyncio.to_thread(house.run, "down", check=False)
