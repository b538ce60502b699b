import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.handmade import PROTOCOL, row, value

from lmsteer.errors import InputError
from lmsteer.evaluation.results import Result, ResultRow, read_result, strength_label, write_result


def test_a_result_comes_back_equal_and_is_written_to_the_same_bytes(tmp_path: Path, result: Result) -> None:
    first, second = tmp_path / "metrics.json", tmp_path / "again.json"
    write_result(first, result)
    write_result(second, read_result(first))
    assert read_result(first) == result
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.json", "metrics.json"]


def test_the_file_has_the_published_shape(tmp_path: Path, plain: ResultRow) -> None:
    write_result(tmp_path / "metrics.json", Result(protocol=PROTOCOL, rows=[plain]))
    positivity = {"value": 0.47, "low": 0.43, "high": 0.51, "n": 120, "scorer": "tfidf"}
    perplexity = {"value": 16.4, "low": 15.8, "high": 17.0, "n": 120, "scorer": "smollm2"}
    row = {"model": "smollm2", "method": "plain", "seed": 0, "prompts": "snippets", "strength": {}, "budget": ""}
    row |= {"settings": {}, "metrics": {"positivity": positivity, "perplexity": perplexity}}
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"schema": 1, "protocol": PROTOCOL, "rows": [row]}


@pytest.mark.parametrize(
    ("was", "becomes", "named"),
    [
        ("0.47", "NaN", r"rows\.1\.metrics\.positivity\.value: .*finite"),
        ("0.47", "Infinity", r"rows\.1\.metrics\.positivity\.value: .*finite"),
        ("0.47", "47.0", r"rows\.1\.metrics: .*positivity is 47\.0; a value in \[0, 1\]"),
        ("0.47", '"0.47"', r"rows\.1\.metrics\.positivity\.value: .*number"),
        ("0.43", "0.6", r"rows\.1\.metrics\.positivity: .*low 0\.6 is above high 0\.51"),
        ("0.43", "null", r"rows\.1\.metrics\.positivity: .*both numbers or both null"),
        ('"n": 120', '"n": 0', r"rows\.0\.metrics\.positivity\.n: .*greater than or equal to 1"),
        ('"seed": 0', '"seeds": 0', r"rows\.0\.seed: .*required"),
        ('"schema": 1', '"schema": 2', r"schema: .*1"),
        ('"schema": 1,', "", r"schema: .*required"),
        ('"sentiment": 5.0', '"sentiment": -5.0', r"rows: .*two rows for smollm2, snippets, sentiment -5"),
        ('"samples": 5', '"samples": NaN', r"protocol"),
        ("{", "", r"the whole file: "),
    ],
)
def test_a_file_out_of_the_schema_is_refused_by_name(
    tmp_path: Path, result: Result, was: str, becomes: str, named: str
) -> None:
    path = tmp_path / "metrics.json"
    write_result(path, result)
    text = path.read_text()
    assert was in text
    path.write_text(text.replace(was, becomes, 1))
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}, {named}") as caught:
        read_result(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*none\.json: No such file"):
        read_result(tmp_path / "none.json")


def test_a_steered_row_cannot_call_itself_plain() -> None:
    with pytest.raises(ValidationError, match="method plain at strength"):
        row({"sentiment": 1.0}, {}, method="plain")


@pytest.mark.parametrize(
    ("strength", "label"),
    [
        ({}, ""),
        ({"sentiment": 5.0}, "sentiment +5"),
        ({"sentiment": -0.5}, "sentiment -0.5"),
        ({"sentiment": 5.0, "dummy": 1.0}, "sentiment +5, dummy +1"),
        ({"sentiment": 0.0}, "sentiment 0"),
    ],
)
def test_a_strength_is_named_with_its_sign(strength: dict[str, float], label: str) -> None:
    assert strength_label(strength) == label


def test_metrics_stand_in_the_order_of_columns() -> None:
    names = ["dist_1", "perplexity_corpus", "perplexity", "toxicity_probability@list"]
    names += ["expected_maximum_toxicity@list", "toxicity_probability", "expected_maximum_toxicity"]
    numbers = {name: value(1.0, None, None) for name in names}
    ordered = [metric.name for metric in Result(protocol=PROTOCOL, rows=[row({}, numbers)]).metrics]
    assert ordered == [*reversed(names[3:]), "perplexity", "perplexity_corpus", "dist_1"]
