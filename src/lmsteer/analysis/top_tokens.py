"""Directions of a steer in words and contexts.

Shapes: N packed tokens, D width, R directions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lmsteer.analysis.direction_evidence import Reading
from lmsteer.analysis.interpretation_file import Excerpt, Excerpts, Word, Words
from lmsteer.analysis.words import visible_tokens, whole_words
from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.models.head import Head
from lmsteer.steering.directions import Directions

EXCERPT = 70
"""Characters of a context that are shown, at most."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """How much is shown.

    Attributes:
        directions: The largest so many.
        words: At either end of a side.
        contexts: At either end of a direction.
        vocabulary: "words": tokens that are whole words of the texts. "all": every token.
        draws: Random matrices of the same singular values, for the level of chance.
    """

    directions: int = 8
    words: int = 12
    contexts: int = 4
    vocabulary: Literal["words", "all"] = "words"
    draws: int = 20

    def __post_init__(self) -> None:
        for name, least in (("directions", 1), ("words", 1), ("contexts", 0), ("draws", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name}={getattr(self, name)}: an integer of {least} or more expected")


class Description:
    """Words and contexts at the ends of directions.

    Word projections are differences from the mean embedding of the texts' own tokens: a softmax sees differences alone,
    so a word is raised if its logit rises by more than that of what would have come anyway.

    Args:
        found: Directions, and ``reading`` what ``texts`` say of them.
        more: Further texts, whose words may be shown.
    """

    def __init__(
        self,
        extract: FeatureExtractor,
        found: Directions,
        reading: Reading,
        texts: Sequence[str],
        shown: Shown,
        more: Sequence[str] = (),
    ) -> None:
        self.extract, self.found, self.reading, self.texts, self.shown = extract, found, reading, texts, shown
        self.head, self.tokenizer = extract.model.head, extract.model.tokenizer
        every = shown.vocabulary == "all"
        self.names = visible_tokens(self.tokenizer) if every else whole_words(self.tokenizer, [*texts, *more])
        self.centre_D = self.head.weight[reading.targets_N.to(self.head.weight.device)].float().mean(0)
        sides = (found.output_DR, found.context_DR)
        self.output_VR, self.context_VR = (self._projected(side_DR[:, : shown.directions]) for side_DR in sides)
        self.owner_N = torch.repeat_interleave(reading.lengths_B)
        self.starts_B = reading.lengths_B.cumsum(0) - reading.lengths_B

    def overall(self) -> Words:
        """Words by the change of their logit at strength 1 in the mean context, all directions together."""
        return self._words(self._projected(self.found.shift(self.reading.mean_D)[:, None])[:, 0])

    def output(self, i: int) -> Words:
        """Words that direction ``i`` raises and lowers where ``c . v`` is above 0."""
        return self._words(self.output_VR[:, i])

    def context(self, i: int) -> Words:
        """Words whose embeddings lie furthest along ``v``."""
        return self._words(self.context_VR[:, i])

    def contexts(self, i: int) -> Excerpts:
        """Contexts of the texts that lie furthest along ``v``."""
        return Excerpts(plus=self._excerpts(i, largest=True), minus=self._excerpts(i, largest=False))

    def change(self, i: int) -> float:
        """Root mean square change of a logit by direction ``i`` at strength 1, over the texts' contexts and words.

        Contexts and words are taken as independent of each other.
        """
        words_N, activation_N = self.output_VR[self.reading.targets_N, i], self.reading.activation_NR[:, i]
        spread = words_N.square().mean().sqrt() * activation_N.square().mean().sqrt()
        return float(spread * self.found.sizes_R[i]) * self.found.epsilon

    def _projected(self, side_DR: Tensor) -> Tensor:
        return projections(self.head, side_DR, self.centre_D)

    def _words(self, values_V: Tensor) -> Words:
        """Of several tokens of one name, such as a word in two cases, the outermost counts."""
        best: dict[str, float] = {}
        for token, name in self.names.items():
            if token < len(values_V) and abs(value := float(values_V[token])) >= abs(best.get(name, 0.0)):
                best[name] = value
        order = sorted(best, key=lambda name: (-best[name], name))
        plus, minus = (
            [Word(word=name, value=best[name]) for name in names[: self.shown.words]] for names in (order, order[::-1])
        )
        return Words(plus=plus, minus=minus)

    def _excerpts(self, i: int, *, largest: bool) -> list[Excerpt]:
        """At most one of a text, and none twice."""
        found: dict[str, Excerpt] = {}
        texts: set[int] = set()
        activation_N = self.reading.activation_NR[:, i]
        for token in activation_N.argsort(descending=largest, stable=True).tolist():
            if len(found) >= self.shown.contexts:
                break
            text = int(self.owner_N[token])
            if text not in texts:
                excerpt = self._excerpt(text, token - int(self.starts_B[text]), float(activation_N[token]))
                if found.setdefault(excerpt.text, excerpt) is excerpt:
                    texts.add(text)
        return list(found.values())

    def _excerpt(self, text: int, place: int, value: float) -> Excerpt:
        (ids,) = self.extract.encode([self.texts[text]])
        before, follower = str(self.tokenizer.decode(ids[: place + 1])), str(self.tokenizer.decode([ids[place + 1]]))
        if len(before) > EXCERPT:
            before = "…" + (before[-EXCERPT:].partition(" ")[2] or before[-EXCERPT:])
        return Excerpt(text=before, next=follower, value=value)


@torch.no_grad()
def projections(head: Head, side_DR: Tensor, centre_D: Tensor) -> Tensor:
    """``scale (e_w - centre) . side`` (V, R) of every token that the tokenizer knows, in float32 on the CPU.

    A softmax sees differences alone, so a logit means something only beside others: ``centre_D`` is the embedding whose
    words count as neither raised nor lowered.
    """
    weight_VD = head.weight[: head.vocabulary]
    side_DR = side_DR.to(weight_VD.device, torch.float32)
    parts = [(part.float() - centre_D.to(side_DR)) @ side_DR for part in weight_VD.split(8192)]
    return (torch.cat(parts) * head.scale).cpu()
