"""A browser, and pages of the viewer that may not complain nor ask anybody but their server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

READY = "html[data-ready]"
SHOWN = "() => simworld.graphs.every((graph) => graph.isReady() && graph.dirty.size === 0 && graph.screenX)"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the machine's Chromium; skip without one, or fail where SIMWORLD_NEEDS_BROWSER is set."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        if os.environ.get("SIMWORLD_NEEDS_BROWSER"):
            pytest.fail("there is no Chromium; install Debian's: apt-get install chromium")
        pytest.skip("there is no Chromium")
    with sync_playwright() as playwright:
        # Without a sandbox of its own, as in a container that runs as root; the pages are ours.
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


class Watched:
    """A page of a viewer: what it shows, what it asked for and complained of."""

    def __init__(self, page: Page, url: str, address: str = "") -> None:
        self.page = page
        self.url = url
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.goto(address)

    def goto(self, address: str = "") -> None:
        """Open the page anew at an address, which begins with a number sign."""
        self.page.goto("about:blank")
        self.page.goto(self.url + address)
        self.page.wait_for_selector(READY, state="attached")

    def shown(self) -> None:
        """Wait until the graphs show the step of the clock."""
        self.page.wait_for_function(SHOWN)

    def state(self, key: str) -> Any:
        """Return a value of the page's state."""
        return self.page.evaluate("(key) => simworld.store.state[key]", key)

    def wait_for(self, key: str, value: Any) -> None:
        """Wait until a value of the page's state is this."""
        self.page.wait_for_function("([key, value]) => simworld.store.state[key] === value", arg=[key, value])

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def check(self) -> None:
        """Fail on a complaint, and on a request to anybody but the page's own server."""
        outside = [url for url in self.requests if not url.startswith((self.url, "about:", "data:", "blob:"))]
        assert outside == []
        assert self.complaints == []


@contextmanager
def opened(browser: Browser, url: str, address: str = "", **settings: Any) -> Iterator[Watched]:
    """Open a viewer's page in a context of its own, and check at the end that it stayed quiet and at home."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **settings})
    try:
        watched = Watched(context.new_page(), url, address)
        yield watched
        watched.check()
    finally:
        context.close()
