import hashlib
from pathlib import Path

import numpy as np
import pytest
from tests.handmade_runs import RunRow, run_row, write_run

from lmsteer.errors import InputError
from lmsteer.evaluation.comparable import differences, find_runs, read_run, refuse_mixed
from lmsteer.evaluation.results import read_result, write_result

TOXICITY = "expected_maximum_toxicity"


def plain() -> list[RunRow]:
    return [run_row({TOXICITY: [0.1, 0.2, 0.3, 0.4], "perplexity_corpus": [[10, 5], [20, 5], [30, 5], [40, 5]]})]


def run(folder: Path, **protocol: object) -> Path:
    return write_run(folder, plain(), **protocol)


def test_a_run_is_read_with_the_values_of_its_prompts(tmp_path: Path) -> None:
    result = read_run(run(tmp_path / "a"))
    sample = result.sample(0, TOXICITY)
    assert sample.prompts == ("prompt 0", "prompt 1", "prompt 2", "prompt 3")
    assert [column.tolist() for column in sample.columns] == [[0.1, 0.2, 0.3, 0.4]]
    assert [column.tolist() for column in result.sample(0, "perplexity_corpus").columns] == [[10, 20, 30, 40], [5] * 4]


def test_folders_of_runs_are_opened_and_unfinished_ones_named(tmp_path: Path) -> None:
    first, second = run(tmp_path / "sweep" / "1"), run(tmp_path / "sweep" / "2")
    begun = tmp_path / "sweep" / "3"
    begun.mkdir()
    (begun / "config.yaml").write_text("seed: 3\n")
    (tmp_path / "sweep" / ".submitit").mkdir()
    run(tmp_path / "sweep" / "rescored" / "other")
    alone = run(tmp_path / "alone")
    assert find_runs([tmp_path / "sweep", alone, first]) == ([first, second, alone], [begun])


def test_a_folder_without_a_finished_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no metrics\.json there or in its subfolders"):
        find_runs([tmp_path / "empty"])
    with pytest.raises(InputError, match="none: no such folder"):
        find_runs([tmp_path / "none"])


def test_missing_and_cut_files_are_refused_by_name(tmp_path: Path) -> None:
    folder = run(tmp_path / "a")
    whole = (folder / "metrics.json").read_bytes()
    (folder / "metrics.json").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a/metrics\.json, .*schema 1 is expected"):
        read_run(folder)
    (folder / "metrics.json").write_bytes(whole)
    values = (folder / "values.safetensors").read_bytes()
    (folder / "values.safetensors").write_bytes(values[:-8])
    with pytest.raises(InputError, match=r"a/values\.safetensors: missing or damaged"):
        read_run(folder)
    (folder / "values.safetensors").unlink()
    with pytest.raises(InputError, match=r"a/values\.safetensors: missing or damaged"):
        read_run(folder)


def test_values_of_another_result_are_refused(tmp_path: Path) -> None:
    folder = run(tmp_path / "a")
    others = [[*plain(), run_row({TOXICITY: [0.1] * 4}, {"detox": 1.0})], [run_row({"dist_1": np.ones(4)})]]
    for number, rows in enumerate(others):
        other = write_run(tmp_path / str(number), rows)
        (folder / "values.safetensors").write_bytes((other / "values.safetensors").read_bytes())
        with pytest.raises(InputError, match=r"it does not belong to the metrics\.json next to it"):
            read_run(folder)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"samples": 6}, ["samples"]),
        ({"scorers": {"words": "2"}, "perplexity_model_revision": "bbb"}, ["scorers", "perplexity_model_revision"]),
        ({"decoding": {"p": 1.0}, "batch_size": 8, "noise_seed": 1}, ["decoding", "batch_size", "noise_seed"]),
        ({"perplexity_limit": 1e4, "metric": "positivity"}, ["metric", "perplexity_limit"]),
        ({"prompts": {"toxic-leaning": {"n": 4, "digest": "d2"}}}, ["prompts toxic-leaning"]),
        ({"prompts": {"nontoxic": {"n": 4, "digest": "d1"}}}, ["prompts (toxic-leaning; nontoxic)"]),
        ({"decoding": None, "batch_size": None, "noise_seed": None}, []),
        ({"mode": "published"}, ["mode"]),
        ({"dtype": "bfloat16", "name": "other", "digest": "x"}, []),
        ({"prompts": {"toxic-leaning": {"n": 4, "digest": "d1"}, "more": {"n": 1, "digest": "d"}}}, []),
    ],
)
def test_protocols_differ_in_what_decides_and_unknown_is_no_difference(
    changed: dict[str, object], named: list[str], tmp_path: Path
) -> None:
    runs = [read_run(run(tmp_path / "a")), read_run(run(tmp_path / "b", **changed))]
    assert differences(runs[0].result.protocol, runs[1].result.protocol) == named
    if named:
        with pytest.raises(InputError, match=r"a and .*b were measured by different protocols: ") as refused:
            refuse_mixed(runs)
        assert str(refused.value).partition("protocols: ")[2] == f"{', '.join(named)}; make a table of each"
    else:
        refuse_mixed(runs)


def test_two_unknowns_do_not_hide_that_known_ones_differ(tmp_path: Path) -> None:
    runs = [read_run(run(tmp_path / str(n), decoding=p)) for n, p in enumerate(({"p": 0.9}, None, {"p": 1.0}))]
    with pytest.raises(InputError, match=r"0 and .*2 were measured by different protocols: decoding"):
        refuse_mixed(runs)


def test_published_recipes_sample_as_they_like(tmp_path: Path) -> None:
    decodings = {"p": 0.9}, {"p": 1.0}
    fair, published = (
        [read_run(run(tmp_path / mode / str(p["p"]), decoding=p, **entry)) for p in decodings]
        for mode, entry in (("fair", {}), ("published", {"mode": "published"}))
    )
    refuse_mixed(published)
    with pytest.raises(InputError, match="different protocols: decoding; make a table of each"):
        refuse_mixed(fair)


@pytest.mark.parametrize("name", ["values.safetensors", "generations.jsonl"])
def test_a_file_that_a_result_was_not_made_of_is_refused(tmp_path: Path, name: str) -> None:
    folder = run(tmp_path / "a")
    assert read_run(folder).result.files == {}, "results of earlier versions have no digests"
    path = folder / name
    path.write_bytes(path.read_bytes() if path.exists() else b"")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    result = read_result(folder / "metrics.json")
    write_result(folder / "metrics.json", result.model_copy(update={"files": {name: digest}}))
    assert read_run(folder).result.files == {name: digest}
    write_result(folder / "metrics.json", result.model_copy(update={"files": {name: digest[::-1]}}))
    with pytest.raises(InputError, match=rf"{name}: not the file that metrics\.json next to it was made of"):
        read_run(folder)
