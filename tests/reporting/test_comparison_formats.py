import csv
import io
import itertools
import json
import re
from pathlib import Path

import pytest
from tests.handmade import HOSTILE
from tests.handmade_runs import run_row, stored_run

from lmsteer.reporting.comparison import Comparison, compare_runs
from lmsteer.reporting.comparison_formats import latex, long_csv, markdown
from lmsteer.reporting.comparison_rows import Block, Section
from lmsteer.reporting.comparison_tables import blocks
from lmsteer.reporting.published import published

TOXICITY = "expected_maximum_toxicity"
SPECIALS = r"50% & $x_1^2$ #1 {a} ~ \end{tabular} [b] | ```"
BLOCK = Block(
    "Title",
    ["method", "value ↓"],
    [Section("", [["plain", ".50 ±.01"]]), Section("Equal KL", [["a|b", "×2"], ["[c", "†"]])],
    ["A note."],
)


@pytest.fixture
def hostile(tmp_path: Path) -> Comparison:
    values = {TOXICITY: [0.1, 0.2, 0.3, 0.4], "perplexity": [10.0, 20.0, 30.0, 40.0]}
    rows = [
        run_row(values, model=HOSTILE, prompts=HOSTILE),
        run_row(values, method=SPECIALS, model=HOSTILE, prompts=HOSTILE),
        run_row(values, {HOSTILE: 5.0}, settings={"corpus": SPECIALS}, model=SPECIALS, prompts=HOSTILE),
    ]
    protocol = {
        "name": HOSTILE,
        "perplexity_model": HOSTILE,
        "scorers": {SPECIALS: "1"},
        "prompts": {HOSTILE: {"n": 4}},
    }
    return compare_runs([stored_run(tmp_path / "run", rows, **protocol)])


def test_latex_lets_no_sign_of_a_name_through(hostile: Comparison) -> None:
    written = latex(blocks(hostile, published()))
    commands = {r"\begin{tabular}", r"\end{tabular}", r"\hline", r"\paragraph", r"\multicolumn", r"\textit", r"\\"}
    remainder = re.sub(
        r"\\(begin|end)\{tabular\}(\{l+\})?|\\hline|\\paragraph|\\multicolumn|\\textit|\\\\(?=\n)", "", written
    )
    remainder = re.sub(r"\\(text[a-z]+|ldots|dag)\{\}|\$\\[a-z]+\$|\\[#$%&_{}]| & |\{[\[\]]\}", "", remainder)
    assert not re.search(r"[\\#$%&_^~<>|\[\]\"]", remainder)
    assert remainder.count("{") == remainder.count("}")
    assert all(command in written for command in commands)
    assert written.count(r"\end{tabular}") == written.count(r"\begin{tabular}") == len(blocks(hostile, published()))


def test_markdown_has_a_line_for_each_row_and_lets_no_name_break_it(hostile: Comparison) -> None:
    assert markdown([BLOCK]).split("\n") == [
        "### Title",
        "",
        "| method       | value ↓  |",
        "| ------------ | -------- |",
        "| plain        | .50 ±.01 |",
        "| **Equal KL** |          |",
        r"| a\|b         | ×2       |",
        "| [c           | †        |",
        "",
        "A note.",
    ]
    written = markdown(blocks(hostile, None))
    assert not re.search(r"(?<!\\)[<`]", written)
    tables = [part.split("\n") for part in written.split("\n\n") if part.startswith("|")]
    for lines in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_latex_is_a_plain_tabular() -> None:
    assert latex([BLOCK]).split("\n") == [
        r"\paragraph{Title}",
        "",
        r"\begin{tabular}{ll}",
        r"\hline",
        r"method & value $\downarrow$ \\",
        r"\hline",
        r"plain & .50 $\pm$.01 \\",
        r"\hline",
        r"\multicolumn{2}{l}{\textit{Equal KL}} \\",
        r"a\textbar{}b & $\times$2 \\",
        r"{[}c & \dag{} \\",
        r"\hline",
        r"\end{tabular}",
        "",
        "A note.",
    ]


@pytest.mark.parametrize("name", ["=1+1", "+cmd|x", "-a", "@SUM(A1)", "\t=1"])
def test_no_cell_of_the_csv_is_a_formula(name: str, tmp_path: Path) -> None:
    rows = [run_row({TOXICITY: [0.1, 0.2, 0.3, 0.4]}, method=method) for method in (name, "-5", "a=b")]
    written = long_csv(compare_runs([stored_run(tmp_path / "run", rows)], against="a=b"))
    cells = [line["method"] for line in csv.DictReader(io.StringIO(written))]
    assert sorted(cells) == sorted([f"'{name}", "-5", "a=b"])


def test_the_csv_has_every_number_in_full(tmp_path: Path) -> None:
    rows = [
        run_row({TOXICITY: [0.5, 0.7, 0.9, 0.3], "dist_1": [0.5] * 4}),
        run_row({TOXICITY: [0.1, 0.2, 0.3, 1 / 3], "dist_1": [0.4] * 4}, {"detox": 5.0}, seed=7, budget="kl 0.3"),
    ]
    comparison = compare_runs([stored_run(tmp_path / "run", rows)])
    lines = list(csv.DictReader(io.StringIO(long_csv(comparison))))
    pairs = itertools.product(("plain", "lm-steer"), (TOXICITY, "dist_1"))
    assert [(line["method"], line["metric"]) for line in lines] == list(pairs)
    steered, change = lines[2], comparison.changes[1, TOXICITY]
    assert float(steered["value"]) == rows[1][0].metrics[TOXICITY].value
    numbers = [float(steered[name]) for name in ("change", "change_low", "change_high", "p")]
    assert numbers == [change.change, change.low, change.high, change.p]
    assert (steered["against"], steered["protocol"], steered["n"]) == ("plain", "0123456789ab", "4")
    assert (steered["budget"], steered["strength"], steered["seeds"]) == ("kl 0.3", "detox +5", "7")
    assert json.loads(steered["settings"]) == {"rank": 64, "steps": 200}
    assert (steered["sd"], steered["scorer"], lines[3]["scorer"], lines[3]["change"]) == ("", "words", "", "")
