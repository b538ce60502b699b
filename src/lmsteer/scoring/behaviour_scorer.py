"""Whether a text has one behaviour, or all of several."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lmsteer.behaviours.behaviour import Behaviour
from lmsteer.errors import InputError
from lmsteer.scoring.scorer import check_scores


class BehaviourScorer:
    """1 for a text that has all of the behaviours, 0 for any other; the mean is the accuracy of a combination.

    Args:
        behaviours: Behaviours by any key.
        name: Name in tables; None: the names of the behaviours.

    Raises:
        InputError: If there is no behaviour.
        MissingExtraError: If a behaviour needs a package that is not installed.

    Example:
        >>> from lmsteer.behaviours import find_behaviour
        >>> scorer = BehaviourScorer(behaviours={"case": find_behaviour("case-upper")})
        >>> scorer(["SO LOUD!", "So quiet."])
        tensor([1., 0.])
    """

    reserved: frozenset[str] = frozenset()

    def __init__(self, *, behaviours: Mapping[str, Behaviour], name: str | None = None) -> None:
        self._behaviours = tuple(behaviours.values())
        if not self._behaviours:
            raise InputError("scorer behaviour: no behaviours; one or more expected")
        self.name = name or "+".join(behaviour.name for behaviour in self._behaviours)
        self.revision = ", ".join(f"{behaviour.name} {behaviour.revision}" for behaviour in self._behaviours)
        self._has_all("")  # a missing package ends a run here, not after its generations

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return scores (N,), each 0 or 1."""
        scores = [float(self._has_all(text)) for text in texts]
        return check_scores(torch.tensor(scores, dtype=torch.float32), texts, scorer=self.name)

    def _has_all(self, text: str) -> bool:
        verdicts = [behaviour.verify(text) for behaviour in self._behaviours]
        return all(verdicts)
