"""Promises of the scorer of behaviours, and of the choices that build it."""

import json
from pathlib import Path

import pytest
import yaml
from tests.cli.test_configuration import checked
from tests.handmade_commands import run_command
from tests.test_extras import run_without

from lmsteer.behaviours import Behaviour, find_behaviour
from lmsteer.cli.app import CONF
from lmsteer.cli.configuration import build
from lmsteer.errors import InputError
from lmsteer.scoring.behaviour_scorer import BehaviourScorer
from lmsteer.scoring.scorer import Scorer

CHOICES = {path.stem: path for path in (Path(CONF) / "behaviour").glob("*.yaml")}
CHOSEN = "behaviour@protocol.scorers.behaviour.behaviours"


def questions(text: str) -> bool:
    """A verifier of one's own."""
    return text.rstrip().endswith("?")


def test_a_text_scores_if_it_has_all_behaviours() -> None:
    names = ("case-upper", "sentences-2")
    scorer = BehaviourScorer(behaviours={name: find_behaviour(name) for name in names})
    assert isinstance(scorer, Scorer)
    assert scorer.name == "case-upper+sentences-2"
    assert scorer.revision == "case-upper 1, sentences-2 1"
    assert scorer(["SO LOUD. STOP!", "SO LOUD.", "So loud. Stop!", ""]).tolist() == [1.0, 0.0, 0.0, 0.0]


def test_the_revision_has_the_version_of_the_package_that_decides() -> None:
    scorer = BehaviourScorer(behaviours={"language": find_behaviour("language-es")}, name="spanish")
    assert scorer.name == "spanish"
    assert scorer.revision.startswith("language-es py3langid 0.")


def test_none_is_refused() -> None:
    with pytest.raises(InputError, match="scorer behaviour: no behaviours"):
        BehaviourScorer(behaviours={})


def test_a_missing_package_is_found_before_anything_is_scored() -> None:
    code = (
        "from lmsteer.behaviours import find_behaviour\nfrom lmsteer.scoring.behaviour_scorer import BehaviourScorer\n"
        "try: BehaviourScorer(behaviours={n: find_behaviour(n) for n in ('case-lower', 'language-es')})\n"
        "except ImportError as error: print(error)"
    )
    done = run_without({"py3langid"}, code)
    assert done.stdout == "behaviour language needs py3langid; pip install 'lmsteer[behaviours]'\n", done.stderr


@pytest.mark.parametrize("choice", sorted(CHOICES))
def test_every_choice_builds_a_behaviour_of_its_category(choice: str) -> None:
    (node,) = yaml.safe_load(CHOICES[choice].read_text(encoding="utf-8")).values()
    behaviour = build(node)
    assert isinstance(behaviour, Behaviour)
    assert behaviour.category == choice
    assert find_behaviour(behaviour.name) == behaviour


def test_the_choices_are_the_four_categories() -> None:
    assert sorted(CHOICES) == ["case", "language", "sentences", "words"]


def test_several_choices_are_composed_and_checked() -> None:
    options = ["generations=x", "protocol=behaviour", f"{CHOSEN}=[language,case]"]
    where = "protocol.scorers.behaviour.behaviours"
    config = checked("evaluate", *options, f"{where}.language.code=fr")
    scorer = build(config["protocol"]["scorers"]["behaviour"])
    assert scorer.name == "language-fr+case-lower"
    for wrong in (f"{where}.language.code=nl", f"{where}.case.case=[1]", f"+{where}.case.cse=title"):
        with pytest.raises(InputError, match=rf"{where}\.(language\.code|case\.case|case\.cse)"):
            checked("evaluate", *options, wrong)


@pytest.fixture
def generations(tmp_path: Path) -> Path:
    """Texts of two prompts, half of which are questions and a quarter in capitals."""
    path = tmp_path / "texts.jsonl"
    lines = [("Is it?", " YES, IT IS.", " It is."), ("He said", " why?", " who is there?")]
    path.write_text(
        "".join(
            json.dumps({"prompt": {"text": prompt}, "generations": [{"text": text} for text in texts]}) + "\n"
            for prompt, *texts in lines
        )
    )
    return path


def accuracy(folder: Path, *options: str) -> tuple[float, str]:
    run = [*options, "model=tiny", "cache=off", f"hydra.run.dir={folder}"]
    assert run_command("evaluate", *run) == 0
    (row,) = json.loads((folder / "metrics.json").read_text())["rows"]
    value = row["metrics"]["behaviour_accuracy"]
    return value["value"], value["scorer"]


def test_generations_are_scored_without_their_prompts(tmp_path: Path, generations: Path) -> None:
    options = [f"generations={generations}", "protocol=behaviour", f"{CHOSEN}=[case]"]
    upper = "protocol.scorers.behaviour.behaviours.case.case=upper"
    assert accuracy(tmp_path / "upper", *options, upper) == (0.25, "case-upper")
    assert accuracy(tmp_path / "lower", *options) == (0.5, "case-lower")


def test_a_behaviour_of_ones_own_is_a_function_and_a_file(tmp_path: Path, generations: Path) -> None:
    (tmp_path / "conf" / "behaviour").mkdir(parents=True)
    (tmp_path / "conf" / "behaviour" / "question.yaml").write_text(
        "question:\n  _target_: lmsteer.behaviours.behaviour.Behaviour\n  name: question\n  category: form\n"
        f"  verify:\n    _target_: {__name__}.questions\n    _partial_: true\n"
    )
    own = ["--config-dir", str(tmp_path / "conf"), f"generations={generations}", "protocol=behaviour"]
    assert accuracy(tmp_path / "own", *own, f"{CHOSEN}=[question]") == (0.5, "question")
