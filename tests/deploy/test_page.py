"""The search page in a real browser: type, see answers, move by keyboard, on a telephone's width, without an error.

It needs `pip install -e '.[browser]'` and Chromium, as tests/test_jupyterlab.py does. The screenshot is kept in the
folder that SCREENSHOTS names, by default runs/screenshots.
"""
import os
import shutil
from pathlib import Path

import pytest

from running import running

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install -e '.[browser]'")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: install it, or name it in CHROMIUM")


@pytest.fixture(scope="module")
def page(bundle_folder):
    with running(bundle_folder) as (_, address), playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.said = []
        page.on("console", lambda message: page.said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith(address) else page.said.append(asked.url))
        page.goto(address)
        yield page
        browser.close()


def test_answers_come_as_one_types_and_the_keyboard_walks_through_them(page):
    field = page.get_by_role("searchbox") if page.get_by_role("searchbox").count() else page.locator("input").first
    field.fill("")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    page.keyboard.type("order the items of a list for tables", delay=5)
    page.wait_for_selector("mark")
    assert "q=order" in page.url and page.locator("mark").first.inner_text()
    page.keyboard.press("ArrowDown")
    first = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("ArrowDown")
    assert first and page.evaluate("document.activeElement.textContent") != first
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.tagName") == "INPUT"
    folder = Path(os.environ.get("SCREENSHOTS", "runs/screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / "search.png")
    assert (folder / "search.png").stat().st_size > 10_000


def test_it_fits_a_telephone_and_says_nothing_wrong(page):
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    address = page.url.partition("#")[0]
    page.goto("about:blank")
    page.goto(f"{address}#q=save+an+object&mode=hybrid")
    page.wait_for_selector("mark")
    assert page.said == []
