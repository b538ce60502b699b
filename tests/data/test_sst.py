"""SST in the formats it comes in: the same sentences give the same corpus."""

import json
from pathlib import Path

import datasets
import pytest

from lmsteer.data.corpus import Corpus
from lmsteer.data.sources.sst import sst2, sst5
from lmsteer.errors import InputError
from lmsteer.records import Row

TRAIN = [(f'sentence {i} "quoted', i % 5) for i in range(10)]
DEV = [("a dev sentence", 4), ("Sentence 3 , ` quoted", 3)]  # the second is the train sentence 3 in other spelling
TEST = [("a test sentence", 0)]
SPLITS = {"train": TRAIN, "dev": DEV, "test": TEST}


def tsv(folder: Path) -> None:
    for split, rows in SPLITS.items():
        lines = [f"{label + 1}\t{text}\n" for text, label in rows]
        (folder / f"{split}.tsv").write_text("label\ttext\n" + "".join(lines), encoding="utf-8")


def jsonl(folder: Path) -> None:
    for split, rows in SPLITS.items():
        lines = [json.dumps({"text": text, "label": label, "label_text": "x"}) + "\n" for text, label in rows]
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


def parquet(folder: Path) -> None:
    """The layout of data sets that the hub has converted: read by ``datasets`` itself."""
    for split, rows in SPLITS.items():
        name = {"dev": "validation"}.get(split, split)
        values = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
        (folder / "data").mkdir(exist_ok=True)
        datasets.Dataset.from_dict(values).to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")


@pytest.mark.parametrize("write", [tsv, jsonl, parquet])
def test_every_format_gives_the_five_labels_and_the_splits_of_the_source(write: object, tmp_path: Path) -> None:
    folder = tmp_path / "sst"
    folder.mkdir()
    assert callable(write)
    write(folder)
    train = tuple(Row(text, label / 2 - 1) for text, label in TRAIN if label != 3 or "8" in text)
    dev = tuple(Row(text, label / 2 - 1) for text, label in DEV)
    test = (Row("a test sentence", -1.0),)
    assert sst5(path=str(folder)) == Corpus("sst5", train=train, dev=dev, test=test, removed={"duplicates": 1})


def test_binary_drops_the_neutral_and_keeps_the_sign(tmp_path: Path) -> None:
    tsv(tmp_path)
    train = sst5(path=str(tmp_path), labels="binary").train
    assert [row.label for row in train] == [-1.0, -1.0, 1.0, -1.0, -1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((0, 5), r"label 0 \(.*line 2\) and label 5 \(.*line 3\)"),
        ((1, 4), "neither label 0 nor label 5"),
        ((0, 6), r"line 3: label is 6; allowed are whole numbers 0 to 5"),
        ((0, 0.5), r"line 3: label is 0\.5"),
        ((0, "good"), r"line 3: label is 'good'; a number is needed"),
    ],
)
def test_an_ambiguous_scale_is_refused(labels: tuple[object, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(f"text\tlabel\na\t{labels[0]}\nb\t{labels[1]}\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        sst5(path=str(path))


def test_sst2_has_two_labels_and_ignores_hidden_ones(tmp_path: Path) -> None:
    for split, labels in {"train": (0, 1) * 100, "validation": (1, 0), "test": (-1, -1)}.items():
        lines = [json.dumps({"sentence": f"{split} {i}", "label": label, "idx": i}) for i, label in enumerate(labels)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    corpus = sst2(path=str(tmp_path))
    assert corpus.dev == (Row("validation 0", 1.0), Row("validation 1", -1.0))
    assert {*corpus.train, *corpus.test} == {Row(f"train {i}", 2.0 * (i % 2) - 1) for i in range(200)}
    assert len(corpus.train) > len(corpus.test) > 0


@pytest.mark.parametrize("suffix", ["tsv", "csv", "jsonl"])
def test_a_test_file_without_labels_is_left_out_as_hidden_labels_are(suffix: str, tmp_path: Path) -> None:
    hidden = [{"index": i, "sentence": f"hidden {i}"} for i in range(3)]
    labeled = {
        split: [{"sentence": f"{split} {i}", "label": i % 2} for i in range(n)]
        for split, n in (("train", 200), ("dev", 2))
    }
    corpora = []
    for test in (hidden, [row | {"label": -1} for row in hidden]):
        for split, rows in (labeled | {"test": test}).items():
            data, path = datasets.Dataset.from_list(rows), tmp_path / f"{split}.{suffix}"
            _ = data.to_json(path) if suffix == "jsonl" else data.to_csv(path, sep="\t" if suffix == "tsv" else ",")
        corpora.append(sst2(path=str(tmp_path)))
    assert corpora[0] == corpora[1]
    assert corpora[0].dev == (Row("dev 0", -1.0), Row("dev 1", 1.0))
    assert corpora[0].test


def test_a_train_file_without_labels_is_refused_by_line(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("index\tsentence\n0\ta\n")
    with pytest.raises(InputError, match=r"train\.tsv, line 2: no column 'label'"):
        sst2(path=str(tmp_path))


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_column_named_twice_in_the_layout_of_the_hub_is_refused_by_its_name(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    contents = {"csv": "text,label,label\na,1,0\n", "jsonl": '{"text": "a", "label": 1, "label": 0}\n'}
    (tmp_path / "data" / f"train-0.{suffix}").write_text(contents[suffix])
    with pytest.raises(InputError, match=r"\blabel\b.* twice") as caught:
        sst2(path=str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["file", "folder", "hub"])
def test_sst2_reads_sentences_from_a_column_of_either_name(kind: str, tmp_path: Path) -> None:
    corpora = []
    for column in ("sentence", "text"):
        values = {column: [f"row {i}" for i in range(200)], "label": [i % 2 for i in range(200)]}
        folder = tmp_path / column
        folder.mkdir()
        if kind == "hub":
            (folder / "data").mkdir()
            datasets.Dataset.from_dict(values).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
        else:
            datasets.Dataset.from_dict(values).to_csv(folder / "train.tsv", sep="\t", index=False)
        corpora.append(sst2(path=str(folder / "train.tsv" if kind == "file" else folder)))
    assert corpora[0] == corpora[1]
    assert len(corpora[0].train) > 100


def test_sst2_without_sentences_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("words,label\na,1\n")
    with pytest.raises(InputError, match=r"a\.csv, line 2: no column 'sentence' or 'text'; there are words, label"):
        sst2(path=str(tmp_path / "a.csv"))


def test_what_is_not_a_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        sst5(path=str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="cannot be loaded"):
        sst5(path=str(tmp_path / "empty"))
    datasets.Dataset.from_dict({"text": ["a"], "score": [1]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="no column 'label'; there are text, score"):
        sst5(path=str(tmp_path / "a.parquet"))
