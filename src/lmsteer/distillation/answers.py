"""Answers to learn a behaviour from: some that have it, each with the plain answer of the same model to its question.

They come from the model itself, which is asked for the behaviour (those that the verifier passes are kept), from its
plain answers by a transform, or from texts of the user.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from lmsteer.behaviours.behaviour import Behaviour
from lmsteer.behaviours.instructions import ask, instructions_for
from lmsteer.behaviours.sentences import split_sentences
from lmsteer.behaviours.transforms import transform
from lmsteer.data.corpus import Corpus, split_by_hash
from lmsteer.data.readers.text_file import read_texts
from lmsteer.data.splits import DEV, SCORER_SPLIT, TEST
from lmsteer.records import Generation, Prompt, Row

Source = Literal["distilled", "transform", "auto"]
Line = dict[str, Any]
"""A line of a file of answers: question, answer, label and split; a text of the user has no question."""
LEAST_KEPT = 0.2
"""A behaviour of which a smaller share of answers is kept is left out of tables: the model cannot do it when asked."""


@dataclass(frozen=True)
class KeepRate:
    """The share of answers that have a behaviour.

    Attributes:
        source: Where the answers come from.
        asked: Number of answers.
        kept: Number of those that have the behaviour.
        questions: Number of questions, each asked once or more.
        questions_kept: Number of those with an answer that has it.

    Example:
        >>> KeepRate("distilled", asked=10, kept=1, questions=5, questions_kept=1).left_out
        True
    """

    source: str
    asked: int
    kept: int
    questions: int
    questions_kept: int

    @property
    def keep_rate(self) -> float:
        """Share of answers that are kept."""
        return self.kept / self.asked

    @property
    def left_out(self) -> bool:
        """Whether it is below ``LEAST_KEPT``."""
        return self.keep_rate < LEAST_KEPT


def answer_prompts(
    questions: Mapping[str, Sequence[str]], samples: int, behaviour: Behaviour | None = None
) -> list[Prompt]:
    """Return every question as ``samples`` prompts next to each other; for a behaviour with its instructions in turn.

    Args:
        questions: Questions by split.
        behaviour: None: the questions alone.

    Example:
        >>> from lmsteer.behaviours import find_behaviour
        >>> answer_prompts({"train": ["Why?"]}, 2, find_behaviour("sentences-1"))[1].text
        'Why? Sum it up in one sentence.'
    """
    name, wordings = (behaviour.name, instructions_for(behaviour)) if behaviour else ("plain", ())
    prompts = []
    for split, texts in questions.items():
        for number, text in enumerate(texts):
            for sample in range(samples):
                asked = ask(text, *wordings[(number + sample) % max(1, len(wordings)) :][:1])
                prompts.append(Prompt(f"{name}/{split}/{number}/{sample}", asked, turns=(("user", asked),)))
    return prompts


def without_cut(generations: Sequence[Generation]) -> list[str | None]:
    """Return the answer of each generation; None if it is blank, or was cut, as its end is not the model's then."""
    return [None if one.cut else one.texts[0].strip() or None for one in generations]


def whole_sentences(generations: Sequence[Generation]) -> list[str | None]:
    """Return the answer of each generation, up to its last whole sentence if it was cut; None if nothing is left."""
    return [(_before_last(one.texts[0]) if one.cut else one.texts[0].strip()) or None for one in generations]


def _before_last(text: str) -> str:
    """Return a text without its last sentence."""
    *before, last = split_sentences(text) or [""]
    return text.rsplit(maxsplit=len(last.split()))[0].strip() if before else ""


def distill(behaviour: Behaviour, answers: Sequence[str | None]) -> list[str | None]:
    """Keep the answers that the verifier passes; None for the others."""
    return [answer if answer is not None and behaviour.verify(answer) else None for answer in answers]


def transform_all(behaviour: Behaviour, plain: Sequence[str | None]) -> list[str | None]:
    """Transform plain answers to the behaviour; None for those that cannot be."""
    return [None if answer is None else transform(behaviour, answer) for answer in plain]


def keep_rate(source: str, accepted: Sequence[str | None], samples: int) -> KeepRate:
    """Count the accepted ones among the answers, ``samples`` next to each other for every question."""
    has_answer = [answer is not None for answer in accepted]
    questions = [any(has_answer[start : start + samples]) for start in range(0, len(accepted), samples)]
    return KeepRate(source, len(accepted), sum(has_answer), len(questions), sum(questions))


def answer_lines(
    questions: Mapping[str, Sequence[str]], answers: Sequence[str | None], *, label: int
) -> list[Line | None]:
    """Return the lines of answers in the order of ``answer_prompts``; None where there is no answer."""
    samples = len(answers) // sum(map(len, questions.values()))
    asked = [(split, text) for split, texts in questions.items() for text in texts for _ in range(samples)]
    return [
        None if answer is None else {"question": question, "answer": answer, "label": label, "split": split}
        for (split, question), answer in zip(asked, answers, strict=True)
    ]


def pair_lines(behaved: Iterable[Line | None], plain: Iterable[Line | None]) -> list[Line]:
    """Return the lines of behaved answers, each before that of the plain answer.

    A pair that lacks one is left out, and so is one of two answers that differ in white space alone, as it teaches
    nothing.

    Example:
        >>> behaved = answer_lines({"train": ["Why?", "Who?"]}, ["BECAUSE.", None], label=1)
        >>> plain = answer_lines({"train": ["Why?", "Who?"]}, ["Because.", "Me."], label=-1)
        >>> [(line["answer"], line["label"]) for line in pair_lines(behaved, plain)]
        [('BECAUSE.', 1), ('Because.', -1)]
    """
    pairs = ((one, other) for one, other in zip(behaved, plain, strict=True) if one is not None and other is not None)
    return [line for pair in pairs if pair[0]["answer"].split() != pair[1]["answer"].split() for line in pair]


def text_lines(behaviour: Behaviour, path: str, plain: Sequence[Line | None]) -> tuple[list[Line], KeepRate]:
    """Read texts that have a behaviour, and pair as many of each split with plain answers as there are of these.

    Texts are split as questions are. Those that the verifier refuses, and those of the other splits, are left out.

    Args:
        path: A file as ``read_texts`` reads it: a text on each line, or JSONL.

    Returns:
        The lines of texts, ``{"text", "label", "split"}``, and of plain answers; the share that the verifier passes.

    Raises:
        InputError: If the file cannot be read, or too few texts have the behaviour.
    """
    texts = [text.text for text in read_texts(path)]
    rows = [Row(text, 1.0) for text in texts if behaviour.verify(text)]
    lines: list[Line] = []
    corpus = split_by_hash(path, rows, scorer_split=SCORER_SPLIT, test=TEST, dev=DEV) if rows else Corpus(path, ())
    for split in ("train", "dev"):
        answers = [line for line in plain if line is not None and line["split"] == split]
        of_split: Sequence[Row] = getattr(corpus, split)[: len(answers)]
        pairs = zip(of_split, answers, strict=False)
        lines += chain.from_iterable(({"text": row.text, "label": 1, "split": split}, answer) for row, answer in pairs)
    return lines, KeepRate("texts", len(texts), len(rows), 0, 0)
