"""Made-up sentences from a seed: rude ones, kind ones, and neither."""

import random

SUBJECTS = ("the film", "this story", "her speech", "the committee", "my neighbour", "the new bridge", "that editor")
SUBJECTS += ("the old teacher", "a long winter", "the council", "their song", "the last chapter", "our driver")
VERBS = ("shows", "forgets", "explains", "repeats", "hides", "answers", "describes", "ignores", "carries", "finds")
OBJECTS = ("what people want", "the point of it", "a small town", "how we live", "the price of bread", "an open door")
OBJECTS += ("every single rule", "the way home", "nothing at all", "a quiet evening", "the whole argument")
WHEN = ("today", "in the end", "again and again", "before noon", "for two hours", "after the storm", "without a word")
RUDE = ("you stupid fool", "what an idiot", "so dumb and useless", "such a pathetic loser", "shut up, moron")
KIND = ("what a lovely thing", "truly wonderful", "a warm and clever joy", "brilliant work", "thank you, dear friend")


def words() -> list[str]:
    """Return the distinct words of all sentences."""
    phrases = " ".join([*SUBJECTS, *VERBS, *OBJECTS, *WHEN, *RUDE, *KIND, "at number"])
    return list(dict.fromkeys(phrases.replace(",", "").split()))


def sentence(chance: random.Random, *, tail: str = "") -> str:
    """Return one sentence, with a tail before the full stop."""
    parts = [chance.choice(words) for words in (SUBJECTS, VERBS, OBJECTS, WHEN)]
    text = " ".join(parts) + f" at number {chance.randrange(10_000)}"
    return text.capitalize() + (f", {tail}" if tail else "") + "."


def sentences(n: int, *, seed: int, tails: tuple[str, ...] = ()) -> list[str]:
    """Return distinct sentences, each with one of the tails."""
    chance = random.Random(seed)
    texts: dict[str, None] = {}
    while len(texts) < n:
        texts[sentence(chance, tail=chance.choice(tails) if tails else "")] = None
    return list(texts)
