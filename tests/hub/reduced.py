"""The commands of the README and the documentation that name a model of the hub, and what makes them small."""

import re
import shlex
from pathlib import Path

from tests.hub.user import ROOT

FIT = ["logger=none", "trainer.max_steps=6", "trainer.val_check_interval=3", "data.rows=100"]
SAMPLES = ["protocol.samples=2", "protocol.calibration_prompts=3"]
DETOX = ["corpus.dev=40", "corpus.test=40", *FIT, *SAMPLES, "protocol.prompts.nontoxic.n=5"]
# The third scorer of the protocol is fitted with an encoder for a minute; it is not from the hub.
SCORERS = ["scorer@protocol.scorers=[distilbert-sst2,tfidf-snippets]"]
SENTIMENT = [
    *FIT,
    *SAMPLES,
    *SCORERS,
    *(f"protocol.prompts.{kind}.n=4" for kind in ("neutral", "positive", "negative")),
]
OF_FILE = [*FIT, *SAMPLES, "protocol.prompts.neutral.n=4"]
NEUTRAL = [*FIT, *SAMPLES, *SCORERS, "protocol.prompts.neutral.n=4"]
TWO_SEEDS = ["seed=0,1"]

EXPERIMENTS = {
    "train experiment=detox model=gpt2-large": [*DETOX, *TWO_SEEDS],
    "train experiment=detox model=gpt2-large size=paper": [*DETOX, *TWO_SEEDS],
    "train experiment=detox model=gpt2-large protocol.prompts.nontoxic.path=nontoxic_prompts-10k.jsonl "
    "protocol.prompts.nontoxic.n=null": [*DETOX[:-1], *TWO_SEEDS],
    "train experiment=sentiment model=gpt2-large": [*SENTIMENT, *TWO_SEEDS],
    "train experiment=sentiment model=gpt2-large size=paper": [*SENTIMENT, "seed=0"],
    "train experiment=data-efficiency model=gpt2-large size=paper data.rows=30,100,300,1000,3000,10000": [
        *(option for option in DETOX if not option.startswith("data.rows")),
        "data.rows=30,60",
        "seed=0",
    ],
    "train -m sweep=rank-epsilon model=gpt2-large steer=detox": [*DETOX, "steer.rank=1,full", "steer.epsilon=1e-3"],
    "train experiment=rank-epsilon model=gpt2-large": [*NEUTRAL, "steer.rank=1,full", "steer.epsilon=1e-3"],
    "train -m recipe=lm_steer-detox,prompt-detox,contrast-detox,dexperts-detox model=gpt2-large": DETOX,
    "train -m sweep=model-size": [*NEUTRAL, "size=quick", "model=gpt2,gpt2-medium"],
}
"""Sweeps: command by the options that make it small."""

COMMANDS = {
    "train model=gpt2-large steer=detox": DETOX,
    "train model=hf model.id=ORG/NAME-or-folder steer=sentiment corpus=sst5 corpus.path=FILE-or-folder": OF_FILE,
    "transfer steer_file=RUN/steer.safetensors model@to=hf to.id=ORG/NAME-or-folder": ["rows=40"],
    "transfer steer_file=RUN/steer.safetensors model@to=gpt2-large": ["rows=40"],
    "transfer steer_file=RUN/steer.safetensors model@to=hf to.id=ORG/NAME-or-folder texts=FILE.txt": ["rows=40"],
    "convert checkpoint=FILE.pt model=gpt2-large": [],
    "convert checkpoint=FILE.pt model=gpt2-medium names=[detox,dummy] epsilon=1e-3": [],
}
"""Single commands: the same."""

PROCESSES = {"train trainer=ddp model=gpt2-large steer=detox": [*DETOX, "trainer.devices=2"]}
"""Commands that start further processes: the same."""

FETCHES = ["fetch experiment=detox model=gpt2-large", "fetch model=gpt2-large steer=detox size=quick force=true"]
"""Commands that only download what the main command needs."""

NAMES_A_HUB_MODEL = re.compile(r"(^| )(model(@to)?=(hf|gpt|pythia|qwen|llama|gemma-3-270m( |$))|sweep=model-size)")


def documented() -> set[str]:
    """Return the commands of README, docs, studies and help that name a model of the hub, from their name on."""
    files = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "experiments").glob("*/README.md")]
    files += (ROOT / "conf").glob("*.yaml")
    return {command for file in files for command in _commands(file)}


def _commands(file: Path) -> list[str]:
    """Return the commands of a file; in help a comment follows after several spaces instead of a sign."""
    text = re.sub(r"\\\n\s*", "", file.read_text(encoding="utf-8"))
    lines = [line.split("`")[0] for line in re.findall(r"python -m src\.(.+)$", text, re.MULTILINE)]
    if file.suffix == ".yaml":
        lines = [re.split(r"  +", line)[0] for line in lines]
    return [" ".join(shlex.split(line, comments=True)) for line in lines if NAMES_A_HUB_MODEL.search(line)]
