"""Results made by hand, with figures that are easy to follow through tables and pictures."""

from lmsteer.evaluation.results import ResultRow, Value


def value(number: float, low: float | None, high: float | None, scorer: str | None = None) -> Value:
    return Value(value=number, low=low, high=high, n=120, scorer=scorer)


def row(strength: dict[str, float], metrics: dict[str, Value], **changes: object) -> ResultRow:
    fields = {
        "model": "smollm2",
        "method": "lm-steer" if strength else "plain",
        "seed": 0,
        "prompts": "snippets",
        "strength": strength,
        "metrics": metrics,
    }
    return ResultRow.model_validate(fields | changes)


PROTOCOL = {
    "name": "sentiment",
    "metric": "positivity",
    "prompts": "snippets",
    "n_prompts": 120,
    "samples": 5,
    "decoding": {"p": 0.9, "max_new_tokens": 20},
    "scorers": {"tfidf": "rows 1", "wordlist": "list 2"},
    "perplexity_model": "smollm2",
    "perplexity_model_is_unsteered": True,
}
