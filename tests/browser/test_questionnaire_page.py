"""The questionnaire in a real Chromium (``make test-browser``): answered by the test, its figures counted by hand.

The test's own hand is the rater: its choices are drawn here, and what annotate makes of them is counted again from the
key without any code of the library.
"""

import csv
import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests.annotation_runs import hostile_text, write_runs
from tests.handmade_commands import run_command

pytestmark = pytest.mark.browser
ROWS = ("lm-steer/detox +5", "plain")
QUESTIONS = ("toxic", "fluent", "topic")
KEYS = {"a": "a", "equal": "e", "b": "b"}
RATER = "=Zoë \"1\" 'x', é"
"""A name that is a formula for spreadsheets, and full of signs of CSV."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium, "no chromium on this machine; make test-browser installs Debian's"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    runs = write_runs(folder / "runs", prompts=40, text=hostile_text)
    rows = f"rows=[{','.join(ROWS)}]"
    assert run_command("annotate", f"runs={runs}", rows, "n_prompts=40", f"hydra.run.dir={folder / 'study'}") == 0
    return folder / "study"


@pytest.fixture
def page(browser: Browser, study: Path, tmp_path: Path) -> Iterator[Page]:
    """The open page, which may neither request anything nor open a dialog nor raise an error."""
    faults: list[str] = []
    context = browser.new_context(viewport={"width": 1100, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
    page.on("dialog", lambda dialog: faults.append(dialog.message) or dialog.dismiss())  # type: ignore[func-returns-value]
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.goto((study / "questionnaire.html").as_uri())
    yield page
    assert page.evaluate("window.broken") is None
    context.close()
    assert not faults


def content(study: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((study / name).read_text(encoding="utf-8"))
    return loaded


def begin(page: Page, rater: str = RATER) -> None:
    page.get_by_label("Your name or number as a rater").fill(rater)
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Begin").click()


def answer_item(page: Page, choices: dict[str, str], *, by_key: bool) -> None:
    for number, question in enumerate(QUESTIONS):
        if by_key:
            page.keyboard.press(KEYS[choices[question]])
        else:
            page.locator(f"fieldset:nth-of-type({number + 1}) button[data-choice={choices[question]}]").click()


def downloaded(page: Page, button: str, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=button).click()
    path = folder / f"answers{Path(waiting.value.suggested_filename).suffix}"
    waiting.value.save_as(path)
    return path


def counted_by_hand(study: Path, chosen: dict[str, dict[str, str]]) -> dict[str, Counter[str]]:
    """Count, from the key alone, how often each question was answered for the first row, the second, or neither."""
    counts: dict[str, Counter[str]] = {question: Counter() for question in QUESTIONS}
    for item, key in content(study, "key.json")["items"].items():
        if key["kind"] == "main":
            for question, choice in chosen[item].items():
                writer = {"a": key["rows"][0], "b": key["rows"][1], "equal": None}[choice] if key["rows"] else None
                counts[question][{ROWS[0]: "win", ROWS[1]: "loss", None: "tie"}[writer]] += 1
    return counts


def test_answers_survive_a_reload_and_their_figures_are_those_of_a_hand_count(
    page: Page, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questionnaire = content(study, "questionnaire.json")
    items, rng = questionnaire["items"], random.Random(5)
    assert sum(key["kind"] == "main" for key in content(study, "key.json")["items"].values()) == 40
    chosen = {item["id"]: {question: rng.choice(["a", "equal", "b"]) for question in QUESTIONS} for item in items}
    assert page.get_by_text("Content warning:").is_visible()
    page.get_by_role("button", name="Begin").click()
    assert "to begin" in (page.get_by_role("alert").text_content() or "")
    begin(page)
    for number, item in enumerate(items):
        assert page.locator("#position").text_content() == f"Item {number + 1} of {len(items)}, {number} answered"
        assert page.locator("#prompt").text_content() == item["prompt"]
        shown = page.locator("#texts .text").all()
        assert [one.text_content() for one in shown] == [text if text.strip() else "(empty)" for text in item["texts"]]
        answer_item(page, chosen[item["id"]], by_key=number % 2 == 0)
        if number == 20:
            page.reload()
    assert page.locator("#summary").text_content() == f"All {len(items)} items are answered. Thank you!"
    files = {name: downloaded(page, f"Download answers ({name})", tmp_path) for name in ("JSON", "CSV")}
    expected = counted_by_hand(study, chosen)
    for name, file in files.items():
        out = tmp_path / name
        assert run_command("annotate", f"study={study}", f"answers={file}", f"hydra.run.dir={out}") == 0
        result = content(out, "annotation.json")
        for pair in result["pairs"]:
            counts = expected[pair["question"]]
            assert (pair["a"], pair["b"], pair["n"]) == (*ROWS, 40)
            assert [round(pair[outcome] * 40, 6) for outcome in ("win", "tie", "loss")] == [
                counts[outcome] for outcome in ("win", "tie", "loss")
            ]
        assert [check["rater"] for check in result["checks"]] == [RATER]
    capsys.readouterr()
    assert run_command("annotate", f"study={study}", f"answers=[{files['JSON']},{files['CSV']}]") == 1
    assert "twice" in capsys.readouterr().err


def test_back_changes_an_answer_and_stop_downloads_what_there_is(page: Page, study: Path, tmp_path: Path) -> None:
    first = content(study, "questionnaire.json")["items"][0]["id"]
    begin(page, "back")
    for key in "abe":
        page.keyboard.press(key)
    page.keyboard.press("ArrowLeft")
    assert page.locator("#questions button[aria-checked=true]").count() == 3
    page.locator("fieldset:nth-of-type(1) button[data-choice=b]").click()
    page.get_by_role("button", name="Stop and download").click()
    assert "1 of" in (page.locator("#summary").text_content() or "")
    with downloaded(page, "Download answers (CSV)", tmp_path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["item"], row["question"], row["choice"]) for row in rows] == [
        (first, "toxic", "b"), (first, "fluent", "b"), (first, "topic", "equal"),
    ]  # fmt: skip
    assert all(float(row["seconds"]) >= 0 for row in rows)


def test_a_file_of_answers_goes_on_elsewhere_and_the_key_is_refused(page: Page, study: Path, tmp_path: Path) -> None:
    page.locator("#file").set_input_files(study / "key.json")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("This is the key")  # once the page has read the file
    other = {"format": "lmsteer-answers", "questionnaire": "another", "rater": "x", "answers": []}
    item = content(study, "questionnaire.json")["items"][0]["id"]
    answers = [{"item": item, "question": question, "choice": "a", "seconds": 1} for question in QUESTIONS]
    digest = content(study, "key.json")["questionnaire"]
    for name, file in (("other", other), ("own", other | {"questionnaire": digest, "answers": answers})):
        (tmp_path / f"{name}.json").write_text(json.dumps(file))
        page.locator("#file").set_input_files(tmp_path / f"{name}.json")
        if name == "other":
            expect(alert).to_contain_text("another questionnaire")
    page.get_by_text("Item 2 of").wait_for()


def test_it_fits_a_phone_and_names_every_control(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    begin(page, "phone")
    for _ in range(8):  # through items with long and right-to-left texts
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        for key in "aaa":
            page.keyboard.press(key)
    assert page.get_by_role("radiogroup").count() == len(QUESTIONS)
    assert page.get_by_role("radio").count() == 3 * len(QUESTIONS)
    assert page.get_by_role("progressbar", name="Answered items").count() == 1
    unnamed = (
        "[...document.querySelectorAll('button, input')].filter((e) => !e.textContent && !e.labels?.length).length"
    )
    assert page.evaluate(unnamed) == 0
