"""One streaming pass over labeled texts.

Shapes: B texts, N packed tokens, D width, P permutations of labels.
"""

from collections.abc import Sequence
from dataclasses import fields, replace

from torch import Tensor
from tqdm.auto import tqdm

from lmsteer.data.feature_store import FeatureStore
from lmsteer.data.features import FeatureExtractor
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.models.chat import Text
from lmsteer.one_pass.gradients import LoglikGradients
from lmsteer.one_pass.statistics import Statistics

TEXTS_PER_CHUNK = 256
"""Texts whose hidden states and gradients are held together."""


def sum_statistics(
    extract: FeatureExtractor | FeatureStore,
    texts: Sequence[Text],
    label_B: Tensor,
    *,
    permuted_BP: Tensor | None = None,
    process_group: ProcessGroup | None = None,
) -> Statistics:
    """Sum the statistics of texts in one pass; memory grows only with the width and the number of permutations.

    Args:
        label_B: Labels in [-1, 1].
        permuted_BP: Permuted labels, see ``permute_labels``.
        process_group: The processes that share the texts, all of which call this; None: one.

    Raises:
        InputError: If the number of labels is not that of texts, a label is out of range, no text has two tokens, or
            there are fewer texts than processes.
    """
    process_group = process_group or ProcessGroup()
    _check(texts, label_B, process_group)
    texts, shard = process_group.shard(texts), slice(process_group.rank, None, process_group.size)
    label_B, permuted_BP = label_B[shard], None if permuted_BP is None else permuted_BP[shard]
    gradients, total = LoglikGradients(extract.model.head), None
    for start in tqdm(range(0, len(texts), TEXTS_PER_CHUNK), desc="statistics", unit="batch"):
        chunk = slice(start, start + TEXTS_PER_CHUNK)
        features = extract(texts[chunk])
        gradient_ND = gradients(features.hidden_ND, features.targets_N)
        permuted = None if permuted_BP is None else permuted_BP[chunk].to(gradient_ND.device)
        label = label_B[chunk].to(gradient_ND.device)
        statistics = Statistics.from_tokens(
            features.hidden_ND, gradient_ND, features.lengths, label, permuted_BP=permuted
        )
        if total is None:
            total = statistics
        else:
            total.add_(statistics)
    assert total is not None
    total = replace(total, fisher_DD=gradients.fisher())
    total = Statistics(
        **{field.name: process_group.all_reduce_tensor(getattr(total, field.name)) for field in fields(total)}
    )
    if not total.tokens:
        raise InputError("no text is longer than one token, so there is nothing to predict; give longer texts")
    return total


def _check(texts: Sequence[Text], label_B: Tensor, process_group: ProcessGroup) -> None:
    if len(texts) < process_group.size or not texts:
        raise InputError(f"{len(texts)} texts, but {process_group.size} processes; one for each is needed")
    if label_B.shape != (len(texts),):
        raise InputError(f"labels of shape {tuple(label_B.shape)}: ({len(texts)},), one for each text, expected")
    if not (label_B.abs() <= 1).all():
        raise InputError(f"labels up to {label_B.abs().max():g}: values in [-1, 1] expected")


def sample_contexts(extract: FeatureExtractor | FeatureStore, texts: Sequence[Text], *, limit: int) -> Tensor:
    """Return hidden states of texts, at most ``limit``, evenly spaced."""
    hidden_ND = extract(texts).hidden_ND
    return hidden_ND[:: max(1, -(-len(hidden_ND) // limit))]
