"""Promises of the model card: whatever names and texts are in it, it says what was made and measured, and no more."""

import ast
import re
import shlex
from dataclasses import replace
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from markdown_it.token import Token
from tests import handmade
from tests.handmade import value

from lmsteer.evaluation.results import Result, ResultRow
from lmsteer.export.checkpoint import NextToken
from lmsteer.export.model_card import Base, Folded, card
from lmsteer.export.verification import Check, CheckedToken, Part, Parts
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer

HOSTILE = '<script>alert(1)</script> | `x` [a](http://b) \n# heading\n---\n"}: \\'
BASE = Base("small", hub_id="org/small", revision="c0ffee", license="mit")
STEER = Steer(8, dimensions=["mood", "dummy"], rank=2)
PROVENANCE = Provenance(
    model="small",
    fingerprint="f" * 64,
    meaning={"mood": "cheerful"},
    corpus={"name": "letters", "train_rows": 12, "dev_rows": 3, "digest": "d" * 64, "removed": {"duplicates": 1}},
    seed=7,
    versions={"lmsteer": "0.1.0"},
    training={"steps": 100, "lr": 0.01, "curve": {"dev": [[0, 5.5], [25, 4.25], [100, 4.0]]}},
    calibration=[
        {"dimension": "mood", "strength": 2.5, "budget": "kl 0.3", "protocol": "letters", "direction": 1},
        {"dimension": "mood", "strength": None, "budget": "kl 9", "protocol": "letters", "direction": 1},
    ],
)
FOLDED = Folded({"mood": 5.0}, "float32", "The film", [3, 4], (NextToken(9, " is", -0.125, -2.5),))

CHECK = Check("The film", [3, 4], [CheckedToken(9, " is", (-0.125, -2.5, -1.0))])
PART = Part("mood", "mood", 2, "0.01 MB", 0.75, 0.125, 5.0, [CHECK])
PARTS = Parts("adapter", {"mood": 5.0}, "float32", True, False, [PART])


def row(strength: dict[str, float], positivity: float) -> ResultRow:
    metrics = {"positivity": value(positivity, positivity - 0.05, positivity + 0.05, "perplexity_model")}
    return handmade.row(strength, metrics, model="small", seed=7, prompts="p")


RESULT = Result(protocol={"n_prompts": 40, "samples": 5}, rows=[row({}, 0.5), row({"mood": 5.0}, 0.8)])


def write_card(base: Base = BASE, steer: Steer = STEER, provenance: Provenance = PROVENANCE, **changed: Any) -> str:
    return card(base, steer, provenance, **{"digest": "a" * 64, "folded": FOLDED, "result": RESULT} | changed)


def front_matter(text: str) -> dict[str, Any]:
    """What stands between the first line and the next line of three dashes, as the hub reads it."""
    before, front, _ = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    assert before == ""
    return dict(yaml.safe_load(front))


def parsed(text: str) -> list[Token]:
    """The tokens of Markdown behind the front matter, those inside paragraphs and cells too."""
    body = text.split("\n---\n", 1)[1]
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    return [inner for token in tokens for inner in (token, *(token.children or ()))]


def shown(text: str) -> str:
    """What a reader sees."""
    return " ".join(token.content for token in parsed(text) if token.type in ("text", "code_inline", "fence"))


def test_the_front_matter_names_base_library_and_license() -> None:
    assert front_matter(write_card()) == {
        "base_model": "org/small",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": "mit",
        "model-index": [{"name": "lm-steer", "results": [measured(0.5, "plain", 0.8, "mood +5")]}],
        "tags": ["lm-steer", "steering", "controlled-text-generation"],
    }


def measured(plain: float, plain_label: str, steered: float, label: str) -> dict[str, Any]:
    """One entry of the model index, by hand."""
    metrics = [
        {
            "type": "positivity",
            "value": number,
            "name": f"positivity at {name}",
            "args": {"95 % interval": [number - 0.05, number + 0.05], "prompts": 120},
        }
        for number, name in ((plain, plain_label), (steered, label))
    ]
    return {"task": {"type": "text-generation"}, "dataset": {"name": "p", "type": "p"}, "metrics": metrics}


