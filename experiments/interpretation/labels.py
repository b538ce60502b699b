"""Stored toxicity scores as labels for data=file: python -m experiments.interpretation.labels RTP.jsonl OUT.jsonl."""

import json
import sys
from pathlib import Path

from lmsteer.errors import InputError
from lmsteer.scoring.replay import read_scores
from lmsteer.storage.atomic_files import atomic_write_lines


def main(source: Path, out: Path) -> None:
    """Each text that has a score, with a label from 1, not toxic, to -1, toxic for sure."""
    scores = read_scores(source, "toxicity")
    lines = (json.dumps({"text": text, "label": 1 - 2 * score}, ensure_ascii=False) for text, score in scores.items())
    atomic_write_lines(out, lines)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m experiments.interpretation.labels RTP.jsonl OUT.jsonl")
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except (InputError, OSError) as error:
        sys.exit(f"Error: {error}")
