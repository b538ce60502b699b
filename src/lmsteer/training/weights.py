"""Named weights of any names as one module."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Weights(nn.Module):
    """Parameters by name; unlike those of a module, names may contain dots.

    Example:
        >>> Weights({"layers.0": torch.zeros(2)}).tensors()["layers.0"].shape
        torch.Size([2])
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = list(tensors)
        self.parameter_list = nn.ParameterList(nn.Parameter(tensor.float()) for tensor in tensors.values())

    def tensors(self) -> dict[str, Tensor]:
        """Return the parameters by name."""
        return dict(zip(self.names, self.parameter_list, strict=True))

    def detached(self) -> dict[str, Tensor]:
        """Return copies of the parameters on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.tensors().items()}

    def empty(self) -> Tensor:
        """Return an empty vector that depends on every parameter: the loss of no tokens, for processes without rows."""
        return torch.cat([tensor.flatten()[:0] for tensor in self.parameter_list])
