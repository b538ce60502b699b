"""Fit a gate, a probe of the prompt, on labeled prompts.

Shapes: N prompts, T tokens, D width.
"""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lmsteer.data.prompts.prompt_sets import prompt_text, prompt_turns
from lmsteer.data.readers.table import get_number, read_jsonl_rows
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Turns
from lmsteer.steering.schedule import Gate

logger = logging.getLogger(__name__)
PROMPTS_PER_BATCH = 16
HELD_OUT = 5
"""Every fifth prompt of each kind is held out to measure the gate, and then learned from as well."""


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """Fit a gate by logistic regression on the plain model's last hidden state of each prompt.

    Attributes:
        prompts: JSONL file of prompts or questions, as ``prompt_file`` reads them, each with a ``label``: above 0 where
            the gate is to be open, else 0 or below.
        threshold: Probability, in (0, 1), above which the gate is open.
        penalty: Weight of the squared weights, above 0, of standardized hidden states in the mean loss.
    """

    prompts: str
    threshold: float = 0.5
    penalty: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise InputError(f"schedule threshold={self.threshold}: a number between 0 and 1 expected")
        if not 0 < self.penalty < math.inf:
            raise InputError(f"schedule penalty={self.penalty}: a number above 0 expected")

    def read(self) -> tuple[list[str | Turns], Tensor]:
        """Read the prompts and whether the gate is to be open (N,) after each.

        Raises:
            InputError: If a line has no prompt or label, or there are not two prompts or more of each kind.
        """
        contents, labels = [], []
        for where, row in read_jsonl_rows(Path(self.prompts)):
            contents.append(prompt_turns(row, where) or prompt_text(row, where))
            labels.append(get_number(row, "label", where) > 0)
        if min(sum(labels), len(labels) - sum(labels)) < 2:
            raise InputError(f"{self.prompts}: two prompts or more with a label above 0, and two without, expected")
        return contents, torch.tensor(labels)

    def fit(self, model: LanguageModel) -> Gate:
        """Fit the gate, and log its accuracy on held-out prompts.

        Raises:
            InputError: As ``read`` does, or if the model cannot be asked a question.
        """
        contents, open_N = self.read()
        states_ND = prompt_states(model, contents)
        held_out_N = torch.where(open_N, open_N.cumsum(0), (~open_N).cumsum(0)) % HELD_OUT == 1
        trial = fit_gate(states_ND[~held_out_N], open_N[~held_out_N], penalty=self.penalty, threshold=self.threshold)
        right = (trial.is_open(states_ND[held_out_N]) == open_N[held_out_N]).float().mean().item()
        logger.info("gate of %d prompts: %.3f of %d held-out ones right", len(open_N), right, int(held_out_N.sum()))
        return fit_gate(states_ND, open_N, penalty=self.penalty, threshold=self.threshold)


def prompt_states(model: LanguageModel, contents: list[str | Turns]) -> Tensor:
    """Compute the last hidden states (N, D) of prompts, float32 on the CPU."""
    ids = [tokens or [model.first_token()] for tokens in model.tokenize([model.prompt(one) for one in contents])]
    states_ND = torch.empty(len(ids), model.width)
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    for start in range(0, len(order), PROMPTS_PER_BATCH):
        batch = order[start : start + PROMPTS_PER_BATCH]
        rows = [torch.tensor(ids[index]) for index in batch]
        hidden_BTD = model.hidden(pad_sequence(rows, batch_first=True).to(model.device))
        last_B = torch.tensor([len(row) - 1 for row in rows])
        states_ND[batch] = hidden_BTD[torch.arange(len(rows)), last_B].float().cpu()
    return states_ND


def fit_gate(states_ND: Tensor, open_N: Tensor, *, penalty: float = 0.01, threshold: float = 0.5) -> Gate:
    """Fit a gate on hidden states, with a squared penalty; both kinds count as much.

    Args:
        open_N: Whether the gate is to be open; at least one prompt of each kind.

    Example:
        >>> states = torch.tensor([[0.0, 1.0], [0.0, 2.0], [1.0, 1.0], [1.0, 2.0]])
        >>> gate = fit_gate(states, torch.tensor([False, False, True, True]))
        >>> gate.is_open(states).tolist()
        [False, False, True, True]
    """
    x_ND, y_N = states_ND.double().cpu(), open_N.double().cpu()
    mean_D, scale_D = x_ND.mean(0), x_ND.std(0).clamp(min=1e-6)
    z_ND = (x_ND - mean_D) / scale_D
    share = y_N.mean()
    weight_N = torch.where(y_N > 0, 0.5 / share, 0.5 / (1 - share))
    parameters = torch.zeros(x_ND.shape[1] + 1, dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits_N = z_ND @ parameters[:-1] + parameters[-1]
        value = F.binary_cross_entropy_with_logits(logits_N, y_N, weight_N) + penalty * parameters[:-1].square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    w_D = parameters[:-1].detach() / scale_D
    bias = parameters[-1].item() - float(w_D @ mean_D) - math.log(threshold / (1 - threshold))
    return Gate(weight=tuple(w_D.tolist()), bias=bias)
