"""Promises of the configuration: it matches the objects it builds, and fails when it is composed, not hours later."""

import os
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from tests.handmade_commands import command_config

from lmsteer.cli.app import CONF, entry_point
from lmsteer.cli.configuration import OBJECTS, check_config
from lmsteer.cli.folders import folder_name
from lmsteer.cli.identity import run_identity
from lmsteer.cli.options import COMMON, OF_COMMAND
from lmsteer.errors import InputError

SOURCE = Path(__file__).parents[2] / "src"
NEEDED = {
    "train": [],
    "generate": [],
    "evaluate": ["generations=g.jsonl"],
    "calibrate": ["steer_file=s.safetensors"],
    "highlight": ["steer_file=s.safetensors", "file=texts.txt"],
    "compose": ["steer_files=[s.safetensors]"],
    "export": ["steer_file=s.safetensors"],
    "serve": ["steer_file=s.safetensors"],
    "convert": ["checkpoint=c.pt"],
    "interpret": ["steer_file=s.safetensors"],
    "report": ["runs=FOLDER"],
    "annotate": [],
    "fetch": [],
    "transfer": ["steer_file=s.safetensors", "model@to=tiny"],
    "model/hf": ["model.id=some/model"],
    "protocol/base": ["protocol.name=own", "protocol.metric=toxicity"],
    "protocol/base-paper": ["protocol.name=own", "protocol.metric=toxicity"],
    "corpus/file": ["corpus.path=some.tsv"],
    "corpus/hub": ["corpus.id=some/data"],
}
GROUPS = dict.fromkeys(
    ("model", "size", "steer", "method", "corpus", "strengths", "protocol", "decoding", "logger"), "train"
)
GROUPS |= dict.fromkeys(("data", "solver", "optimizer", "scheduler", "callbacks", "trainer"), "train")
GROUPS |= {"experiment": "train", "recipe": "train", "sweep": "train", "prompts": "generate"}
WITHOUT_KEY = ("experiment", "recipe", "sweep", "strengths")
"""Groups whose choices change other options and are none themselves."""
SCORERS = sorted(path.stem for path in (Path(CONF) / "scorer").glob("*.yaml"))
CHOICES = sorted(f"{path.parent.name}/{path.stem}" for group in GROUPS for path in (Path(CONF) / group).glob("*.yaml"))


def composed(entry: str, *overrides: str) -> DictConfig:
    """The configuration of a command; fetch alone has no folder."""
    return command_config(entry, *([] if entry == "fetch" else ["run_dir=x"]), *overrides)


def checked(entry: str, *overrides: str) -> dict[str, Any]:
    """The same as plain values, every one of which is checked."""
    return check_config(composed(entry, *overrides), OF_COMMAND[entry])


def options_of(entry: str, config: dict[str, Any]) -> set[str]:
    """The options that a command has to have: its plain ones, and what the configuration has of the common ones."""
    return {*OF_COMMAND[entry], *({*COMMON, *OBJECTS} & {*config})}


def test_every_command_has_a_table_of_options_a_configuration_and_a_module() -> None:
    files = {path.stem for path in Path(CONF).glob("*.yaml")} - {"base", "folder"}
    assert files == set(OF_COMMAND) == set(NEEDED) - {choice for choice in NEEDED if "/" in choice}
    assert files == {path.stem for path in SOURCE.glob("*.py")} - {"__init__"}


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes_into_keys_and_values_that_its_target_takes(choice: str) -> None:
    group, name = choice.split("/")
    entry = GROUPS[group]
    config = checked(entry, f"{group}={name}", *NEEDED[entry], *NEEDED.get(choice, []))
    assert group in config or group in WITHOUT_KEY or choice == "protocol/none"


@pytest.mark.parametrize("name", sorted(path.stem for path in (Path(CONF) / "model").glob("*.yaml")))
def test_a_steer_can_go_to_every_model_that_a_file_names(name: str) -> None:
    transfer = NEEDED["transfer"][:1]
    id_of_the_target, id_of_the_model = (["to.id=some/model"], ["model.id=some/model"]) if name == "hf" else ([], [])
    config = checked("transfer", *transfer, f"model@to={name}", *id_of_the_target)
    assert config["to"] == checked("train", f"model={name}", *id_of_the_model)["model"]
    assert config["model"] == checked("transfer", *transfer, "model@to=tiny")["model"]


