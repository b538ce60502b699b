"""Draw a questionnaire from the rows of runs: blind ids, balanced order, and hidden checks of the raters."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lmsteer.annotation.answer_key import ItemKey, Key, Kind, Study
from lmsteer.annotation.candidate_rows import CandidateRow, Candidates, text_scores
from lmsteer.annotation.qualification import QualificationItem
from lmsteer.annotation.questionnaire import Form, Item, Question, Questionnaire
from lmsteer.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How many items are drawn, and how.

    Attributes:
        form: pairs: which of two texts; single: whether a text.
        n_prompts: Number of prompts, the same for each pair.
        samples: Continuations of each prompt for each pair.
        raters: Raters that each item should have.
        page_items: Most items on a page, without checks; None: all on one page.
        repeats: Share of the items of a page that are shown again.
        swapped: Share that are shown again with A and B exchanged.
        seed: Seed of all that is drawn.

    Raises:
        InputError: If a number is out of range.
    """

    form: Form = "pairs"
    n_prompts: int = 40
    samples: int = 1
    raters: int = 3
    page_items: int | None = None
    repeats: float = 0.05
    swapped: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_prompts", "samples", "raters", "page_items"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}={value}: an integer of 1 or more expected")
        if min(self.repeats, self.swapped) < 0 or self.repeats + self.swapped > 0.5:
            shares = f"repeats={self.repeats:g}, swapped={self.swapped:g}"
            raise InputError(f"{shares}: 0 or more, together at most 0.5 expected")


@dataclass
class _Sheet:
    """The items that are drawn, each with its key."""

    rng: np.random.Generator
    items: dict[str, Item] = field(default_factory=dict)
    keys: dict[str, ItemKey] = field(default_factory=dict)

    def add(self, prompt: str, texts: Sequence[str], key: ItemKey) -> str:
        name = f"i{self.rng.bytes(6).hex()}"
        self.items[name], self.keys[name] = Item(id=name, prompt=prompt, texts=tuple(texts)), key
        return name

    def repeat(self, original: str, kind: Kind) -> str:
        """Add an item once more, with its texts exchanged for the kind swapped."""
        item, key, step = self.items[original], self.keys[original], -1 if kind == "swapped" else 1
        scores = {name: values[::step] for name, values in key.scores.items()}
        changes = {"rows": key.rows[::step], "samples": key.samples[::step], "scores": scores, "kind": kind}
        return self.add(item.prompt, item.texts[::step], key.model_copy(update=changes | {"of": original}))


def draw_study(
    candidates: Candidates,
    pairs: Sequence[tuple[str, ...]],
    questions: Sequence[Question],
    qualification: Sequence[QualificationItem],
    config: SamplingConfig,
) -> Study:
    """Draw a questionnaire and its key; the same arguments give the same ones.

    Of each pair, half of the items show its first row as A. Items of all pairs are mixed.

    Raises:
        InputError: If the rows have fewer common prompts, or a prompt fewer continuations, than are to be drawn.
    """
    rows = {name: candidates.rows[name] for name in dict.fromkeys(name for pair in pairs for name in pair)}
    sheet = _Sheet(np.random.default_rng(config.seed))
    prompts = _draw_prompts(list(rows.values()), config, sheet.rng)
    names = [name for pair in pairs for name in _draw_pair(sheet, [rows[row] for row in pair], prompts, config)]
    mixed = [names[index] for index in sheet.rng.permutation(len(names))]
    n_pages = 1 if config.page_items is None else -(-len(mixed) // config.page_items)
    cuts = np.linspace(0, len(mixed), n_pages + 1).astype(int)
    pages = [_with_checks(sheet, mixed[start:end], qualification, config) for start, end in itertools.pairwise(cuts)]
    questionnaire = Questionnaire(
        form=config.form,
        questions=tuple(questions),
        items=tuple(sheet.items[name] for page in pages for name in page),
        pages=tuple(map(tuple, pages)),
        raters=config.raters,
        may_offend=candidates.may_offend,
    )
    key = Key(
        questionnaire=questionnaire.digest,
        pairs=tuple((pair[0], pair[1]) for pair in pairs if len(pair) == 2),
        rows={name: row.key for name, row in rows.items()},
        protocol=candidates.protocol,
        items={item.id: sheet.keys[item.id] for item in questionnaire.items},
    )
    return Study(questionnaire, key)


def _draw_prompts(rows: Sequence[CandidateRow], config: SamplingConfig, rng: np.random.Generator) -> list[str]:
    common = [prompt for prompt in rows[0].generations if all(prompt in row.generations for row in rows)]
    if len(common) < config.n_prompts:
        raise InputError(f"n_prompts={config.n_prompts}: the rows share {len(common)} prompts; no more can be drawn")
    samples = min(len(row.generations[prompt].texts) for row in rows for prompt in common)
    if samples < config.samples:
        raise InputError(f"samples={config.samples}: there are {samples} continuations of each prompt")
    return [common[index] for index in sorted(rng.permutation(len(common))[: config.n_prompts])]


def _draw_pair(
    sheet: _Sheet, rows: Sequence[CandidateRow], prompts: Sequence[str], config: SamplingConfig
) -> list[str]:
    """Draw the items of one pair, or of one row."""
    names: list[str] = []
    is_swapped = sheet.rng.permutation(np.arange(len(prompts) * config.samples) % 2)
    for prompt in prompts:
        generations = [row.generations[prompt] for row in rows]
        chosen = [sheet.rng.permutation(len(g.texts))[: config.samples].tolist() for g in generations]
        for samples in zip(*chosen, strict=True):
            step = -1 if len(rows) == 2 and is_swapped[len(names)] else 1
            key = ItemKey(
                prompt=prompt,
                rows=tuple(row.name for row in rows)[::step],
                samples=samples[::step],
                scores=text_scores(generations[::step], samples[::step]),
            )
            texts = [g.texts[sample] for g, sample in zip(generations, samples, strict=True)]
            names.append(sheet.add(prompt, texts[::step], key))
    return names


def _with_checks(
    sheet: _Sheet, names: Sequence[str], qualification: Sequence[QualificationItem], config: SamplingConfig
) -> list[str]:
    """Put qualification items before a page, and repeats of its first half into its second half."""
    swapped = config.swapped if config.form == "pairs" else 0.0
    counts: dict[Kind, int] = {
        "repeat": round(config.repeats * len(names)),
        "swapped": round(swapped * len(names)),
    }
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    half = len(names) // 2
    originals = [names[index] for index in sheet.rng.permutation(half)[: len(kinds)]]
    late = list(names[half:])
    for original, kind in zip(originals, kinds, strict=False):
        late.insert(int(sheet.rng.integers(len(late) + 1)), sheet.repeat(original, kind))
    first = [
        sheet.add(item.prompt, item.texts, ItemKey(kind="qualification", prompt="", expected=item.expected))
        for item in qualification
    ]
    return [*first, *names[:half], *late]
