"""The work that is announced before a run is the work that is done."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from tests.handmade_commands import run_command

SMALL = [
    "model=tiny",
    "steer.rank=4",
    "trainer.max_steps=6",
    "trainer.val_check_interval=3",
    "logger=none",
    "cache=off",
]


def announced(err: str) -> dict[str, tuple[int, int]]:
    """Texts and tokens by stage, those of several scorers added up."""
    lines = re.findall(r"^  ([\w ]+): ([\d,]+) texts(?:, ([\d,]+) tokens)?, by", err, re.MULTILINE)
    found: dict[str, tuple[int, int]] = {}
    for stage, texts, tokens in lines:
        before = found.get(stage, (0, 0))
        numbers = (int(texts.replace(",", "")), int((tokens or "0").replace(",", "")))
        found[stage] = (before[0] + numbers[0], before[1] + numbers[1])
    return found


def written(folder: Path) -> Counter[bool]:
    """Texts in the file of generations, of the plain model (False) and steered (True)."""
    lines = [json.loads(line) for line in (folder / "generations.jsonl").read_text(encoding="utf-8").splitlines()]
    return Counter(bool(line["strength"]) for line in lines for _ in line["generations"])


@pytest.mark.parametrize(
    "options",
    [
        ["protocol.prompts.neutral.n=7", "protocol.samples=3", "protocol.strengths=[-3,2,4]"],
        [
            "strengths=table",
            "steer=detox",
            "protocol.prompts.toxic-leaning.n=5",
            "protocol.kl=1e-9",
            "protocol.perplexity=null",
        ],
        [
            *("strengths=table", "protocol.kl=null", "protocol.perplexity=null", "protocol.samples=2"),
            *(f"protocol.prompts.{kind}.n=4" for kind in ("neutral", "negative", "positive")),
            *("scorer@protocol.scorers=[tfidf-snippets]", "solver=one_pass", "solver.permutations=0", "data.rows=60"),
        ],
    ],
)
def test_what_is_announced_is_done(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert run_command("train", *SMALL, *options, f"hydra.run.dir={folder}") == 0
    work, texts = announced(capsys.readouterr().err), written(folder)
    result = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    scorers = len(result["protocol"]["scorers"])
    assert work["plain texts"] == (texts[False], texts[False] * 20)
    assert work["steered texts"] == (texts[True], texts[True] * 20)
    assert work["scores"][0] == scorers * texts.total()
    assert work["perplexity"][0] == texts.total()
    fitted = 60 if "solver=one_pass" in options else 6 * 32
    assert work["fit"][0] == fitted
