"""The paper's procedure, written plainly, with which lmsteer is compared. It is meant to be fair, not slow.

Regardless of the dtype of lmsteer, the model is in float32, with transformers' default attention. Differences from the
released code that favor this version: no logits are computed for the last token of a row, padding counts neither in the
loss nor as a text, and steps are not interrupted by logging or saving.

Shapes: B batch rows, T tokens, K dimensions.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lmsteer.data.batching import batch_rows
from lmsteer.data.corpus import Corpus
from lmsteer.models.language_model import LanguageModel
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.fit_module import DEFAULT_OPTIMIZER

IGNORED = -100
BATCH_SIZE, MAX_LENGTH = 32, 256
"""The defaults of lmsteer's data module."""
MAX_SEQUENCES = {"cpu": 200}
"""Most sequences of one call of transformers' ``generate``; on other devices as many as lmsteer decodes at once."""


class PlainFit:
    """Steps of the fit, on the same batches and from the same initial steer as ``lmsteer.fit``."""

    def __init__(self, model: LanguageModel, corpus: Corpus, steer_config: SteerConfig, *, seed: int) -> None:
        self.model, self.corpus, self.seed = model, corpus, seed
        self.steer = steer_config.build(model.width, seed).to(model.device)
        self.optimizer = DEFAULT_OPTIMIZER(self.steer.parameters())
        self.losses: list[float] = []

    def step(self) -> None:
        """Run one batch through the language model, the steer and the whole head, and take one step of Adam."""
        max_length = min(MAX_LENGTH, self.model.context)
        indices = batch_rows(len(self.losses), rows=len(self.corpus.train), batch_size=BATCH_SIZE, seed=self.seed)
        rows = [self.corpus.train[index] for index in indices]
        texts = [row.text for row in rows]
        encoded = self.model.tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
        ids_BT, mask_BT = pad(encoded, side="right", device=self.model.device)
        strength_BK = torch.ones(len(rows), len(self.steer.dimensions), device=self.model.device)
        strength_BK[:, 0] = torch.tensor([row.label for row in rows])
        with torch.no_grad():
            hidden = self.model.lm.base_model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False)[0]
        logits = self.model.head(self.steer(hidden[:, :-1], strength_BK))
        targets_BT = ids_BT[:, 1:].masked_fill(mask_BT[:, 1:] == 0, IGNORED)
        loss = F.cross_entropy(logits.flatten(0, 1), targets_BT.flatten(), ignore_index=IGNORED)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.losses.append(loss.item())


def sample_batch(
    model: LanguageModel,
    steer: Steer,
    strength: Mapping[str, float],
    prompts: Sequence[str],
    *,
    samples: int,
    p: float,
    tokens: int,
) -> list[str]:
    """Write continuations by one call of transformers' ``generate``, each exactly ``tokens`` long as lmsteer's are.

    With one prompt and one sample it is the paper's procedure.
    """
    ids_BT, mask_BT = pad(model.tokenizer(list(prompts))["input_ids"], side="left", device=model.device)
    with steer.apply(model, strength) as lm:
        generate: Any = lm.generate  # transformers has no usable type for it
        written_BT = generate(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            do_sample=True,
            top_p=p,
            top_k=0,
            num_return_sequences=samples,
            min_new_tokens=tokens,
            max_new_tokens=tokens,
            pad_token_id=model.tokenizer.pad_token_id or 0,
        )
    new_BT = written_BT[:, ids_BT.shape[1] :]
    return model.tokenizer.batch_decode(new_BT, skip_special_tokens=True)


def continuation_nats(model: LanguageModel, prompt: str, continuations: Sequence[str]) -> list[float]:
    """Return the nats of each continuation: those of the full text less those of the prompt, a pass for each."""
    prompt_nats = text_nats(model, prompt)
    return [text_nats(model, prompt + continuation) - prompt_nats for continuation in continuations]


@torch.no_grad()
def text_nats(model: LanguageModel, text: str) -> float:
    """Sum ``-log p`` over all tokens of a text but the first, from its full logits."""
    ids_BT = torch.tensor([model.tokenizer(text)["input_ids"]], device=model.device)
    logits = model.lm(input_ids=ids_BT).logits
    return F.cross_entropy(logits[0, :-1], ids_BT[0, 1:], reduction="sum").item()


def pad(
    encoded: Sequence[Sequence[int]], *, side: Literal["left", "right"], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Pad token ids to (B, T); return them and their mask."""
    rows = [torch.tensor(ids) for ids in encoded]
    ids_BT = pad_sequence(rows, batch_first=True, padding_side=side)
    mask_BT = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True, padding_side=side)
    return ids_BT.to(device), mask_BT.to(device)


def max_sequences(device: torch.device, batch_size: int) -> int:
    """Return the most sequences that one call of transformers' ``generate`` writes."""
    return min(batch_size, MAX_SEQUENCES.get(device.type, batch_size))
