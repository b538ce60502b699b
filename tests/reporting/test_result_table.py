from tests.handmade import PROTOCOL, row, value

from lmsteer.evaluation.results import Result, ResultRow
from lmsteer.reporting.result_table import result_table, result_text


def test_the_table_holds_exactly_the_numbers_of_the_result(result: Result) -> None:
    assert result_table(result) == [
        ["strength", "positivity ↑", "perplexity ↓"],
        ["plain", ".47 [.43, .51]", "16.4 [15.8, 17.0]"],
        ["sentiment +5", ".74 [.70, .78] +.27", "32.8 [31.0, 36.0] ×2.0"],
        ["sentiment -5", ".44 [.40, .48] (-.03)", "123 [101, 150] ×7.5"],
    ]


def test_terminal_text_is_aligned_and_says_how_to_read_it(result: Result) -> None:
    assert result_text(result).split("\n") == [
        "strength      positivity ↑           perplexity ↓",
        "------------  ---------------------  ----------------------",
        "plain         .47 [.43, .51]         16.4 [15.8, 17.0]",
        "sentiment +5  .74 [.70, .78] +.27    32.8 [31.0, 36.0] ×2.0",
        "sentiment -5  .44 [.40, .48] (-.03)  123 [101, 150] ×7.5",
        "120 prompts × 5 samples; scored by tfidf, wordlist; perplexity under smollm2, the unsteered model itself. "
        "Each value",
        "with its 95 % bootstrap interval over prompts, then its change from the plain model, "
        "in parentheses where the two",
        "intervals overlap or are missing.",
    ]


def test_a_wide_table_gives_up_lesser_intervals_to_fit_the_terminal(result: Result) -> None:
    more = {f"dist_{n}": value(0.8 + n / 100, 0.7, 0.9) for n in (1, 2, 3)}
    more |= {"positivity@wordlist": value(0.5, 0.4, 0.6, "wordlist"), "perplexity_corpus": value(14.0, 13.0, 15.0)}
    rows = [r.model_copy(update={"metrics": {**r.metrics, **more}}) for r in result.rows]
    wide = Result(protocol=PROTOCOL, rows=rows)
    lines = result_text(wide).split("\n")
    assert max(map(len, lines)) <= 120
    assert ".74 [.70, .78] +.27" in lines[4]
    assert "32.8 [31.0, 36.0] ×2.0" in lines[4]
    assert ".81 [" not in result_text(wide)
    assert ".81 [.70, .90]" in result_text(wide, width=200)


def test_each_prompt_set_and_seed_is_compared_with_its_own_plain_model() -> None:
    def measured(number: float) -> dict[str, object]:
        return {"positivity": value(number, number - 0.01, number + 0.01)}

    plain = {("a", 1): 0.1, ("a", 2): 0.2, ("b", 1): 0.3}
    rows = [row({}, measured(number), prompts=prompts, seed=seed) for (prompts, seed), number in plain.items()]
    rows += [row({"s": 1.0}, measured(0.9), prompts=prompts, seed=seed) for prompts, seed in (*plain, ("c", 1))]
    steered = [line for line in result_table(Result(protocol=PROTOCOL, rows=rows)) if line[2] == "s +1"]
    assert [(line[0], line[1], line[3].partition("] ")[2]) for line in steered] == [
        ("a", "1", "+.80"),
        ("a", "2", "+.70"),
        ("b", "1", "+.60"),
        ("c", "1", ""),
    ]


def test_what_was_not_measured_is_a_dash_and_a_single_prompt_has_no_interval(plain: ResultRow) -> None:
    alone = row({"s": 1.0}, {"positivity": value(1.0, None, None)})
    assert result_table(Result(protocol=PROTOCOL, rows=[plain, alone]))[2] == ["s +1", "1.00 (+.53)", "–"]


def test_another_method_goes_by_its_own_name(plain: ResultRow) -> None:
    other = row({}, {"positivity": value(0.9, 0.8, 1.0)}, method="dexperts")
    lines = result_table(Result(protocol=PROTOCOL, rows=[other, plain]))
    assert [line[:2] for line in lines[1:]] == [["plain", ".47 [.43, .51]"], ["dexperts", ".90 [.80, 1.00] +.43"]]


def test_the_legend_says_nothing_that_the_protocol_does_not(result: Result) -> None:
    for protocol, start in (
        ({"perplexity_model": "gpt2-xl"}, "perplexity under gpt2-xl. Each value"),
        ({}, "Each value with"),
    ):
        assert result_text(Result(protocol=protocol, rows=result.rows)).split("\n")[5].startswith(start)


def test_a_calibrated_row_names_its_budget_beside_the_given_one(plain: ResultRow) -> None:
    metrics = {"positivity": value(0.9, 0.8, 1.0)}
    rows = [plain, row({"s": 5.0}, metrics), row({"s": 5.0}, metrics, budget="perplexity ×2")]
    lines = result_table(Result(protocol=PROTOCOL, rows=rows))
    assert [line[0] for line in lines[1:]] == ["plain", "s +5", "s +5 (perplexity ×2)"]
