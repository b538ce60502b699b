import pytest
from tests.handmade import PROTOCOL, Page, row, value

from lmsteer.evaluation.results import Result, ResultRow
from lmsteer.records import Generation, Prompt
from lmsteer.reporting.run_report import report, side_by_side

STRENGTHS: list[dict[str, float]] = [{}, {"sentiment": 5.0}]


def generations(prompts: int) -> list[Generation]:
    return [
        Generation(Prompt(str(i), f"prompt {i}"), (f" text {i} at {len(s)}", " second"), s, "snippets")
        for s in STRENGTHS
        for i in range(prompts)
    ]


def test_pictures_are_described_with_their_numbers(result: Result) -> None:
    page = Page(report(result, [], curve={"train": [[1, 5.5], [100, 5.0]], "dev": [[0, 5.4]]}, title="t", facts={}))
    strength, loss = (image["alt"] or "" for image in page.all("img"))
    assert "positivity, tfidf: .44 at -5, .47 at 0, .74 at +5." in strength
    assert "perplexity: 123 at -5, 16.4 at 0, 32.8 at +5." in strength
    assert "train loss 5.50 nats per token at step 1, 5.00 at step 100" in loss
    assert "dev loss 5.40 nats per token at step 0" in loss


def test_the_page_holds_table_facts_and_the_perplexity_model(result: Result) -> None:
    page = Page(report(result, [], title="A title", facts={"corpus": "snippets, 3200 rows"}))
    for text in ("A title", ".74 [.70, .78] +.27", "corpus", "snippets, 3200 rows", "rises from .47 to .74"):
        assert text in page.text
    assert "that under the unsteered model itself (smollm2)" in page.text
    other = Result(
        protocol=PROTOCOL | {"perplexity_model": "gpt2-xl", "perplexity_model_is_unsteered": False}, rows=result.rows
    )
    text = Page(report(other, [], title="", facts={})).text
    assert "Perplexity is that under gpt2-xl." in text
    assert "unsteered model itself" not in text


def test_only_toxic_results_carry_a_warning(result: Result) -> None:
    toxic = Result(protocol=PROTOCOL, rows=[row({}, {"expected_maximum_toxicity@x": value(0.5, 0.4, 0.6)})])
    assert "Content warning" in report(toxic, [], title="", facts={})
    assert "Content warning" not in report(result, [], title="", facts={})


def test_sections_without_content_are_left_out(plain: ResultRow) -> None:
    bare = Result(protocol={}, rows=[row({}, {"dist_1": value(0.5, None, None)})])
    assert Page(report(bare, [], title="t", facts={})).all("img") == []
    result = Result(protocol=PROTOCOL, rows=[row({"s": 5.0}, plain.metrics)])
    page = Page(report(result, generations(1)[1:], curve={}, title="t", facts={}))
    assert page.all("img") == []
    assert "text 0 at 1" in page.text


@pytest.mark.parametrize(("count", "step"), [(3, 1), (20, 1), (60, 3)])
def test_prompts_are_taken_evenly_with_one_column_a_strength(count: int, step: int) -> None:
    strengths, rows = side_by_side(generations(count)[::-1])
    assert strengths == ["plain", "sentiment +5"]
    assert [r.prompt for r in rows] == [f"prompt {i}" for i in range(count)][::-1][::step]
    for r in rows:
        number = r.prompt.removeprefix("prompt ")
        assert r.texts == (f" text {number} at 0", f" text {number} at 1")


def test_prompts_of_two_sets_are_not_mixed_and_gaps_stay_gaps() -> None:
    one = Generation(Prompt("1", "first"), (" a",), {}, "set a")
    two = Generation(Prompt("1", "second"), (" b",), {"s": 1.0}, "set b")
    assert [(r.prompt, r.texts) for r in side_by_side([one, two])[1]] == [
        ("first", (" a", None)),
        ("second", (None, " b")),
    ]


def test_a_text_that_is_no_unicode_can_still_be_written(result: Result) -> None:
    broken = Generation(Prompt("1", "p"), (" \ud800",), {}, "snippets")
    assert report(result, [broken], title="", facts={}).encode("utf-8")


def test_a_calibrated_strength_has_a_column_of_its_own() -> None:
    strengths: list[tuple[dict[str, float], str]] = [({}, ""), ({"s": 5.0}, ""), ({"s": 5.0}, "kl 0.3")]
    written = [Generation(Prompt("1", "p"), (f" {s} {b}",), s, "set", budget=b) for s, b in strengths]
    columns, (continued,) = side_by_side(written)
    assert columns == ["plain", "s +5", "s +5 (kl 0.3)"]
    assert continued.texts == tuple(f" {s} {b}" for s, b in strengths)
