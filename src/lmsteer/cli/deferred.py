"""Models and scorers of an evaluation that are loaded only if a value is missing in the cache of scores.

The values of a model are stored under its fingerprint, those of a scorer under its revision. Both need the weights, so
they are stored too, under the configuration and the files that the weights came from.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from torch import Tensor

from lmsteer.cli.identity import digest_of
from lmsteer.cli.shared_objects import SHARED, model_node
from lmsteer.embedded.archives import smollm2_folder
from lmsteer.embedded.gemma import gemma_folder
from lmsteer.evaluation.protocol import Protocol
from lmsteer.models.device import resolve_device, resolve_dtype
from lmsteer.scoring.cache import ScoreCache
from lmsteer.scoring.perplexity import PerplexityModel
from lmsteer.scoring.scorer import Scorer
from lmsteer.storage.atomic_files import atomic_write_lines

FOLDERS: dict[str, Callable[[], Path]] = {
    "lmsteer.models.load.smollm2": smollm2_folder,
    "lmsteer.models.load.gemma_3_270m": gemma_folder,
}
"""Folders of the embedded models."""
OF_THE_HUB = ("lmsteer.models.load.load_model", "lmsteer.scoring.hub_classifier.HubClassifierScorer")
"""Targets whose ``id`` is a folder or a hub id."""
DETOXIFY = "lmsteer.scoring.detoxify_scorer.DetoxifyScorer"
LIBRARIES = ("lmsteer", "torch", "transformers")
"""Libraries whose versions may change a fingerprint."""


@dataclass(frozen=True)
class DeferredModel:
    """A perplexity model that is loaded for the first likelihood that is not stored."""

    name: str
    stored_fingerprint: str
    load: Callable[[], PerplexityModel]

    def fingerprint(self) -> str:
        """Return the fingerprint, as it was when the model was last loaded."""
        return self.stored_fingerprint

    def loaded(self) -> Any:
        """Load the model."""
        return self.load().loaded()


@dataclass
class DeferredScorer:
    """A pretrained scorer that is loaded for the first text whose score is not stored."""

    name: str
    revision: str
    kind: str
    load: Callable[[], Scorer]
    reserved: frozenset[str] = frozenset()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return scores (N,) in [0, 1]."""
        return self.load()(texts) if texts else torch.empty(0)


def build_deferred(config: Mapping[str, Any], scores: ScoreCache | None) -> tuple[Protocol, PerplexityModel]:
    """Build the protocol of a command and its perplexity model, which are loaded when a value of theirs is missing.

    Raises:
        InputError: As the objects refuse their options.
    """
    node: dict[str, Any] = config["protocol"]
    SHARED.retain([node, model_node(config)])
    protocol: Protocol = SHARED.build({**node, "scorers": {}})
    scorers = {key: _scorer(scorer, scores) for key, scorer in node["scorers"].items()}
    model = node.get("perplexity_model") or model_node(config)
    return replace(protocol, scorers=scorers), _perplexity_model(model, scores)


def _perplexity_model(node: Mapping[str, Any], scores: ScoreCache | None) -> PerplexityModel:
    node = {name: value for name, value in node.items() if name != "_partial_"}
    path = _facts_file(node, scores)
    if facts := _read(path):
        return DeferredModel(*facts, load=lambda: SHARED.build(node))
    model: PerplexityModel = SHARED.build(node)
    _write(path, model.name, model.fingerprint())
    return model


def _scorer(node: dict[str, Any], scores: ScoreCache | None) -> Scorer:
    path = _facts_file(node, scores)
    if facts := _read(path):
        return DeferredScorer(*facts, kind=node["_target_"], load=lambda: SHARED.build(node))
    scorer: Scorer = SHARED.build(node)
    _write(path, scorer.name, scorer.revision)
    return scorer


def _facts_file(node: Mapping[str, Any], scores: ScoreCache | None) -> Path | None:
    """Return where name and version of an object are stored; None if the files of its weights are not known."""
    digest = _weights_digest(node)
    if scores is None or not digest:
        return None
    precision = str(resolve_dtype(node["dtype"], resolve_device(node["device"]))) if "dtype" in node else ""
    identity = json.dumps([dict(node), digest, precision, [version(name) for name in LIBRARIES]], sort_keys=True)
    return scores.folder / "versions" / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"


def _weights_digest(node: Mapping[str, Any]) -> str:
    """Return a digest of the files of the weights of an object; empty if they are not known or not there yet."""
    target = node["_target_"]
    if target in FOLDERS:
        return digest_of(FOLDERS[target]())
    if target == DETOXIFY:
        weights = Path(node.get("checkpoint") or _released_weights(node))
        return digest_of(weights) if weights.is_file() else ""
    if target not in OF_THE_HUB or node.get("device_map") is not None:
        return ""
    if (folder := Path(node["id"]).expanduser()).is_dir():
        return digest_of(folder)
    config = try_to_load_from_cache(node["id"], "config.json", revision=node.get("revision"))
    if not isinstance(config, str):
        return ""
    snapshot = Path(config).parent
    # A file of the hub's cache is named by the digest of its content.
    files = [[str(file.relative_to(snapshot)), file.resolve().name] for file in sorted(snapshot.rglob("*"))]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def _released_weights(node: Mapping[str, Any]) -> Path:
    from lmsteer.scoring.detoxify_scorer import released_weights  # which needs an extra

    return released_weights(node.get("variant", "original"))


def _read(path: Path | None) -> tuple[str, str] | None:
    try:
        facts = json.loads(path.read_text(encoding="utf-8")) if path else {}
        return str(facts["name"]), str(facts["version"])
    except (OSError, ValueError, TypeError, KeyError):  # not stored, or damaged: it is stored again
        return None


def _write(path: Path | None, name: str, version: str) -> None:
    if path is not None:
        path.parent.mkdir(exist_ok=True)
        atomic_write_lines(path, [json.dumps({"name": name, "version": version})])
