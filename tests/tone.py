"""A corpus of two tones for runs on a tiny model."""

from pathlib import Path


def write_tone(folder: Path, *, rows: int, words: int = 7) -> Path:
    """Write tone.tsv: so many rows of either label, each of some words and a phrase that goes with its label."""
    known = [f"{kind}{number}" for kind in ("film", "story", "night", "storm") for number in range(4)]
    lines = [
        f"{' '.join(known[(n * k) % 16] for k in range(1, words + 1))} number {n} is {tone}\t{label}"
        for n in range(rows)
        for tone, label in (("warm and funny", 0.8), ("dull and slow", -0.8))
    ]
    path = folder / "tone.tsv"
    path.write_text("text\tlabel\n" + "\n".join(lines) + "\n")
    return path
