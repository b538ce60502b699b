"""Promises of the library without Hydra."""

import subprocess
import sys
from pathlib import Path

import pytest

import lmsteer
from lmsteer.models.random_models import tiny


def test_a_steer_is_fitted_saved_loaded_and_used_in_ten_lines(tmp_path: Path) -> None:
    model = tiny()
    rows = [lmsteer.Row(f"story {n} is {tone}", y) for n in range(20) for tone, y in (("warm", 1.0), ("slow", -1.0))]
    corpus = lmsteer.Corpus("mine", train=tuple(rows[:30]), dev=tuple(rows[30:]))
    steer_config = lmsteer.SteerConfig(name="tone", rank=4, epsilon=0.05)
    steer, provenance = lmsteer.fit(model, corpus, steer_config, lmsteer.FitConfig(steps=20, batch_size=8))
    lmsteer.save_steer(tmp_path / "tone.safetensors", steer, provenance)
    loaded, _ = lmsteer.load_steer(tmp_path / "tone.safetensors", model)
    plain, warm, slow = (
        lmsteer.generate(model, ["the film is", "the story"], steer=loaded, strength={"tone": v}, samples=3)
        for v in (0.0, 20.0, -20.0)
    )
    assert plain == [
        lmsteer.Generation(g.prompt, g.texts, {"tone": 0.0})
        for g in lmsteer.generate(model, ["the film is", "the story"], samples=3)
    ]
    assert warm != plain != slow
    assert [generation.prompt.text for generation in warm] == ["the film is", "the story"]
    assert all(len(generation.texts) == 3 for generation in warm)
    again = lmsteer.generate(model, ["the film is", "the story"], steer=steer, strength={"tone": 20.0}, samples=3)
    assert again == warm, "the steer is the same before and after the file"


def modules_after(code: str) -> set[str]:
    """Top-level packages that a new process has imported after ``code``."""
    code += "\nimport sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")[-2].split())


def test_importing_the_library_imports_nothing_that_is_not_used() -> None:
    heavy = {"torch", "transformers", "pytorch_lightning", "torchmetrics", "wandb", "sklearn", "scipy", "pandas"}
    assert not modules_after("import lmsteer") & {*heavy, "hydra", "omegaconf"}
    assert not modules_after("import lmsteer; lmsteer.fit") & {"hydra", "omegaconf", "wandb"}


@pytest.mark.parametrize(
    "option",
    ["--help", "steer.rnk=4", "steer.rank=abc", "trainer.max_steps=-1", "data.store=[1]", "protocol.kl=x", "device=gpu"],
)
def test_help_and_refusals_import_nothing_of_the_work(option: str) -> None:
    code = (
        f"import sys, runpy; sys.argv = ['train', {option!r}]\ntry: runpy.run_module('src.train', run_name='__main__')"
    )
    imported = modules_after(
        f"{code}\nexcept SystemExit as end: assert (end.code or 0) == 0 or 'Error' in str(end.code)"
    )
    assert "hydra" in imported
    assert not imported & {"torch", "transformers", "pytorch_lightning", "torchmetrics", "wandb", "sklearn", "scipy"}


def test_tables_are_made_without_torch() -> None:
    assert not modules_after("import lmsteer.commands.report") & {"torch", "transformers", "pytorch_lightning", "wandb"}


def test_every_public_name_is_found() -> None:
    assert all(getattr(lmsteer, name) is not None for name in dir(lmsteer))
    with pytest.raises(AttributeError, match="no attribute 'stear'"):
        _ = lmsteer.stear
