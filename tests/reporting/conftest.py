import pytest
from handmade import PROTOCOL, row, value

from lmsteer.evaluation.results import Result, ResultRow


@pytest.fixture
def plain() -> ResultRow:
    return row({}, {"positivity": value(0.47, 0.43, 0.51, "tfidf"), "perplexity": value(16.4, 15.8, 17.0, "smollm2")})


@pytest.fixture
def result(plain: ResultRow) -> Result:
    """Steering up has an effect; steering down is within the intervals of the plain model."""
    up = {"positivity": value(0.74, 0.70, 0.78, "tfidf"), "perplexity": value(32.8, 31.0, 36.0, "smollm2")}
    down = {"positivity": value(0.44, 0.40, 0.48, "tfidf"), "perplexity": value(123.4, 101.0, 150.0, "smollm2")}
    return Result(protocol=PROTOCOL, rows=[row({"sentiment": 5.0}, up), plain, row({"sentiment": -5.0}, down)])
