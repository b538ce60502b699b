"""Promises of the study of interpretations."""

import json
from pathlib import Path

import pytest
import torch
from tests.reporting.test_interpretation_report import handmade

from experiments.interpretation.run import (
    COMMANDS,
    main,
    nearest_direction,
    runs_table,
    seeds_table,
    write_labels,
    write_split,
)
from lmsteer.data.sources.labeled_file import labeled_file
from lmsteer.steering.directions import randomized
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer, save_steer

CALIBRATION = {
    **dict.fromkeys(("protocol", "budget", "dimension"), "mine"),
    "direction": 1,
    "fixed_strengths": {},
    "strength": 1,
}


@pytest.fixture
def steer_file(steer: Steer, tmp_path: Path) -> Path:
    save_steer(tmp_path / "steer.safetensors", steer, Provenance("tiny-0", "0" * 64, calibration=[CALIBRATION]))
    return tmp_path / "steer.safetensors"


def test_the_parts_of_a_steer_add_up_to_it(steer_file: Path, steer: Steer, tmp_path: Path) -> None:
    write_split(steer_file, tmp_path / "split.safetensors")
    split, provenance = load_steer(tmp_path / "split.safetensors")
    assert split.dimensions == ("sentiment", "first", "rest")
    assert (provenance.calibration, provenance.derivation["kind"]) == ([], "parts")
    total, first, rest = (split.matrix(k).detach() for k in range(3))
    torch.testing.assert_close(total, steer.matrix(0).detach())
    torch.testing.assert_close(first + rest, total, rtol=1e-4, atol=1e-5)
    assert torch.linalg.matrix_rank(first, tol=1e-3) == 1
    assert torch.linalg.matrix_norm(rest, 2) == pytest.approx(float(steer.directions(0).sizes_R[1]), rel=1e-4)


def test_a_direction_is_recognized_whatever_its_sign_and_not_by_chance(steer: Steer) -> None:
    directions = steer.directions(0)
    turned = directions.turned(torch.tensor([-1.0, 1.0, -1.0, 1.0]))
    assert nearest_direction(directions, turned).tolist() == pytest.approx([1.0] * 4)
    assert nearest_direction(directions, randomized(directions, 0)).max() < 0.5
    half = directions.turned(torch.ones(4))
    half.context_DR[:, 0] = 0.6 * directions.context_DR[:, 0]
    assert nearest_direction(directions, half)[0] == pytest.approx(0.6)


def test_seeds_are_compared_pair_by_pair(steer_file: Path) -> None:
    lines = seeds_table(steer_file, steer_file, steer_file).split("\n")[2:]
    assert [line.split("|")[1].strip() for line in lines] == ["0, 1", "0, 2", "1, 2", "0, a random matrix"]
    assert lines[0].count("1.00") == 4


def test_stored_scores_become_labels_that_a_corpus_file_takes(tmp_path: Path) -> None:
    source, out = tmp_path / "rtp.jsonl", tmp_path / "labels.jsonl"
    rows = [
        {"prompt": {"text": f"a {n}", "toxicity": 0.0}, "continuation": {"text": f" b {n}", "toxicity": 0.75}}
        for n in range(30)
    ]
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    write_labels(source, out)
    corpus = labeled_file(path=str(out))
    labels = {row.text: row.label for row in (*corpus.train, *corpus.dev, *corpus.test, *corpus.scorer_split)}
    assert labels["a 3"] == 1
    assert {label for text, label in labels.items() if "b" in text} == {-0.5}


def test_a_run_is_a_row_of_the_table(tmp_path: Path) -> None:
    facts = {"dimension": "dummy", "fitted_on": "snippets", "corpus": "mine", "part": "dev", "plus": 5, "minus": 4}
    (tmp_path / "interpretation.json").write_text(handmade(facts=facts).model_dump_json(), encoding="utf-8")
    (line,) = runs_table(tmp_path).split("\n")[2:]
    aucs = [".77 [.72, .82]", ".75 [.70, .80]", ".70 [.65, .75]"]
    expected = ["dummy of snippets", "mine, dev", "5 + 4", "1.3", *aucs, ".43 to .59"]
    assert [cell.strip() for cell in line.strip("|").split("|")] == expected


@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_files_and_usage_end_in_one_line(name: str, tmp_path: Path) -> None:
    missing = [str(tmp_path / "none"), str(tmp_path / "none2")]
    for arguments, start in (([], "usage: python -m experiments.interpretation."), (missing, "Error: ")):
        with pytest.raises(SystemExit) as caught:
            main([name, *arguments])
        assert str(caught.value).startswith(start)
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