@pytest.mark.parametrize("form", ["adapter", "gguf", "processor"])
def test_what_is_attached_to_a_base_model_says_so_and_the_hubs_own_reader_takes_it(form: str) -> None:
    provenance = replace(PROVENANCE, corpus={"name": "sst5"})
    text = write_card(folded=None, parts=replace(PARTS, form=form), provenance=provenance)
    data = ModelCard(text).data
    assert (data.base_model, data.datasets) == ("org/small", ["SetFit/sst5"])
    library = {"adapter": ("peft", "adapter"), "gguf": ("gguf", "adapter"), "processor": ("lmsteer", None)}
    assert (data.library_name, data.get("base_model_relation")) == library[form]
    assert [result.metric_value for result in data.eval_results] == [0.5, 0.8]
    assert data.eval_results[1].metric_args == {"95 % interval": [0.75, 0.8 + 0.05], "prompts": 120}
    assert "The row mood +5 was measured at the strength of this " + form in shown(text)


def test_tied_embeddings_and_a_constant_part_are_warned_of() -> None:
    tied, untied = (write_card(folded=None, parts=replace(PARTS, is_tied=is_tied)) for is_tied in (True, False))
    assert "Do not call merge_and_unload() on this base model." in " ".join(shown(tied).split())
    assert "merge_and_unload" not in untied
    constant = write_card(folded=None, parts=replace(PARTS, has_constant=True))
    assert "vLLM and llama.cpp refuse such adapters" in shown(constant)
    assert "vllm serve" not in constant


def test_a_steer_alone_has_no_license_but_the_one_that_is_given() -> None:
    assert "license" not in front_matter(write_card(folded=None))
    assert front_matter(write_card(folded=None, license="cc0-1.0"))["license"] == "cc0-1.0"
    assert front_matter(write_card(folded=None))["library_name"] == "lmsteer"


def test_what_is_not_known_of_the_base_model_is_not_invented() -> None:
    text = write_card(base=Base("mine"))
    assert not {"base_model", "license"} & set(front_matter(text))
    assert "The license of the base model is not known here" in shown(text)


def test_it_says_what_was_measured_with_intervals_and_at_which_strength() -> None:
    text = shown(write_card())
    assert ".80 [.75, .85] +.30" in text
    assert "positivity by perplexity_model rises from .50 to .80 (+30 points, 95 % intervals disjoint)" in text
    assert "40 prompts × 5 samples" in text
    assert "The row mood +5 was measured at the strength of this checkpoint." in text
    other = shown(write_card(folded=replace(FOLDED, strength={"mood": 4.0})))
    assert "No row was measured at the strength of this checkpoint, mood +4: its effect is not known." in other
    dummy = shown(write_card(folded=replace(FOLDED, strength={"mood": 5.0, "dummy": 1.0})))
    assert "No row was measured at the strength of this checkpoint" in dummy
    zero = shown(write_card(folded=replace(FOLDED, strength={"mood": 5.0, "dummy": 0.0})))
    assert "was measured at the strength of this checkpoint." in zero


def test_without_a_measurement_no_effect_is_claimed() -> None:
    text = shown(write_card(result=None))
    assert "Nothing was measured with this steer, so no effect is claimed." in text
    assert "rises" not in text


def test_it_says_how_the_steer_was_made() -> None:
    text = shown(write_card())
    assert "corpus: name letters; train rows 12; dev rows 3; digest " + "d" * 64 in text
    assert "steps 100; lr 0.01; dev loss in nats per token 5.500 → 4.000" in text
    assert "calibrated strengths: mood +2.5 for kl 0.3 (letters)" in text
    assert "kl 9" not in text
    assert "f" * 64 in text
    assert "a" * 64 in text
    assert "cheerful" in text
    assert "derived" not in text
    assert "derived: kind sum; of a, b" in shown(
        write_card(provenance=replace(PROVENANCE, derivation={"kind": "sum", "of": ["a", "b"]}))
    )


def test_its_limits_are_said_and_toxic_corpora_named() -> None:
    assert "not a safety system" in shown(write_card())
    assert "offensive" not in shown(write_card())
    toxic = row({}, 0.5).model_copy(update={"metrics": {"toxicity_probability": value(0.5, 0.45, 0.55)}})
    assert "offensive language" in shown(write_card(result=Result(protocol={}, rows=[toxic])))


def test_a_checkpoint_can_be_checked_by_its_next_tokens() -> None:
    text = shown(write_card())
    assert '"The film"' in text
    assert "token ids 3, 4" in text
    assert '" is" 9 -0.12 -2.50' in " ".join(text.split())


