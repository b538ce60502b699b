"""The work of a run in texts and tokens, stage by stage, before it begins.

It gives no times: those depend on the machine, and a part of them would mislead.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lmsteer.data.datamodule import SteerDataModule
from lmsteer.data.feature_store import GIB, FeatureStore
from lmsteer.evaluation.plan import Plan
from lmsteer.evaluation.protocol import Protocol
from lmsteer.generation.generator import Generator
from lmsteer.reporting.text import file_size
from lmsteer.steering.strength_search import MAX_TRIES

SAMPLE = 256
"""Texts whose tokens are counted to estimate those of all."""


@dataclass(frozen=True)
class Work:
    """The work of one stage.

    Attributes:
        texts: Texts that are read or written.
        tokens: Their tokens, at most or about; 0: not counted.
        by: The model or scorer that reads or writes them.
    """

    stage: str
    texts: int
    tokens: int
    by: str
    note: str = ""

    def __str__(self) -> str:
        tokens = f", {self.tokens:,} tokens" if self.tokens else ""
        return f"{self.stage}: {self.texts:,} texts{tokens}, by {self.by}{f' ({self.note})' if self.note else ''}"


def fit_work(datamodule: SteerDataModule, steps: int | None, validate_every: int) -> Work:
    """Return the work of a fit.

    Args:
        steps: Batches of a gradient descent; None: every train row is read once.
        validate_every: Steps between two validations.
    """
    model, corpus = datamodule.extract.model, datamodule.corpus
    lengths = [
        len(ids) for ids in model.tokenize(datamodule.texts(corpus.train[:SAMPLE]), max_length=datamodule.max_length)
    ]
    texts = len(corpus.train) if steps is None else steps * datamodule.batch_size
    form = "one pass" if steps is None else f"{steps:,} steps"
    dev = f"{len(datamodule.dev)} dev texts at each of {(steps or 0) // validate_every:,} validations"
    note = f"about; {form}" + (f", {dev}" if steps else "")
    return Work("fit", texts, round(texts * sum(lengths) / len(lengths)), model.name, note)


def store_limit(datamodule: SteerDataModule) -> str:
    """Say how much disk hidden states take at most; empty if they are not stored."""
    if not isinstance(datamodule.extract, FeatureStore):
        return ""
    head = datamodule.extract.model.head.weight
    rows = len(datamodule.corpus.train) + len(datamodule.dev)
    largest = min(datamodule.store.gib * GIB, rows * datamodule.max_length * head.shape[1] * head.element_size())
    return f"disk: at most {file_size(largest)} of hidden states in {datamodule.extract.folder}"


def plan_work(plan: Plan, perplexity_model: str) -> Iterator[Work]:
    """Yield the work of the stages after a fit: plain texts, calibration, generation, scores, perplexity.

    Args:
        perplexity_model: Name of the perplexity model, which is not loaded yet; empty: the unsteered model.
    """
    model, new_tokens = plan.model.name, plan.decoding.max_new_tokens
    plain = sum(map(n_texts, plan.generators.values()))
    yield Work("plain texts", plain, plain * new_tokens, model, "at most; those in the cache are not written again")
    yield from calibration_work(plan, perplexity_model)
    steered = sum(n_texts(generator) * n_settings(plan, key) for key, generator in plan.measured_generators.items())
    yield Work("steered texts", steered, steered * new_tokens, model, "at most")
    yield from scoring_work(plan.protocol, plain + steered)
    read = [n_read(generator, new_tokens) * (1 + n_settings(plan, key)) for key, generator in plan.generators.items()]
    if perplexity_model:
        yield Work("perplexity", plain + steered, sum(read), perplexity_model, "at most")
    else:
        yield Work("perplexity", plain + steered, 0, model, "known from writing them, but for a few")


def scoring_work(protocol: Protocol, texts: int) -> Iterator[Work]:
    """Yield the work of each scorer on a number of texts."""
    for scorer in protocol.scorers.values():
        fitted = f"fitted before on {len(scorer.reserved):,} texts, once" if scorer.reserved else ""
        yield Work("scores", texts, 0, scorer.name, fitted)


def calibration_work(plan: Plan, perplexity_model: str) -> Iterator[Work]:
    """Yield the work of the search for strengths, by kind of budget."""
    model, new_tokens = plan.model.name, plan.decoding.max_new_tokens
    directions = [list(plan.calibration_generators_for(sign)) for sign in plan.protocol.directions()]
    generators = [generator for group in directions for generator in group]
    texts, read = sum(map(n_texts, generators)), sum(n_read(generator, new_tokens) for generator in generators)
    kinds = [budget.kind for budget in plan.protocol.budgets()]
    if n := kinds.count("kl"):
        yield Work("calibration to KL", texts * n, read * n, model, "at most")
    if n := kinds.count("perplexity"):
        tried = n * MAX_TRIES
        by = f"{model} and {perplexity_model}" if perplexity_model else model
        note = f"at most; {MAX_TRIES} strengths for each of {n * len(directions)} rows, about 4 as a rule"
        yield Work("calibration to perplexity", texts * tried, read * tried, by, note)


def n_texts(generator: Generator) -> int:
    """Return the number of texts of one strength."""
    return len(generator.prompts) * generator.samples


def n_read(generator: Generator, new_tokens: int) -> int:
    """Return the most tokens of all texts of one strength, with their prompts."""
    return generator.prompt_tokens * generator.samples + n_texts(generator) * new_tokens


def n_settings(plan: Plan, key: str) -> int:
    """Return the number of strengths of a prompt set: the given ones, and one for each budget in each direction."""
    directions = sum(plan.protocol.is_steered(key, sign) for sign in plan.protocol.directions())
    return len(plan.settings(key, ())) + len(plan.protocol.budgets()) * directions


def describe_work(works: Sequence[Work], disk: str = "") -> str:
    """Return a line for each stage, and one for the disk."""
    return "\n  ".join(["work of this run:", *map(str, works), *([disk] if disk else [])])
