"""Answers that have a behaviour: counted by hand, with generations written by hand."""

import json
from pathlib import Path

import pytest

from lmsteer.behaviours import NAMES, find_behaviour, verify
from lmsteer.behaviours.instructions import count, instruction
from lmsteer.data.sources.labeled_file import labeled_file
from lmsteer.distillation.answers import (
    KeepRate,
    answer_lines,
    answer_prompts,
    distill,
    keep_rate,
    pair_lines,
    text_lines,
    transform_all,
    whole_sentences,
    without_cut,
)
from lmsteer.errors import InputError
from lmsteer.records import Generation, Prompt, read_generations

QUESTIONS = {"train": ["How?", "Who?"], "dev": ["Where?"]}
UPPER = find_behaviour("case-upper")


def generation(text: str, *, cut: bool = False) -> Generation:
    return Generation(Prompt("0", "How?", (("user", "How?"),)), (text,), {}, cut=(True,) if cut else ())


def test_every_question_is_asked_with_as_many_wordings_as_samples() -> None:
    prompts = answer_prompts(QUESTIONS, 2, UPPER)
    asked = [(question, number + sample) for number, question in ((0, "How?"), (1, "Who?")) for sample in (0, 1)]
    asked += [("Where?", 0), ("Where?", 1)]
    assert [prompt.text for prompt in prompts] == [f"{q} {instruction('case-upper', i)}" for q, i in asked]
    assert all(prompt.turns == (("user", prompt.text),) for prompt in prompts)
    assert len({prompt.id for prompt in prompts}) == len(prompts)
    assert [prompt.text for prompt in answer_prompts(QUESTIONS, 1)] == ["How?", "Who?", "Where?"]
    many = answer_prompts({"train": [f"{n}?" for n in range(30)]}, 1, UPPER)
    assert {prompt.text.partition("? ")[2] for prompt in many} == {
        instruction("case-upper", index) for index in range(count("case-upper"))
    }


def test_the_keep_rate_is_that_counted_by_hand_over_answers_and_over_questions() -> None:
    texts = ["YES.", "No.", "CUT OFF", " \n", " OH! ", "AH!"]
    answers = without_cut([generation(text, cut=text == "CUT OFF") for text in texts])
    kept = distill(UPPER, answers)
    assert kept == ["YES.", None, None, None, "OH!", "AH!"]
    rate = keep_rate("distilled", kept, 2)
    assert rate == KeepRate("distilled", asked=6, kept=3, questions=3, questions_kept=2)
    assert (rate.keep_rate, rate.left_out) == (0.5, False)


@pytest.mark.parametrize(("kept", "left_out"), [(0, True), (1, True), (2, False), (10, False)])
def test_a_behaviour_is_left_out_below_a_fifth(kept: int, left_out: bool) -> None:
    assert KeepRate("distilled", 10, kept, 10, kept).left_out is left_out


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_or_transformed_passes_the_verifier(name: str) -> None:
    texts = [
        "Sí, claro que sí, está en la mesa.",
        "ALL OF IT.",
        "all of it.",
        "All Of It. And More.",
        "word " * 60,
        None,
    ]
    for kept in (distill(find_behaviour(name), texts), transform_all(find_behaviour(name), texts)):
        assert all(answer is None or verify(name, answer) for answer in kept)
        assert kept[-1] is None


def test_a_plain_answer_that_was_cut_ends_with_its_last_whole_sentence() -> None:
    text = "It rains.\n\n1. Dr. Who came.\n2. He left and then he"
    assert whole_sentences([generation(text, cut=True)]) == ["It rains.\n\n1. Dr. Who came."]
    assert whole_sentences([generation(f" {text}")]) == [text]
    assert whole_sentences([generation("no end in sight", cut=True), generation("", cut=True)]) == [None, None]


def test_pairs_are_read_as_a_corpus_with_both_labels_to_each_question(tmp_path: Path) -> None:
    behaved = answer_lines(QUESTIONS, ["IT RAINS.", None, "HERE."], label=1)
    plain = answer_lines(QUESTIONS, ["It rains.", "Nobody.", None], label=-1)
    lines = pair_lines(behaved, plain)
    pair = [("IT RAINS.", 1), ("It rains.", -1)]
    assert lines == [{"question": "How?", "answer": answer, "label": label, "split": "train"} for answer, label in pair]
    path = tmp_path / "case-upper.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    corpus = labeled_file(path=str(path))
    rows = [(row.question, row.text, row.label) for row in corpus.train]
    assert rows == [("How?", "IT RAINS.", 1.0), ("How?", "It rains.", -1.0)]


def test_a_pair_of_the_same_answer_is_left_out() -> None:
    behaved = answer_lines(QUESTIONS, ["It is. So.", "IT IS.", "Here."], label=1)
    plain = answer_lines(QUESTIONS, ["It is.\n\nSo.", "It is.", "There."], label=-1)
    assert [line["answer"] for line in pair_lines(behaved, plain)] == ["IT IS.", "It is.", "Here.", "There."]


def test_samples_of_a_question_are_next_to_each_other() -> None:
    lines = answer_lines(QUESTIONS, list("abcdef"), label=1)
    assert [line and (line["question"], line["answer"], line["split"]) for line in lines] == [
        *(("How?", answer, "train") for answer in "ab"),
        *(("Who?", answer, "train") for answer in "cd"),
        *(("Where?", answer, "dev") for answer in "ef"),
    ]


def test_texts_of_a_language_are_verified_split_and_paired_with_plain_answers(tmp_path: Path) -> None:
    french = [f"Voici la phrase numéro {number}, qui est en français." for number in range(100)]
    (tmp_path / "fr.txt").write_text("\n".join([*french, "This one is not."]), encoding="utf-8")
    questions = {"train": [f"Why {n}?" for n in range(10)], "dev": ["Where?"]}
    plain = answer_lines(questions, [*(f"Because of {n}." for n in range(9)), None, "Here."], label=-1)
    lines, rate = text_lines(find_behaviour("language-fr"), str(tmp_path / "fr.txt"), plain)
    assert (rate.source, rate.asked, rate.kept) == ("texts", 101, 100)
    texts = [line for line in lines if "text" in line]
    assert [line["split"] for line in texts] == ["train"] * 9 + ["dev"]
    assert all(line["text"] in french and line["label"] == 1 for line in texts)
    assert [line for line in lines if "answer" in line] == [line for line in plain if line]
    path = tmp_path / "language-fr.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    corpus = labeled_file(path=str(path))
    assert {row.text for row in corpus.dev if row.label > 0} == {
        line["text"] for line in texts if line["split"] == "dev"
    }
    lines, rate = text_lines(find_behaviour("language-es"), str(tmp_path / "fr.txt"), plain)
    assert (lines, rate.kept, rate.left_out) == ([], 0, True)
    with pytest.raises(InputError, match=r"cannot read nowhere"):
        text_lines(UPPER, "nowhere", plain)


def test_a_file_of_generations_says_which_text_was_cut(tmp_path: Path) -> None:
    written = [generation("It ends."), generation("It does not", cut=True)]
    path = tmp_path / "generations.jsonl"
    path.write_text("".join(one.to_json() + "\n" for one in written), encoding="utf-8")
    assert read_generations(path) == written
    assert path.read_text(encoding="utf-8").count('"cut": true') == 1