@pytest.mark.parametrize("name", SCORERS)
def test_every_scorer_composes_into_a_protocol_under_its_own_name(name: str) -> None:
    needed = [f"protocol.scorers.{name}.path=scores.jsonl"] if name == "replay" else []
    config = checked("train", "steer=detox", f"scorer@protocol.scorers=[{name}]", *needed)
    assert list(config["protocol"]["scorers"]) == [name]
    own_name = None if name == "behaviour" else name  # named after its behaviours
    assert config["protocol"]["scorers"][name]["name"] == own_name


@pytest.mark.parametrize("entry", list(OF_COMMAND))
def test_a_plain_call_of_every_command_passes_its_checks(entry: str) -> None:
    config = checked(entry, *NEEDED[entry])
    assert set(config) == options_of(entry, config)


def test_the_place_and_size_of_the_cache_are_checked_and_do_not_identify_a_run() -> None:
    config = checked("train", "corpus=file", "corpus.path=some.tsv", "cache=off")
    assert (config["cache"], config["cache_gib"]) == ("off", 16)
    assert config["protocol"]["prompts"]["own"]["corpus"] == config["corpus"]
    assert not {"cache", "cache_gib"} & set(OmegaConf.create(run_identity(config)))
    assert run_identity(config) == run_identity(config | {"cache": "auto", "cache_gib": 1})
    with pytest.raises(InputError, match=r"cache_gib=0: .* greater than 0"):
        checked("train", "cache_gib=0")
    with pytest.raises(InputError, match=r"cache='': .* at least 1 character"):
        checked("train", "cache=''")


def test_every_group_is_chosen_from_and_has_two_members() -> None:
    groups = {path.name for path in Path(CONF).iterdir() if path.is_dir() and path.name != "hydra"}
    assert groups == set(GROUPS) | {"scorer", "behaviour", "schedule"}
    assert all(len(list((Path(CONF) / group).glob("*.yaml"))) >= 2 for group in groups)


def test_the_corpus_follows_attribute_and_model() -> None:
    for overrides, corpus in (
        ((), "snippets"),
        (("steer=detox",), "toxic_snippets"),
        (("model=gpt2-large",), "sst5"),
        (("model=gpt2-large", "steer=detox"), "jigsaw"),
    ):
        assert composed("train", *overrides).corpus._target_.rpartition(".")[2] == corpus
    assert composed("train", "model=gpt2-large", "corpus=snippets").corpus._target_.endswith("snippets")


@pytest.mark.parametrize("size", ["offline", "quick", "paper"])
def test_the_protocol_follows_attribute_strengths_and_size(size: str) -> None:
    for steer in ("sentiment", "detox"):
        for strengths, kind, budgets in (("curve", "-strength", (None, None)), ("table", "", (0.3, 2))):
            protocol = checked("train", f"steer={steer}", f"strengths={strengths}", f"size={size}")["protocol"]
            assert protocol["name"] == f"{steer}{kind}{'' if size == 'paper' else f'-{size}'}"
            assert (protocol["kl"], protocol["perplexity"]) == budgets
            assert len(protocol["strengths"]) > 1 or strengths == "table"


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (Path(CONF) / "recipe").glob("*.yaml")))
def test_a_published_recipe_is_measured_as_one_at_the_strength_of_its_paper(recipe: str) -> None:
    method, _, attribute = recipe.partition("-")
    config = checked("train", f"recipe={recipe}", "model=gpt2-large")
    assert config["protocol"]["mode"] == "published"
    assert (config["protocol"]["kl"], config["protocol"]["perplexity"]) == (None, None)
    assert config["steer"]["name"] == attribute
    strengths = {"lm_steer": [5], "dexperts": {"detox": [2], "sentiment": [-3.2, 3.2]}.get(attribute)}.get(method, [1])
    assert config["protocol"]["strengths"] == strengths
    assert checked("train", f"method={method}")["method"]["_target_"] == config["method"]["_target_"]


