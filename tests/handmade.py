"""Results with figures that are easy to follow through tables and pictures, and a reader of pages."""

from html.parser import HTMLParser

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
HOSTILE = "<script>alert(1)</script> {{ 7 * 7 }} {% raw %} \" onload='x' & <img src=http://outside>"
"""A text that would be code in HTML, in templates and in attributes."""


class Page(HTMLParser):
    """Tags with their attributes, and texts, as a browser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.text = "".join(self.texts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]
