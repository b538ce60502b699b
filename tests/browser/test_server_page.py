"""The page of the server in a real Chromium (``make test-browser``): its requests are steered, and go nowhere else."""

import json
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright
from tests.serving.served import Served, serving, write_files

pytestmark = pytest.mark.browser
TIMEOUT = 30_000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    steer, gguf = write_files(folder)
    with serving(folder, f"steer_file={steer}", f"gguf={gguf}", "strength={tone: 1.5}") as served:
        yield served


@pytest.fixture
def page(served: Served) -> Iterator[Page]:
    """The open page, which may ask nobody but its server."""
    chromium = shutil.which("chromium")
    assert chromium, "no chromium on this machine; make test-browser installs Debian's"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(served.url)
        yield page
        browser.close()
    assert asked
    assert all(url.startswith((served.url, "data:", "blob:")) for url in asked)


def strengths_of_a_chat(page: Page) -> dict[str, float]:
    """Ask in a new chat; the strengths in the request of the page, which the server answers."""
    page.goto(page.url.partition("#")[0])
    with page.expect_request("**/v1/chat/completions", timeout=TIMEOUT) as sent:
        page.get_by_placeholder("Type a message...").fill("The film is")
        page.keyboard.press("Enter")
    answer = sent.value.response()
    assert answer is not None
    assert answer.status == 200
    steer: dict[str, float] = json.loads(sent.value.post_data or "")["steer"]
    return steer


def test_a_chat_is_steered_by_the_defaults_until_its_user_changes_them(page: Page) -> None:
    assert strengths_of_a_chat(page) == {"tone": 1.5, "dummy": 0}
    page.get_by_role("link", name="Settings").or_(page.get_by_role("button", name="Settings")).first.click()
    page.get_by_text("Developer").first.click()
    page.get_by_label("Custom JSON").fill('{"steer": {"tone": -2}}')
    page.get_by_role("button", name="Save settings").click()
    assert strengths_of_a_chat(page) == {"tone": -2}