def test_without_a_protocol_nothing_is_left_of_it() -> None:
    assert not checked("train", "protocol=none").get("protocol")
    assert not checked("train", "protocol=none", "model=gpt2").get("protocol")
    assert not checked("train", "experiment=detox", "protocol=none").get("protocol")


def test_rank_is_low_for_the_embedded_model_and_full_for_hub_models() -> None:
    assert composed("train").steer.rank == "auto"
    assert composed("train", "model=gpt2").steer.rank == "full"
    assert composed("train", "model=gpt2", "steer.rank=8").steer.rank == 8


def test_the_record_names_everything_but_the_folder() -> None:
    config = checked("train")
    assert "run_dir" not in run_identity(config)
    assert run_identity(config) == run_identity(checked("train"))
    assert run_identity(config) != run_identity(checked("train", "seed=1"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["corpus=nosuch"], "Error: In 'train': Could not find 'corpus/nosuch'"),
        (["steer=null"], "Error: Config group override must be a string"),
        (["trainer.max_stpes=3"], "Error: Could not override 'trainer.max_stpes'."),
        (["+steer.rnk=3"], "Error: steer.rnk: unknown option; allowed are name, "),
        (["+fast=true"], "Error: fast: unknown option; allowed are "),
        (["steer.rank=high"], "Error: steer.rank='high': "),
        (["optimizer.lr=quick"], "Error: optimizer.lr='quick': Input should be a valid number"),
        (["corpus=sst5", "corpus.labels=seven"], "Error: corpus.labels='seven': Input should be 'five' or 'binary'"),
        (["protocol.strengths=[a]"], "Error: protocol.strengths=['a']: "),
        (["protocol.scorers.tfidf-snippets.nme=x"], "Error: Could not override 'protocol.scorers.tfidf-snippets.nme'"),
        (["device=tpu"], "Error: device='tpu': "),
        (["dtype=int8"], "Error: dtype='int8': "),
        (["protocol.strengths={a:1}"], "Error: Error merging override protocol.strengths={a:1}"),
        (["a b c=("], "Error: "),
        (["~module"], "Error: module: a value is needed"),
        (["module=5"], "Error: module=5: its options expected"),
        (["run_dir=null"], "Error: run_dir=None: Input should be a valid string"),
        (["seed=-1"], "Error: seed=-1: Input should be greater than or equal to 0"),
        (["seed=99999999999999999999"], "Error: seed=99999999999999999999: Input should be less than"),
        (["trainer.max_steps=true"], "Error: trainer.max_steps=True: Input should be a valid integer"),
        (["trainer.max_steps='\"5\"'"], "Error: trainer.max_steps='\"5\"': Input should be a valid integer"),
        (["trainer.max_steps={a:1}"], "Error: trainer.max_steps={'a': 1}: Input should be a valid integer"),
        (["+protocol.scorers.x=5"], "Error: protocol.scorers={'x': 5}: A config with _target_ is expected"),
        (["protocol.scorers.tfidf-snippets.corpus=mine"], "Error: protocol.scorers.tfidf-snippets.corpus='mine': "),
        (["experiment=behaviours"], "Error: experiment=behaviours: a study with a command of its own: python -m exp"),
        (["experiment=nosuch"], "Error: In 'train': Could not find 'experiment/nosuch'"),
        (["data=padded", "data.batch_size=x"], "Error: data.batch_size='x': Input should be a valid integer"),
        (["data=padded", "+data.row=3"], "Error: data.row: unknown option; allowed are corpus, model, dimensions, "),
        (["model._target_=foo.bar"], "Error: model._target_='foo.bar': no such class"),
    ],
)
def test_a_bad_command_line_ends_in_one_line(
    overrides: list[str], message: str, refusal: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal("train", check, "model=tiny", *overrides).startswith(message)
    assert not capsys.readouterr().err, "one line, which is that of the exit"


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in pairwise("abcdef")
)


