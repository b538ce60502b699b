"""Sums over one pass, of which a steer is made (docs/one_pass.md).

Shapes: B texts, T tokens of a text, N packed tokens, D width, K attributes, P permutations of labels, Q ways to weigh
texts.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lmsteer.errors import InputError
from lmsteer.storage.atomic_files import atomic_write

BLOCK = 2**25
"""Numbers of the matrices of texts that are held at once."""
FEW = 8
"""Ways to weigh texts from which on matrices of texts are worth their while."""


@dataclass(frozen=True)
class Statistics:
    """Sums over labelled tokens; those of several parts of a corpus add up to those of the whole.

    ``c`` is a hidden state, ``d`` the residual of the token behind it, ``y`` a label in [-1, 1], NaN where a text has
    none for an attribute: such tokens count for the spread alone. Sums over ``d`` alone are for a constant part.

    Attributes:
        tokens: All tokens, as a number without axes.
        spread_DD: Sum of ``Cov_p(j)`` (see ``Residuals``).
        known_K: Labelled tokens by attribute.
        label_K: Sum of y.
        square_K: Sum of y^2.
        context_KDD: Sum of ``y^2 c c^T``.
        context_KD: Sum of ``y^2 c``.
        pull_KDD: Sum of ``y c d^T``.
        drift_KDD: Sum of ``c d^T`` over labelled tokens: what the corpus' own style pulls at, whatever the label.
        pull_KD: Sum of ``y d``.
        drift_KD: Sum of ``d`` over labelled tokens.
        null_label_KP: As ``label_K``, for labels that have changed places between texts.
        null_pull_KPD: As ``pull_KD``, for these.
        null_pull_KPDD: As ``pull_KDD``, for these; float32.
    """

    tokens: Tensor
    spread_DD: Tensor
    known_K: Tensor
    label_K: Tensor
    square_K: Tensor
    context_KDD: Tensor
    context_KD: Tensor
    pull_KDD: Tensor
    drift_KDD: Tensor
    pull_KD: Tensor
    drift_KD: Tensor
    null_label_KP: Tensor
    null_pull_KPD: Tensor
    null_pull_KPDD: Tensor

    @classmethod
    @torch.inference_mode()
    def of(
        cls,
        hidden_ND: Tensor,
        residual_ND: Tensor,
        lengths_B: Tensor,
        label_BK: Tensor,
        *,
        spread_DD: Tensor | None = None,
        null_BKP: Tensor | None = None,
    ) -> Statistics:
        """Sums of some texts, on the CPU.

        Args:
            lengths_B: Tokens of each text, which stand one behind the other.
            spread_DD: Of these tokens; None where it is added otherwise.
            null_BKP: GenerationMetadata that have changed places, NaN where ``label_BK`` is.
        """
        width, exact = hidden_ND.shape[1], torch.promote_types(hidden_ND.dtype, torch.float32)
        null_BKP = label_BK.new_zeros(*label_BK.shape, 0) if null_BKP is None else null_BKP
        known_BK = (~label_BK.isnan()).to(exact)
        label_BK, null_BKP = (labels.nan_to_num(0.0).to(exact) for labels in (label_BK, null_BKP))
        square_NK = label_BK.square().repeat_interleave(lengths_B, dim=0)
        c_ND, d_ND, tokens_B = hidden_ND.to(exact), residual_ND.to(exact), lengths_B.cpu().double()
        context_KDD = torch.stack([(c_ND * square_N[:, None]).T @ c_ND for square_N in square_NK.unbind(-1)])
        weight_BQ = torch.cat([label_BK, known_BK, null_BKP.flatten(1)], dim=1)
        pulls_QDD = _pulls(c_ND, d_ND, lengths_B, weight_BQ).cpu()
        pulls_QD = (weight_BQ.T @ _by_text(d_ND, lengths_B)).cpu().double()
        sizes = [label_BK.shape[1], label_BK.shape[1], null_BKP[0].numel()]
        (pull_KDD, drift_KDD, null_QDD), (pull_KD, drift_KD, null_QD) = pulls_QDD.split(sizes), pulls_QD.split(sizes)
        return cls(
            tokens=tokens_B.sum(),
            spread_DD=torch.zeros(width, width, dtype=torch.double) if spread_DD is None else spread_DD,
            known_K=tokens_B @ known_BK.cpu().double(),
            label_K=tokens_B @ label_BK.cpu().double(),
            square_K=tokens_B @ label_BK.cpu().double().square(),
            context_KDD=context_KDD.cpu().double(),
            context_KD=(square_NK.T @ c_ND).cpu().double(),
            pull_KDD=pull_KDD.double(),
            drift_KDD=drift_KDD.double(),
            pull_KD=pull_KD,
            drift_KD=drift_KD,
            null_label_KP=(tokens_B @ null_BKP.cpu().double().flatten(1)).reshape(null_BKP.shape[1:]),
            null_pull_KPD=null_QD.reshape(*null_BKP.shape[1:], width),
            null_pull_KPDD=null_QDD.float().reshape(*null_BKP.shape[1:], width, width),
        )

    def __add__(self, other: Statistics) -> Statistics:
        """Sums of both parts.

        Raises:
            InputError: If they are of another width, or of other numbers of attributes or permutations.
        """
        self._check(other)
        pairs = {field.name: (getattr(self, field.name), getattr(other, field.name)) for field in fields(self)}
        return Statistics(**{name: one + two for name, (one, two) in pairs.items()})

    @torch.inference_mode()
    def add_(self, other: Statistics) -> None:
        """Add another part in place, as ``+`` does: the sums of the null are large."""
        self._check(other)
        for field in fields(self):
            getattr(self, field.name).add_(getattr(other, field.name))

    def _check(self, other: Statistics) -> None:
        for field in fields(self):
            one, two = getattr(self, field.name), getattr(other, field.name)
            if one.shape != two.shape:
                raise InputError(f"statistics of {field.name}: {tuple(one.shape)} and {tuple(two.shape)} do not add up")

    def save(self, path: Path) -> None:
        """Write a safetensors file, under a temporary name first."""
        tensors = {field.name: getattr(self, field.name).contiguous() for field in fields(self)}
        with atomic_write(path) as temporary:
            temporary.write_bytes(save(tensors))

    @classmethod
    def load(cls, path: Path) -> Statistics:
        """Read what ``save`` wrote.

        Raises:
            InputError: If the file is no such file.
        """
        try:
            return cls(**load_file(path))
        except (SafetensorError, OSError, TypeError) as error:
            reason = str(error).split("\n")[0] or type(error).__name__
            raise InputError(f"{path}: not a file of statistics ({reason})") from error


def _by_text(d_ND: Tensor, lengths_B: Tensor) -> Tensor:
    """Sums (B, D) of the tokens of each text."""
    text_N = torch.arange(len(lengths_B), device=d_ND.device).repeat_interleave(lengths_B.to(d_ND.device))
    return d_ND.new_zeros(len(lengths_B), d_ND.shape[1]).index_add_(0, text_N, d_ND)


def _pulls(c_ND: Tensor, d_ND: Tensor, lengths_B: Tensor, weight_BQ: Tensor) -> Tensor:
    """``sum_b weight_bq sum_t c_bt d_bt^T`` (Q, D, D).

    A text has one label: its tokens are summed up once, then texts are weighed in all ways by one product. For few ways
    tokens are weighed instead.
    """
    if weight_BQ.shape[1] < FEW:
        weight_NQ = weight_BQ.repeat_interleave(lengths_B, dim=0)
        return torch.stack([(c_ND * weight_N[:, None]).T @ d_ND for weight_N in weight_NQ.unbind(-1)])
    width, lengths = c_ND.shape[1], lengths_B.tolist()
    pulls_QD = c_ND.new_zeros(weight_BQ.shape[1], width * width)
    at_once = max(1, BLOCK // width**2)
    rows = zip(c_ND.split(lengths), d_ND.split(lengths), strict=True)
    for start in range(0, len(lengths), at_once):
        some = list(itertools.islice(rows, at_once))
        c_BTD, d_BTD = (pad_sequence(list(column), batch_first=True) for column in zip(*some, strict=True))
        texts_BD = (c_BTD.mT @ d_BTD).flatten(1)
        pulls_QD.addmm_(weight_BQ[start : start + at_once].T, texts_BD)
    return pulls_QD.reshape(-1, width, width)
