"""Generate with the steer of this repository, by transformers alone.

``model.generate(**inputs, custom_generate="ORG/NAME", trust_remote_code=True, steer_strength=3)``

``steer_strength`` is a number for the first dimension, or ``{"NAME": number}``; 0 is the plain model. All other options
are those of ``generate``. The steer replaces the hidden state h before the output embeddings by
h + epsilon * sum_k v_k (h P1_k P2_k^T + b_k); P1, P2 and b are in ``steer.safetensors``.

Shapes: D width, K dimensions, R rank.
"""

import hashlib
import inspect
import json
import math
import warnings
import weakref
from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
from safetensors import safe_open
from transformers.utils.hub import cached_file

FILE, KEY = "steer.safetensors", "lmsteer"
OF_THE_HUB = ("revision", "token", "cache_dir", "local_files_only")
"""Options by which transformers finds this file, and by which the steer is found."""
_FINGERPRINTS: MutableMapping[Any, str] = weakref.WeakKeyDictionary()
"""Of the heads that were used, as a large one takes seconds."""


def generate(model: Any, steer_strength: Any = None, steer_from: str | None = None, **options: Any) -> Any:
    """Generate with a steered model, which is plain again afterwards.

    Args:
        model: The model of transformers that the steer was fitted on.
        steer_strength: A number for the first dimension, or numbers by name.
        steer_from: Folder or repository of the steer; None: that of ``custom_generate``.
        options: Those of ``generate``.
    """
    source = steer_from or _source()
    of_hub = {name: options.pop(name) for name in OF_THE_HUB if name in options}
    facts, tensors = _read(str(cached_file(source, FILE, **of_hub)))
    strength_K = _strengths(steer_strength, facts["dimensions"])
    head = model.get_output_embeddings()
    _check_model(model, head, facts)

    def shift(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (_steered(inputs[0], strength_K, facts["epsilon"], tensors), *inputs[1:])

    hook = head.register_forward_pre_hook(shift)
    try:
        return type(model).generate(model, **options)
    finally:
        hook.remove()


def _source() -> str:
    """Return what ``custom_generate`` names: transformers does not pass it on, but ``generate`` holds it."""
    frame = inspect.currentframe()
    while frame is not None:
        source = frame.f_locals.get("custom_generate")
        if frame.f_code.co_name == "generate" and isinstance(source, str):
            return source
        frame = frame.f_back
    raise ValueError('steer_from: the folder or repository of the steer expected, such as steer_from="ORG/NAME"')


def _read(path: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()[KEY])
        return facts, {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118


def _strengths(given: Any, dimensions: list[str]) -> torch.Tensor:
    named = given if isinstance(given, Mapping) else {dimensions[0]: given}
    for name, value in named.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if name not in dimensions or not is_number:
            raise ValueError(
                f"steer_strength={given}: a number, or numbers by name of {', '.join(dimensions)} expected"
            )
    return torch.tensor([float(named.get(name, 0.0)) for name in dimensions])


def _steered(
    hidden: torch.Tensor, strength_K: torch.Tensor, epsilon: float, tensors: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Return steered hidden states (..., D)."""
    strength_K = strength_K.to(hidden.device)
    tensors = {name: tensor.to(hidden.device) for name, tensor in tensors.items()}
    code = torch.einsum("...d,kdr->...kr", hidden.float(), tensors["p1"]) * strength_K[:, None]
    shift = torch.einsum("...kr,kdr->...d", code, tensors["p2"]) if "p2" in tensors else code.sum(-2)
    if "bias" in tensors:
        shift = shift + strength_K @ tensors["bias"]
    return (hidden.float() + epsilon * shift).to(hidden.dtype)


def _check_model(model: Any, head: Any, facts: dict[str, Any]) -> None:
    """Refuse a model of another width; warn of one with other output embeddings than the steer was fitted on."""
    width = head.weight.shape[1]
    if width != facts["width"]:
        raise ValueError(f"the steer was fitted on {facts['model']}, width {facts['width']}; this model has {width}")
    if head.weight.is_meta or not head.weight.is_floating_point():
        return  # offloaded or quantized: there are no numbers to compare
    if head not in _FINGERPRINTS:
        _FINGERPRINTS[head] = _fingerprint(model.config.get_text_config(), head)
    if _FINGERPRINTS[head] != facts["fingerprint"]:
        warnings.warn(
            f"the steer was fitted on {facts['model']}, whose output embeddings are not quite those of this model: "
            "its effect is not known",
            stacklevel=4,
        )


def _fingerprint(config: Any, head: Any) -> str:
    """Return the digest by which a steer file knows its model: the sha256 of the head in bfloat16."""
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    softcap = getattr(config, "final_logit_softcapping", None)
    state = hashlib.sha256(f"{tuple(head.weight.shape)} {scale} {softcap}".encode())
    for tensor in (head.weight, head.bias):
        if tensor is not None:
            state.update(tensor.detach().to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy().data)
    return state.hexdigest()