@pytest.mark.parametrize("text", [BOMB, "a: &a [*a]\n", "a: &a {b: *a}\n"])
def test_a_configuration_that_aliases_make_huge_is_refused_before_it_is_copied(
    text: str, refusal: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    (folder / "corpus").mkdir(parents=True)
    path = folder / "corpus" / "large.yaml"
    path.write_text("_target_: lmsteer.data.sources.snippets.snippets\n" + text)
    error = refusal("train", check, "corpus=large", "model=tiny", f"--config-dir={folder}")
    reason = "its aliases stand for more than 10,000 entries; write out what is needed"
    assert error == f"Error: {path}: {reason}"


def test_aliases_may_be_used_in_a_configuration_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, seen = tmp_path / "mine", list[Any]()
    (folder / "optimizer").mkdir(parents=True)
    options = "_target_: torch.optim.Adam\n_partial_: true\nlr: 0.1\nbetas: [&b 0.9, *b]\n"
    (folder / "optimizer" / "mine.yaml").write_text(options)
    arguments = ["train", f"--config-dir={folder}", "optimizer=mine", f"hydra.run.dir={tmp_path / 'out'}"]
    monkeypatch.setattr(sys, "argv", arguments)
    entry_point("train")(lambda config: seen.append(config.optimizer.betas))()
    assert seen == [[0.9, 0.9]]


def check(config: DictConfig) -> None:
    """A command without anything to do."""
    check_config(config, OF_COMMAND["train"])


def test_faults_of_the_program_keep_their_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(cfg: DictConfig) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["train", "model=tiny", f"hydra.run.dir={tmp_path / 'out'}"])
    before = dict(os.environ)
    with pytest.raises(ZeroDivisionError):
        entry_point("train")(broken)()
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ("seed-0_steer.rank-4", "seed-0_steer.rank-4"),
        ("corpus.path-../a/b.tsv_seed-0", r"corpus\.path-\.\.-a-b\.tsv_seed-0-[0-9a-f]{6}"),
        ("../../x", r"x-[0-9a-f]{6}"),
        ("a" * 300, r"a{120}-[0-9a-f]{6}"),
        ("", ""),
    ],
)
def test_overrides_make_the_name_of_one_folder(overrides: str, name: str) -> None:
    assert re.fullmatch(name, folder_name(overrides))
    assert folder_name(overrides + "/y") != folder_name(overrides + "/z")


def test_a_run_is_known_by_the_content_of_the_files_it_reads(tmp_path: Path) -> None:
    """Of a file, of all in a folder and of those in a list; not of one that the command writes anew."""
    folder, steer = tmp_path / "corpus", tmp_path / "steer.safetensors"
    folder.mkdir()
    for file in (folder / "train.tsv", steer):
        file.write_text("before")
    config = {"corpus": {"path": str(folder)}, "steer_files": [str(steer), "missing"], "name": str(steer), "samples": 5}
    before, plainly = run_identity(config), run_identity(config, rewrites_input=True)
    assert set(OmegaConf.create(before).inputs) == {"corpus.path", "steer_files.0"}
    assert run_identity(config) == before
    for file in (folder / "train.tsv", steer):
        file.write_text("after")
        assert run_identity(config) != before
        before = run_identity(config)
    assert run_identity(config, rewrites_input=True) == plainly


def test_a_folder_from_before_chat_models_is_still_that_of_its_run() -> None:
    config = checked("train")
    assert {"chat", "system"} <= config["model"].keys()
    model = OmegaConf.create(run_identity(config)).model
    assert dict(model) == {"_target_": "lmsteer.models.load.smollm2"}
    assert OmegaConf.create(run_identity(checked("train", "model.chat=off"))).model.chat == "off"


def test_an_interrupted_command_ends_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: DictConfig) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["report", "runs=x", f"hydra.run.dir={tmp_path}"])
    with pytest.raises(SystemExit) as caught:
        entry_point("report")(interrupted)()
    assert caught.value.code == 130
    assert capsys.readouterr() == ("", "")
