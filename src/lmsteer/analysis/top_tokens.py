"""Words and contexts at the ends of the directions of a steer.

Shapes: N packed tokens, D width, R directions, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lmsteer.analysis.direction_evidence import DirectionSums
from lmsteer.analysis.interpretation_file import Excerpt, Excerpts, Word, Words
from lmsteer.analysis.words import visible_tokens, whole_words
from lmsteer.data.features import FeatureExtractor
from lmsteer.errors import InputError
from lmsteer.models.chat import Text
from lmsteer.models.head import Head
from lmsteer.steering.directions import Directions

EXCERPT = 70
"""Maximum number of characters of a context."""


@dataclass(frozen=True, kw_only=True)
class DisplayConfig:
    """Choose how much of an interpretation is shown.

    Attributes:
        directions: Number of directions, the largest first.
        words: Number of words at either end of a direction.
        contexts: Number of contexts at either end of a direction.
        vocabulary: "words": tokens that are whole words of the texts. "all": every token.
        draws: Number of random matrices with the same singular values, for the level of chance.
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


class DirectionTokens:
    """Words and contexts at the ends of directions.

    Projections of words are differences from the mean embedding of the texts' tokens: a softmax depends on differences
    only, so a word is raised if its logit rises by more than that of the usual next token.

    Args:
        directions: Directions of the steer, and ``sums`` over ``texts`` for them.
        vocabulary_texts: Texts whose words may be shown.
    """

    def __init__(
        self,
        extract: FeatureExtractor,
        directions: Directions,
        sums: DirectionSums,
        texts: Sequence[Text],
        shown: DisplayConfig,
        vocabulary_texts: Sequence[str] = (),
    ) -> None:
        self.extract, self.directions, self.sums, self.texts, self.shown = extract, directions, sums, texts, shown
        self.head, self.tokenizer = extract.model.head, extract.model.tokenizer
        if shown.vocabulary == "all":
            self.names = visible_tokens(self.tokenizer)
        else:
            self.names = whole_words(self.tokenizer, vocabulary_texts)
        self.center_D = self.head.weight[sums.targets_N.to(self.head.weight.device)].float().mean(0)
        sides = (directions.output_DR, directions.context_DR)
        self.output_VR, self.context_VR = (self._projected(side_DR[:, : shown.directions]) for side_DR in sides)
        self.owner_N = torch.repeat_interleave(sums.lengths_B)
        self.starts_B = sums.lengths_B.cumsum(0) - sums.lengths_B

    def overall(self) -> Words:
        """Return words by the change of their logit at strength 1 in the mean context, all directions together."""
        return self._words(self._projected(self.directions.shift(self.sums.mean_D)[:, None])[:, 0])

    def output(self, i: int) -> Words:
        """Return words that direction ``i`` raises and lowers where ``c . v`` is above 0."""
        return self._words(self.output_VR[:, i])

    def context(self, i: int) -> Words:
        """Return words whose embeddings lie furthest along ``v``."""
        return self._words(self.context_VR[:, i])

    def contexts(self, i: int) -> Excerpts:
        """Return contexts that lie furthest along ``v``."""
        return Excerpts(plus=self._excerpts(i, largest=True), minus=self._excerpts(i, largest=False))

    def change(self, i: int) -> float:
        """Return the root mean square change of a logit by direction ``i`` at strength 1, over contexts and words.

        Contexts and words are treated as independent.
        """
        words_N, activation_N = self.output_VR[self.sums.targets_N, i], self.sums.activation_NR[:, i]
        spread = words_N.square().mean().sqrt() * activation_N.square().mean().sqrt()
        return float(spread * self.directions.sizes_R[i]) * self.directions.epsilon

    def _projected(self, side_DR: Tensor) -> Tensor:
        return projections(self.head, side_DR, self.center_D)

    def _words(self, values_V: Tensor) -> Words:
        """Return the outermost words; of tokens with one name, such as a word in two cases, the outermost counts."""
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
        """Return the outermost contexts: at most one of each text, and none twice."""
        excerpts: dict[str, Excerpt] = {}
        texts: set[int] = set()
        activation_N = self.sums.activation_NR[:, i]
        for token in activation_N.argsort(descending=largest, stable=True).tolist():
            if len(excerpts) >= self.shown.contexts:
                break
            text = int(self.owner_N[token])
            if text not in texts:
                excerpt = self._excerpt(text, token - int(self.starts_B[text]), float(activation_N[token]))
                if excerpts.setdefault(excerpt.text, excerpt) is excerpt:
                    texts.add(text)
        return list(excerpts.values())

    def _excerpt(self, text: int, index: int, value: float) -> Excerpt:
        tokens = self.extract.encode([self.texts[text]])[0]
        ids, index = tokens.ids, tokens.start + index
        before, follower = str(self.tokenizer.decode(ids[:index])), str(self.tokenizer.decode([ids[index]]))
        if len(before) > EXCERPT:
            before = "…" + (before[-EXCERPT:].partition(" ")[2] or before[-EXCERPT:])
        return Excerpt(text=before, next=follower, value=value)


@torch.no_grad()
def projections(head: Head, side_DR: Tensor, center_D: Tensor) -> Tensor:
    """Return ``scale (e_w - center) . side`` (V, R) of every token of the tokenizer, in float32 on the CPU.

    Args:
        center_D: Embedding of words that count as neither raised nor lowered.
    """
    weight_VD = head.weight[: head.vocabulary]
    side_DR = side_DR.to(weight_VD.device, torch.float32)
    parts = [(part.float() - center_D.to(side_DR)) @ side_DR for part in weight_VD.split(8192)]
    return (torch.cat(parts) * head.scale).cpu()
