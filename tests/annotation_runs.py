"""Two finished runs whose texts raters compare, among them texts that would break a page."""

from collections.abc import Callable
from pathlib import Path

from tests.handmade_runs import PLAIN, STEERED, run_row, write_run

from lmsteer.records import Generation, Likelihood, Prompt
from lmsteer.storage.atomic_files import atomic_write_lines

HOSTILE_TEXTS = (
    "</script><script>window.broken = 1</script>",
    "<img src=x onerror='window.broken = 1'> \" ' ` & &amp; {{ 7 * 7 }}",
    "long " * 2000,
    "שלום עולם \N{RIGHT-TO-LEFT OVERRIDE}txet\N{POP DIRECTIONAL FORMATTING} مرحبا",
    "👩‍👩‍👧 🏳️‍🌈 \N{LINE SEPARATOR} é é",
    "",
)
METHODS = ("lm-steer", "dexperts")


def plain_text(method: str, prompt: int, sample: int) -> str:
    return f" sample {sample} of prompt {prompt} by {method}"


def hostile_text(method: str, prompt: int, sample: int) -> str:
    return (
        f" {HOSTILE_TEXTS[(prompt + sample) % len(HOSTILE_TEXTS)]}"
        if prompt % 2
        else plain_text(method, prompt, sample)
    )


def write_runs(
    folder: Path, *, prompts: int = 20, samples: int = 2, text: Callable[[str, int, int], str] = plain_text
) -> Path:
    """Write a run of two methods, each with the plain model, on the same prompts."""
    for method in METHODS:
        rows = [run_row(PLAIN), run_row(STEERED, {"detox": 5.0}, method=method)]
        run = write_run(folder / method, rows)
        generations = []
        for strength, name in (({}, "plain"), ({"detox": 5.0}, method)):
            for n in range(prompts):
                texts = tuple(text(name, n, sample) for sample in range(samples))
                likelihoods = tuple(Likelihood(10.0 + n + sample, 5) for sample in range(samples))
                prompt = Prompt(str(n), f"prompt {n} {HOSTILE_TEXTS[n % 2] if text is hostile_text else ''}")
                generations.append(
                    Generation(prompt, texts, strength, "toxic-leaning", likelihoods=likelihoods, perplexity_model="f")
                )
        atomic_write_lines(run / "generations.jsonl", [one.to_json() for one in generations])
    return folder
