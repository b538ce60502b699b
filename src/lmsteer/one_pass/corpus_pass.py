"""One streaming pass over labelled texts: what a steer in one pass is made of.

Shapes: B texts, N packed tokens, D width, K attributes, P permutations of labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

from torch import Tensor
from tqdm.auto import tqdm

from lmsteer.data.feature_store import FeatureStore
from lmsteer.data.features import FeatureExtractor
from lmsteer.distributed.process_group import ProcessGroup
from lmsteer.errors import InputError
from lmsteer.one_pass.residual_store import ResidualStore
from lmsteer.one_pass.residuals import Residuals
from lmsteer.one_pass.statistics import Statistics

AT_ONCE = 256
"""Texts whose hidden states and residuals are held together."""


def statistics(
    extract: FeatureExtractor | FeatureStore,
    texts: Sequence[str],
    label_BK: Tensor,
    *,
    null_BKP: Tensor | None = None,
    store: ResidualStore | None = None,
    process_group: ProcessGroup | None = None,
) -> Statistics:
    """Go through texts once and sum up; memory grows with the width and the number of permutations alone.

    Args:
        label_BK: GenerationMetadata in [-1, 1], NaN where a text has none for an attribute.
        null_BKP: The same after they have changed places, see ``permuted``.
        store: Where residuals are kept; a second call for the same texts does without the vocabulary.
        world: The processes that share the texts, all of which call this; None: one.

    Raises:
        InputError: If labels are not as many as texts or out of range, no text has two tokens, or there are fewer texts
            than processes.
    """
    process_group = process_group or ProcessGroup()
    _check(texts, label_BK, process_group)
    texts, own = process_group.shard(texts), slice(process_group.rank, None, process_group.size)
    label_BK, null_BKP = label_BK[own], None if null_BKP is None else null_BKP[own]
    model = extract.extract.model if isinstance(extract, FeatureStore) else extract.model
    residuals, total = Residuals(model.head), None
    spread_DD = store.spread(texts) if store else None
    for start in tqdm(range(0, len(texts), AT_ONCE), desc="statistics", unit="batch"):
        some = slice(start, start + AT_ONCE)
        features = extract(texts[some])
        if store is not None and spread_DD is not None:
            residual_ND = store.read(texts[some])
        else:
            residual_ND = residuals(features.hidden_ND, features.targets_N)
            if store is not None:
                store.keep(texts[some], features, residual_ND)
        null = None if null_BKP is None else null_BKP[some].to(residual_ND.device)
        label = label_BK[some].to(residual_ND.device)
        found = Statistics.of(features.hidden_ND, residual_ND, features.lengths, label, null_BKP=null)
        if total is None:
            total = found
        else:
            total.add_(found)
    assert total is not None
    if store is not None and spread_DD is None:
        store.keep_spread(texts, residuals)
    total = replace(total, spread_DD=residuals.spread() if spread_DD is None else spread_DD)
    total = Statistics(
        **{field.name: process_group.all_reduce_tensor(getattr(total, field.name)) for field in fields(total)}
    )
    if not total.tokens:
        raise InputError("no text is longer than one token, so there is nothing to predict; give longer texts")
    return total


def _check(texts: Sequence[str], label_BK: Tensor, process_group: ProcessGroup) -> None:
    if len(texts) < process_group.size or not texts:
        raise InputError(f"{len(texts)} texts, but {process_group.size} processes; one for each is needed")
    if label_BK.dim() != 2 or label_BK.shape[0] != len(texts) or not label_BK.shape[1]:
        raise InputError(f"labels of shape {tuple(label_BK.shape)}: ({len(texts)} texts, attributes) expected")
    if (label_BK.abs() > 1).any():
        raise InputError(f"labels up to {label_BK.nan_to_num(0.0).abs().max():g}: values in [-1, 1], or NaN, expected")


def contexts(extract: FeatureExtractor | FeatureStore, texts: Sequence[str], *, most: int) -> Tensor:
    """Hidden states of texts, at most so many, spread evenly."""
    hidden_ND = extract(texts).hidden_ND
    return hidden_ND[:: max(1, -(-len(hidden_ND) // most))]
