"""The metadata of a card as the hub reads it: base model, library, data sets, and measured values."""

import re
from collections.abc import Mapping
from typing import Any

from lmsteer.evaluation.metric_names import Metric
from lmsteer.evaluation.results import Result, Value
from lmsteer.steering.provenance import Provenance

LIBRARIES = {"checkpoint": "transformers", "adapter": "peft", "gguf": "gguf"}
"""The hub's name of the library that loads a form; the others are loaded by this one."""
DATASETS = {
    "sst5": "SetFit/sst5",
    "sst5-binary": "SetFit/sst5",
    "sst2": "stanfordnlp/sst2",
    "jigsaw": "google/civil_comments",
}
"""Id on the hub by name of a corpus; a corpus of ``corpus=hub`` has its id as its name."""
ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
INDEX_NAME = "lm-steer"


def hub_metadata(
    base_model: str, form: str, license: str, provenance: Provenance, result: Result | None
) -> dict[str, Any]:
    """Return the entries of the front matter of a card; unknown ones are empty.

    ``model-index`` has a value for each prompt set, strength and metric, its 95 % interval in ``args``.

    Args:
        base_model: Id on the hub.
        form: Form of the export, such as ``adapter``.
        license: License as the hub spells it.

    Example:
        >>> hub_metadata("ORG/NAME", "adapter", "", Provenance(model="m", fingerprint="f"), None)["library_name"]
        'peft'
    """
    return {
        "base_model": base_model,
        "base_model_relation": "adapter" if base_model and form in ("adapter", "gguf") else "",
        "library_name": LIBRARIES.get(form, "lmsteer"),
        "pipeline_tag": "text-generation",
        "license": license,
        "datasets": _datasets(provenance),
        "model-index": [{"name": INDEX_NAME, "results": _results(result)}] if result else [],
    }


def _datasets(provenance: Provenance) -> list[str]:
    """Return the ids on the hub of the corpora that a steer, or the parts of a composed one, were fitted on."""
    parts = provenance.derivation.get("sources") or []
    corpora = [provenance.corpus, *(part.get("corpus") or {} for part in parts if isinstance(part, Mapping))]
    names = (str(corpus.get("name") or "") for corpus in corpora if isinstance(corpus, Mapping))
    return list(dict.fromkeys(DATASETS.get(name, name) for name in names if name in DATASETS or ID.fullmatch(name)))


def _results(result: Result) -> list[dict[str, Any]]:
    by_prompts: dict[str, list[dict[str, Any]]] = {}
    for row in result.rows:
        metrics = by_prompts.setdefault(row.prompts, [])
        metrics += [_metric(Metric(name), value, row.label) for name, value in row.metrics.items()]
    task = {"type": "text-generation"}
    return [
        {"task": task, "dataset": {"name": prompts, "type": prompts}, "metrics": metrics}
        for prompts, metrics in by_prompts.items()
    ]


def _metric(metric: Metric, measured: Value, label: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": metric.name, "value": measured.value, "name": f"{metric.words} at {label}"}
    if measured.low is not None:
        entry["args"] = {"95 % interval": [measured.low, measured.high], "prompts": measured.n}
    return entry
