"""Apply a steer file to a model with a plain install: make test-wheel runs this, and test_extras.py too."""

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch

import lmsteer
from lmsteer.models.random_models import tiny

folder, ids = Path(tempfile.mkdtemp()), torch.tensor([[5, 6, 7]])
made = tiny()
made.lm.save_pretrained(folder / "model")
made.tokenizer.save_pretrained(folder / "model")
model = lmsteer.load_model(str(folder / "model"), device="cpu", dtype="float32")
steer = lmsteer.Steer(model.width, dimensions=["tone"], rank=4, epsilon=0.1, init_std=0.5, seed=1)
provenance = lmsteer.Provenance(model=model.name, fingerprint=model.head.fingerprint())
lmsteer.save_steer(folder / "tone.safetensors", steer, provenance)

steer, _ = lmsteer.load_steer(folder / "tone.safetensors", model)
with torch.inference_mode():
    plain = model.lm(input_ids=ids).logits
    with steer.apply(model, {"tone": 3}) as lm:
        steered = lm(input_ids=ids).logits
change = steer.delta_logits(model.head, model.hidden(ids)[0], 0)
torch.testing.assert_close(steered[0] - plain[0], 3 * change, rtol=1e-3, atol=1e-4)
assert len(lmsteer.generate(model, ["the film"], steer=steer, strength={"tone": 3}, samples=2)[0].texts) == 2
for package in ("pytorch_lightning", "hydra", "wandb", "sklearn", "datasets", "matplotlib", "scipy"):
    assert package not in sys.modules, package
    assert find_spec(package) is None, package
print("a steer was applied with the core alone")
