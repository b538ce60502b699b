"""The name of a model follows its id: figures never carry the name of a preset for another model."""

import pytest
from omegaconf import OmegaConf
from tests.handmade_commands import command_config

from lmsteer.cli.repository_ids import follow_ids


def composed(name: str, *overrides: str) -> object:
    config = command_config(name, *overrides)
    follow_ids(config, overrides)
    return config


@pytest.mark.parametrize(
    ("overrides", "option", "name"),
    [
        (["model=gpt2"], "model", "gpt2"),
        (["model=gpt2", "model.id=me/mine"], "model", None),
        (["model=gpt2", "model.id=me/mine", "model.name=own"], "model", "own"),
        (["model=gpt2", "protocol.perplexity_model.id=me/mine"], "model", "gpt2"),
        (["model=gpt2", "protocol.perplexity_model.id=me/mine"], "protocol.perplexity_model", None),
        (["model=gpt2", "protocol.scorers.distilbert-sst2.id=me/mine"], "protocol.scorers.distilbert-sst2", None),
    ],
)
def test_the_name_of_a_preset_goes_with_its_id(overrides: list[str], option: str, name: str | None) -> None:
    assert OmegaConf.select(composed("train", *overrides), option).name == name  # type: ignore[arg-type]


def test_the_commit_of_a_preset_goes_with_its_id() -> None:
    key = "protocol.scorers.distilbert-sst2"
    preset = OmegaConf.select(composed("train", "model=gpt2"), key)  # type: ignore[arg-type]
    other = OmegaConf.select(composed("train", "model=gpt2", f"{key}.id=me/mine"), key)  # type: ignore[arg-type]
    assert len(preset.revision) == 40
    assert other.revision is None
