"""Combine several fitted methods of one model into one, at fixed strengths: vectors of a layer, or LoRA adapters."""

from collections.abc import Sequence

import torch

from lmsteer.errors import InputError
from lmsteer.methods.experts import A, B
from lmsteer.methods.layer_vector import LAYER, VECTOR, DiffMean
from lmsteer.methods.learned_method import FittedMethod, Learned
from lmsteer.methods.lora import POSITIVE, Lora
from lmsteer.steering.merging import DENSITY, MERGED, dare


def add_vectors(fitted: Sequence[FittedMethod], strengths: Sequence[float]) -> FittedMethod:
    """Add the vectors of one layer, each times its strength; strength 1 of the result is the combination.

    Raises:
        InputError: If the vectors are of different layers.
    """
    layers = sorted({one.learned.values[LAYER] for one in fitted})
    if len(layers) > 1:
        raise InputError(f"vectors of layers {', '.join(map(str, layers))}: one layer expected (method.layer=…)")
    vectors = [value * one.learned.tensors[VECTOR] for one, value in zip(fitted, strengths, strict=True)]
    learned = Learned({VECTOR: torch.stack(vectors).sum(0)}, {LAYER: layers[0]})
    return FittedMethod(DiffMean(layer=layers[0]), MERGED, learned)


def merge_adapters(
    fitted: Sequence[FittedMethod], strengths: Sequence[float], *, density: float = DENSITY, seed: int = 0
) -> FittedMethod:
    """Merge the positive adapters of LoRA methods as ``add_weighted_adapter`` of PEFT with ``dare_linear`` does.

    PEFT drops, rescales and adds the factors A and B, each times the root of strength and scale, so the result has the
    products of one adapter's A with another's B, too.

    Raises:
        InputError: If ranks differ, or a strength is negative.
    """
    methods = [one.method for one in fitted]
    if not all(isinstance(method, Lora) for method in methods) or len({repr(method) for method in methods}) > 1:
        raise InputError(f"{', '.join(method.name for method in methods)}: LoRA adapters of equal options expected")
    if min(strengths) < 0:
        raise InputError(f"strengths {', '.join(map(str, strengths))}: none below 0 expected to merge adapters")
    (method,) = {method for method in methods if isinstance(method, Lora)}
    roots = [(value * method.alpha / method.rank) ** 0.5 for value in strengths]
    noise = torch.Generator().manual_seed(seed)
    names = [name.removesuffix(A) for name in fitted[0].learned.tensors if name.endswith(A)]
    tensors = {
        name + factor: dare(
            [root * one.learned.tensors[name + factor].float() for one, root in zip(fitted, roots, strict=True)],
            density=density,
            noise=noise,
        )
        for name in names
        for factor in (A, B)
        if name.startswith(f"{POSITIVE}.")
    }
    return FittedMethod(Lora(rank=method.rank, alpha=method.rank), MERGED, Learned(tensors))
