"""Promises of every page: texts and names are content, never markup, and nothing is requested from elsewhere."""

import base64
from pathlib import Path

import pytest
from tests.handmade import HOSTILE, PROTOCOL, Page, row, value
from tests.handmade_runs import run_row, stored_run
from tests.reporting import test_highlight_report, test_interpretation_report

from lmsteer.evaluation.results import Result
from lmsteer.records import Generation, Prompt
from lmsteer.reporting import interpretation_report, run_report
from lmsteer.reporting.comparison import compare_runs
from lmsteer.reporting.comparison_report import comparison_report
from lmsteer.reporting.comparison_tables import blocks
from lmsteer.reporting.highlight_report import highlight_page
from lmsteer.reporting.pareto import pareto
from lmsteer.reporting.published import published
from lmsteer.reporting.spectrum import spectrum


def run_page(text: str, _: Path) -> str:
    metrics = {"positivity": value(0.5, 0.4, 0.6, text), "perplexity": value(9.0, 8.0, 10.0, text)}
    rows = [row(strength, metrics, model=model) for strength in ({}, {text: 5.0}) for model in (text, "smollm2")]
    result = Result(protocol=PROTOCOL | {"name": text, "perplexity_model": text}, rows=rows)
    generations = [Generation(Prompt("1", text), (text,), strength, "snippets") for strength in ({}, {text: 5.0})]
    curve = {"train": [[1, 5.0]], "dev": []}
    return run_report.report(result, generations, curve=curve, title=text, facts={text: text})


def comparison_page(text: str, folder: Path) -> str:
    values = {"expected_maximum_toxicity": [0.1, 0.2, 0.3, 0.4], "perplexity": [10.0, 20.0, 30.0, 40.0]}
    rows = [
        run_row(values, prompts=text),
        run_row(values, {text: 5.0}, method=text, prompts=text, settings={text: text}),
    ]
    protocol = {"name": text, "perplexity_model": text, "scorers": {text: "1"}, "prompts": {text: {"n": 4}}}
    run = stored_run(folder / str(len(text)), rows, **protocol)
    comparison = compare_runs([run])
    tables = blocks(comparison, published())
    return comparison_report(
        tables, [run], title=text, picture=pareto(comparison), unfinished=[Path(text.replace("/", "|"))]
    )


def interpretation_page(text: str, _: Path) -> str:
    plain = test_interpretation_report.handmade()
    facts = plain.facts | {"meaning": text, "model": text}
    interpretation = test_interpretation_report.handmade(text, facts=facts)
    return interpretation_report.html(interpretation, spectrum(interpretation))


def highlighted_page(text: str, _: Path) -> str:
    span = test_highlight_report.span(0, 1)
    highlight = test_highlight_report.handmade([text, "</span><b>"], [1.0, -1.0], positive=[span])
    summary = test_highlight_report.SUMMARY | {"dimension": text, "fixed": {text: 1.0}}
    return highlight_page([highlight], summary, facts={text: text}, max_texts=1)


@pytest.mark.parametrize("write", [run_page, comparison_page, interpretation_page, highlighted_page])
def test_hostile_texts_are_content_and_nothing_is_requested(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source = write(HOSTILE, tmp_path)
    page, calm = Page(source), Page(write("calm", tmp_path))
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in calm.tags}
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "form"}
    assert len(page.texts) == len(calm.texts)
    assert page.text.count(HOSTILE) >= 4
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    sources = [a[name] or "" for _, a in page.tags for name in ("src", "href", "srcset", "action", "data") if name in a]
    assert len(sources) == len(page.all("img"))
    assert all(base64.b64decode(source.removeprefix("data:image/png;base64,"))[:4] == b"\x89PNG" for source in sources)
    assert "url(" not in page.text
    assert "@import" not in page.text
    assert any("default-src 'none'" in str(tag.get("content")) for tag in page.all("meta"))