@pytest.mark.parametrize("folded", [FOLDED, None])
def test_the_python_in_it_is_python(folded: Folded | None) -> None:
    steer = Steer(8, dimensions=[HOSTILE], rank=2)
    (code,) = (token.content for token in parsed(write_card(steer=steer, folded=folded)) if token.type == "fence")
    strings = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    assert ("." if folded else HOSTILE) in strings
    assert folded is not None or {"org/small", "c0ffee"} <= set(strings)


HOSTILE_CHECK = Check(HOSTILE, [3], [CheckedToken(9, HOSTILE, (0, 0, 0))])
HOSTILE_PART = Part(HOSTILE, HOSTILE, 2, HOSTILE, 1.0, 0.0, 5.0, [HOSTILE_CHECK])
HOSTILE_PARTS = Parts("adapter", {HOSTILE: 5.0}, HOSTILE, True, False, [HOSTILE_PART])


@pytest.mark.parametrize("form", ["checkpoint", "factors", "adapter", "gguf", "processor"])
def test_hostile_names_stay_names(form: str) -> None:
    is_attached = form not in ("checkpoint", "factors")
    parts = replace(HOSTILE_PARTS, form=form) if is_attached else None
    hostile_folded = Folded({HOSTILE: 5.0}, HOSTILE, HOSTILE, [1], (NextToken(1, HOSTILE, -1.0, -2.0),))
    folded = hostile_folded if form == "checkpoint" else None
    steer = Steer(8, dimensions=[HOSTILE, "dummy"], rank=2)
    provenance = Provenance(
        model=HOSTILE,
        fingerprint=HOSTILE,
        meaning={HOSTILE: HOSTILE},
        corpus={"name": HOSTILE},
        training={HOSTILE: HOSTILE},
        derivation={HOSTILE: [HOSTILE]},
    )
    rows = [row({}, 0.5), row({HOSTILE: 5.0}, 0.8)]
    rows = [one.model_copy(update={"model": HOSTILE}) for one in rows] + rows
    result = Result(
        protocol={"perplexity_model": HOSTILE, "n_prompts": 1, "samples": 1, "scorers": {HOSTILE: HOSTILE}}, rows=rows
    )
    base = Base(HOSTILE, hub_id=HOSTILE, revision=HOSTILE, license=HOSTILE, note=HOSTILE)
    text = write_card(
        base=base, steer=steer, provenance=provenance, folded=folded, parts=parts, result=result, license=HOSTILE
    )
    calm_parts = replace(PARTS, form=form) if parts else None
    calm = write_card(folded=FOLDED if folded else None, parts=calm_parts, base=replace(BASE, note="note"))
    assert front_matter(text)["base_model"] == front_matter(text)["license"] == HOSTILE
    hostile, plain = parsed(text), parsed(calm)
    assert not [token for token in hostile if token.type in ("html_block", "html_inline")]
    for kind in ("heading_open", "fence", "link_open", "table_open", "hr", "em_open"):
        assert sum(t.type == kind for t in hostile) == sum(t.type == kind for t in plain), kind
    assert {token.attrs["href"] for token in hostile if token.type == "link_open"} == {
        "https://arxiv.org/abs/2305.12798"
    }
    assert '<script>alert(1)</script> | `x` [a](http://b) # heading --- "}: \\' in shown(text)


@pytest.mark.parametrize("form", ["adapter", "gguf", "processor"])
def test_no_name_ends_a_quotation_of_the_shell(form: str) -> None:
    name = "a'; $(touch b) `c` \" d"
    base = Base(name, hub_id=name)
    part = replace(PART, dimension=name, path=name)
    parts = replace(PARTS, form=form, files=[part], strength={name: 1.0})
    text = write_card(base=base, steer=Steer(8, dimensions=[name], rank=2), folded=None, parts=parts, result=None)
    blocks = [token.content for token in parsed(text) if token.type == "fence" and token.info == "bash"]
    assert len(blocks) == 1
    for line in blocks[0].replace("\\\n", "").splitlines():
        assert not set(name.split()) & set(shlex.split(line))
        assert "$" not in line
        assert "`" not in line


def test_half_a_character_can_be_written() -> None:
    assert write_card(base=Base("a\ud800b")).encode().count(b"a?b") > 0
