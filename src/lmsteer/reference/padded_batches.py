"""Count the padding of a batch as text, as the original implementation does."""

from collections.abc import Sequence

import torch

from lmsteer.data.features import FeatureExtractor, Features
from lmsteer.errors import InputError


class PaddedExtractor:
    """Compute the features of one padded batch whose padding counts as text.

    End-of-sequence tokens after each text fill the batch up to its longest text. They are masked as keys, but are
    targets like any other token, so that all texts have the same length.

    Raises:
        InputError: If the tokenizer has no end-of-sequence token.
    """

    def __init__(self, extract: FeatureExtractor) -> None:
        end = extract.model.tokenizer.eos_token_id
        if end is None:
            raise InputError(f"fit.legacy_padding: the tokenizer of {extract.model.name} has no end-of-sequence token")
        self.extract, self.end = extract, end

    def __call__(self, texts: Sequence[str]) -> Features:
        """Return the features of texts, B × (longest text - 1) tokens."""
        model, encoded = self.extract.model, self.extract.encode(texts)
        ids_BT = torch.full((len(encoded), max(1, *map(len, encoded))), self.end)
        mask_BT = torch.zeros_like(ids_BT)
        for row, ids in enumerate(encoded):
            ids_BT[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
            mask_BT[row, : max(1, len(ids))] = 1
        states_BTD = model.hidden(ids_BT.to(model.device), mask_BT.to(model.device))
        return Features.pack(list(zip(states_BTD[:, :-1], ids_BT[:, 1:].to(model.device), strict=True)))
