"""Labels become the numbers that a map gives them, and what the map leaves open is named."""

from collections.abc import Sequence

import pytest

from lmsteer.data.label_map import LabelMap, label_name
from lmsteer.errors import InputError


def numbers(label_map: LabelMap, labels: Sequence[object]) -> list[float | None]:
    found = [label_map.number({"label": label}, "label", f"line {n}") for n, label in enumerate(labels, 1)]
    label_map.check("mine")
    return found


@pytest.mark.parametrize(
    ("labels", "data"),
    [
        ({"pos": 1, "neg": -1}, ["pos", "neg", " pos "]),
        ({1: 1, 0: -1}, [1, 0, "1"]),
        ({"1": 1, "0": -1}, [1.0, "0.0", True + 0]),
        ({True: 1, False: -1}, [True, "False", "true"]),
        ({"very bad": -1, "fine": 0.5}, ["fine", "very bad", "fine"]),
    ],
)
def test_a_label_has_the_number_of_its_name_in_whatever_type_it_is_written(
    labels: dict[str, float], data: list[object]
) -> None:
    by_name = {label_name(name): number for name, number in labels.items()}
    assert numbers(LabelMap(labels), data) == [by_name[label_name(label)] for label in data]


def test_a_score_is_low_high_or_between_its_thresholds() -> None:
    scores = [0.0, 0.1, 0.11, "0.49", 0.5, 1]
    assert numbers(LabelMap(thresholds=[0.1, 0.5]), scores) == [-1, -1, None, None, 1, 1]
    assert numbers(LabelMap({"low": 1, "high": -1}, thresholds=[0.5, 0.5]), scores) == [1, 1, 1, 1, -1, -1]
    assert numbers(LabelMap({"low": 1, "middle": 0, "high": -1}, thresholds=[0.1, 0.5]), scores)[2] == 0


def test_labels_without_a_number_are_refused_with_all_that_there_are_or_left_out() -> None:
    data = ["pos", "neutral", "neg", "neutral", None]
    labels = {"pos": 1.0, "neg": -1.0}
    assert numbers(LabelMap(labels, other="drop"), data) == [1, None, -1, None, None]
    with pytest.raises(
        InputError,
        match=r"^line 2: label 'neutral' is not in corpus\.labels; there are neutral \(2 rows\), pos \(1 rows\), neg "
        r"\(1 rows\), None \(1 rows\): give each a number, or corpus\.other=drop$",
    ):
        numbers(LabelMap(labels), data)


@pytest.mark.parametrize(
    ("options", "data", "message"),
    [
        (
            {"labels": {"pos": 1, "bad": -1}},
            ["pos", "neg"],
            r"no row of corpus mine has the label 'bad'; there are pos",
        ),
        (
            {"thresholds": [0.1, 0.5]},
            [0.7, 0.2],
            r"no row of corpus mine has the label 'low'; there are high \(1 rows\)",
        ),
        ({}, [0, 1, 1], r"labels are from 0 to 1, and none is negative; .*corpus\.labels=\{0: -1, 1: 1\}"),
        ({}, [0.5, 0.0, 0.7], r"labels are from 0 to 0\.7, and none is negative; .*corpus\.thresholds=\[LOW, HIGH\]"),
        ({}, ["pos"], r"line 1: label is 'pos'; a number is needed, or a map such as corpus\.labels="),
        ({}, [True], r"line 1: label is True; a number is needed"),
        ({}, [2], r"line 1: label is 2; allowed are numbers from -1 to 1"),
        ({"thresholds": [0.1, 0.5]}, ["high"], r"line 1: label is 'high'; a number is needed"),
        (
            {"labels": {"a": 1, "b": -1}},
            list(range(10_001)),
            r"line 10001: more than 10000 labels in label; of a score",
        ),
    ],
)
def test_labels_that_do_not_fit_are_refused(options: dict[str, object], data: list[object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        numbers(LabelMap(**options), data)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": {"pos": 1}}, r"corpus\.labels=\{pos: 1\}: two or more numbers expected"),
        ({"labels": {}}, r"two or more numbers expected"),
        ({"labels": {"pos": 2, "neg": -1}}, r"corpus\.labels\.pos=2: allowed are numbers from -1 to 1"),
        ({"labels": {"pos": float("nan"), "neg": -1}}, r"corpus\.labels\.pos=nan: allowed"),
        ({"labels": {"1": 1, 1: -1, "0": 0}}, r"one name twice"),
        ({"thresholds": [0.5]}, r"corpus\.thresholds=\[0\.5\]: two numbers expected"),
        ({"thresholds": [0.5, 0.1]}, r"corpus\.thresholds=\[0\.5, 0\.1\]: two numbers expected"),
        ({"thresholds": [float("nan"), 0.1]}, r"two numbers expected"),
    ],
)
def test_wrong_maps_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LabelMap(**options)  # type: ignore[arg-type]


def test_labels_that_are_numbers_stay_as_they_are() -> None:
    data = [-1, 0.25, "1", 0]
    assert numbers(LabelMap(), data) == [-1, 0.25, 1, 0]
