"""Promises of the configuration: it matches the objects it builds, and fails when it is composed, not hours later."""

import importlib
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from lmsteer.errors import InputError
from src.configuration import CONF, record, resolved

ENTRIES = {name: importlib.import_module(f"src.{name}").KEYS for name in ("train", "generate", "evaluate")}
NEEDED = {
    "train": [],
    "generate": [],
    "evaluate": ["generations=g.jsonl"],
    "model/hf": ["model.id=some/model"],
    "data/file": ["data.path=some.tsv"],
}
GROUPS = {
    "model": "train",
    "steer": "train",
    "data": "train",
    "protocol": "train",
    "decoding": "train",
    "logger": "train",
    "stack": "train",
    "prompts": "generate",
}
CHOICES = sorted(f"{path.parent.name}/{path.stem}" for group in GROUPS for path in (Path(CONF) / group).glob("*.yaml"))


def composed(entry: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose(entry, overrides=["run_dir=x", *overrides])


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes_into_keys_and_values_that_its_target_takes(choice: str) -> None:
    group, name = choice.split("/")
    entry = GROUPS[group]
    config = resolved(composed(entry, f"{group}={name}", *NEEDED[entry], *NEEDED.get(choice, [])), ENTRIES[entry])
    assert group in config or choice == "protocol/none"


@pytest.mark.parametrize("entry", list(ENTRIES))
def test_top_level_keys_are_those_the_entry_point_reads(entry: str) -> None:
    assert set(composed(entry, *NEEDED[entry])) == ENTRIES[entry]


def test_every_group_is_chosen_from_and_has_two_members() -> None:
    groups = {path.name for path in Path(CONF).iterdir() if path.is_dir()}
    assert groups == set(GROUPS)
    assert all(len(list((Path(CONF) / group).glob("*.yaml"))) >= 2 for group in groups)


def test_the_corpus_follows_attribute_and_model() -> None:
    targets = {
        overrides: composed("train", *overrides).data._target_
        for overrides in [(), ("steer=detox",), ("model=gpt2-large",), ("model=gpt2-large", "steer=detox")]
    }
    assert [target.rpartition(".")[2] for target in targets.values()] == [
        "snippets",
        "toxic_snippets",
        "sst5",
        "jigsaw",
    ]
    assert composed("train", "model=gpt2-large", "data=snippets").data._target_.endswith("snippets")


def test_rank_is_low_for_the_embedded_model_and_full_for_hub_models() -> None:
    assert composed("train").steer.rank == 64
    assert composed("train", "model=gpt2").steer.rank == "full"
    assert composed("train", "model=gpt2", "steer.rank=8").steer.rank == 8


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+steer.rnk=3"], r"steer\.rnk: unknown option; allowed are name, .*rank"),
        (["+fast=true"], r"fast: unknown option; allowed are .*model"),
        (["steer.rank=high"], r"steer\.rank='high'"),
        (["fit.steps=many"], r"fit\.steps='many': .*integer"),
        (["fit.lr=quick"], r"fit\.lr='quick': .*number"),
        (["data=sst5", "data.labels=seven"], r"data\.labels='seven': .*'five' or 'binary'"),
        (["protocol.strengths=[a]"], r"protocol\.strengths=\['a'\]"),
        (["protocol.scorers.0.nme=x"], "nme"),
        (["device=tpu"], "device='tpu'"),
        (["dtype=int8"], "dtype='int8'"),
        (["seed=x"], "seed='x'"),
    ],
)
def test_wrong_keys_and_values_are_refused_by_name(overrides: list[str], message: str) -> None:
    with pytest.raises((InputError, Exception), match=message):
        resolved(composed("train", *overrides), ENTRIES["train"])


def test_the_record_names_everything_but_the_folder() -> None:
    config = resolved(composed("train"), ENTRIES["train"])
    assert "run_dir" not in record(config)
    assert record(config) == record(resolved(composed("train"), ENTRIES["train"]))
    assert record(config) != record(resolved(composed("train", "seed=1"), ENTRIES["train"]))
