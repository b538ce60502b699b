"""Log-probabilities of the tokens of texts at several strengths of a steer.

Shapes: N texts, M tokens of a batch, T tokens of a text, S strengths, D width, K dimensions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from lmsteer.errors import InputError
from lmsteer.models.cross_entropy import nll
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Turns
from lmsteer.scoring.perplexity import Encoded, encode, states_by_batch
from lmsteer.steering.steer import Steer

PROGRESS_FROM = 2000
"""Number of texts above which a progress bar is shown."""

Offsets = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class TextLogProbs:
    """The log-probabilities of a text at S strengths.

    Attributes:
        ids: Its T tokens.
        offsets: Characters (from, to) of each token. Together they cover the text: white space outside of all tokens
            belongs to the next one, or the last one. Tokens that are parts of one character share it.
        log_p_ST: ``log p(token | previous tokens)`` in nats, float32 on the CPU.
    """

    ids: tuple[int, ...]
    offsets: Offsets
    log_p_ST: Tensor

    @property
    def log_p_S(self) -> Tensor:
        """Log-likelihood of the text at each strength, in float64."""
        return self.log_p_ST.double().sum(-1)

    def evidence(self, first: int, second: int) -> Tensor:
        """Return by how many nats (T,) each token is likelier at one strength than at another, by their indices.

        The values add up to the difference of the log-likelihoods. Han et al. (2024) highlight texts by it.
        """
        return (self.log_p_ST[first] - self.log_p_ST[second]).double()


def text_log_probs(
    model: LanguageModel,
    steer: Steer,
    texts: Sequence[str],
    strengths: Sequence[Mapping[str, float]],
    *,
    prompts: Sequence[str | Turns] = (),
    locations: Sequence[str] = (),
) -> list[TextLogProbs]:
    """Compute log-probabilities at several strengths: the model's body once, its head once for each strength.

    The body never sees the steer, so the hidden states are the same at all strengths. The first token follows BOS (or
    EOS), as in ``continuation_nll``.

    Args:
        texts: N texts.
        strengths: S strengths by name of dimension; 0 where a dimension is missing.
        prompts: What is read before each text, a text or the turns of a question; empty: nothing.
        locations: Location of each text, for messages.

    Raises:
        InputError: If a strength is not one of the steer's dimensions, or makes likelihoods overflow; if a text has no
            tokens or is beyond the model's context.
    """
    if not texts:
        return []
    vectors_SK = [steer.strengths(strength) for strength in strengths]
    encoded = encode(model, prompts or [""] * len(texts), texts, locations=locations)
    steer = steer.to(model.device)
    results: dict[int, TextLogProbs] = {}
    with tqdm(total=len(texts), desc="read", unit="text", disable=len(texts) <= PROGRESS_FROM, leave=False) as bar:
        for batch, states_MD in states_by_batch(model, encoded):
            batch_texts = [encoded[index] for index in batch]
            log_p_SM = _log_p(model, steer, states_MD, batch_texts, vectors_SK)
            parts = log_p_SM.split([len(text.after) for text in batch_texts], dim=1)
            for index, text, log_p_ST in zip(batch, batch_texts, parts, strict=True):
                offsets = covering(text.offsets, len(texts[index]))
                results[index] = TextLogProbs(text.after, offsets, log_p_ST.clone())
            bar.update(len(batch))
    return [results[index] for index in range(len(texts))]


@torch.inference_mode()
def _log_p(
    model: LanguageModel, steer: Steer, states_MD: Tensor, texts: Sequence[Encoded], vectors_SK: Sequence[Tensor]
) -> Tensor:
    """Compute the log-probabilities (S, M) of all tokens of a batch."""
    targets_M = torch.tensor([token for text in texts for token in text.after], device=model.device)
    rows = []
    for strength_K in vectors_SK:
        steered_MD = steer(states_MD, strength_K.to(model.device)[None])
        rows.append(-nll(model.head, steered_MD, targets_M).float().cpu())
    log_p_SM = torch.stack(rows)
    if not log_p_SM.isfinite().all():
        bad = int((~log_p_SM.isfinite()).any(1).nonzero()[0, 0])
        named = zip(steer.dimensions, vectors_SK[bad].tolist(), strict=True)
        strength = ", ".join(f"{name} {value:+g}" for name, value in named)
        raise InputError(f"strength {strength}: likelihoods overflow; take a strength nearer to 0")
    return log_p_SM


def covering(offsets: Offsets, length: int) -> Offsets:
    """Extend a tokenizer's offsets, which leave out white space, to cover a text of ``length`` characters."""
    covered: list[tuple[int, int]] = []
    reached = 0
    for start, end in offsets:
        covered.append((min(start, reached), max(end, reached)))
        reached = covered[-1][1]
    if covered:
        covered[-1] = (covered[-1][0], length)
    return tuple(covered)
