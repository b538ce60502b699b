"""The model card: what a published folder is, how it was made, what it was measured to do, how to load and check it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lmsteer.evaluation.results import Result, strength_label
from lmsteer.export.checkpoint import NextToken
from lmsteer.reporting.result_table import legend, table
from lmsteer.reporting.summary_sentences import headline
from lmsteer.steering.steer import DUMMY, Steer
from lmsteer.steering.steer_file import Provenance

TAGS = ("lm-steer", "steering", "controlled-text-generation")
UNSTATED = {DUMMY: "the style of the corpus itself: it was always on while the steer was learned"}
CORPUS = ("name", "train_rows", "dev_rows", "digest")
UNTOLD = ("curve", "solver_result", "unused_options")
"""Entries of a steer's training that are too long for a card, or were not used."""


@dataclass(frozen=True)
class Base:
    """The language model that a steer belongs to.

    Attributes:
        hub_id: Its name on the hub, ``ORG/NAME``, if it has one that is known.
        revision: The commit on the hub that was loaded.
        license: As the hub spells it; empty where it is not known.
        note: What else is to be said of its weights.
        code: What loads the very weights, in Python, where the hub does not have them.
    """

    name: str
    hub_id: str = ""
    revision: str = ""
    license: str = ""
    note: str = ""
    code: str = ""

    @property
    def loading(self) -> str:
        """What loads the model, in Python."""
        revision = f", revision={quoted(self.revision)}" if self.revision else ""
        return self.code or f"lmsteer.load_model({quoted(self.hub_id or 'ORG/NAME')}{revision})"

    @property
    def options(self) -> str:
        """What chooses the model, for a command."""
        return f"model={self.name}" if self.code else f"model=hf model.id={self.hub_id or 'ORG/NAME'}"


@dataclass(frozen=True)
class Folded:
    """What a checkpoint has beyond the steer: its strength and precision, and how to check who loads it.

    Attributes:
        prompt: A text, with the token ids that the model reads it as.
        tokens: What is likeliest to come next.
    """

    strength: Mapping[str, float]
    dtype: str
    prompt: str
    ids: Sequence[int]
    tokens: Sequence[NextToken] = field(default_factory=tuple)


def card(
    base: Base,
    steer: Steer,
    provenance: Provenance,
    *,
    digest: str,
    folded: Folded | None = None,
    result: Result | None = None,
    license: str = "",
) -> str:
    """The card as Markdown with the hub's YAML in front.

    Args:
        digest: sha256 of the steer file.
        folded: Of a checkpoint; None: the folder holds the steer alone.
        result: What was measured with this steer, if anything was.
        license: Of what is published, as the hub spells it; empty: a checkpoint has its base model's.
    """
    strength = strength_label(folded.strength) if folded else ""
    return _rendered(
        "model_card.md",
        front_matter=Markup(_front_matter(base, folded, license)),
        base=base,
        loading=Markup(base.loading),
        command=Markup(" ".join(base.options.replace("`", "").split())),
        steer=steer,
        meaning={name: provenance.meaning.get(name) or UNSTATED.get(name, "not stated") for name in steer.dimensions},
        facts=_facts(steer, provenance, digest),
        folded=folded,
        strength=strength,
        rows=table(result) if result else [],
        legend=legend(result) if result else "",
        sentences=headline(result) if result else [],
        measured=folded is not None and result is not None and _has_row(result, folded.strength),
        toxicity=result is not None and any(metric.is_toxicity for metric in result.metrics),
    )


def escaped(text: object) -> Markup:
    """A value on one line, none of whose signs means anything to Markdown or HTML."""
    return Markup(re.sub(r"([\\`*<>|~$\[\]])", r"\\\1", " ".join(str(text).split())))


def quoted(text: object) -> Markup:
    """A text as JSON has it, on one line: for a place where it stands as code."""
    return Markup(json.dumps(text, ensure_ascii=False).replace("`", "\\u0060").replace("|", "\\u007c"))


def _rendered(template: str, **content: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        finalize=lambda value: value if isinstance(value, Markup | StrictUndefined) else escaped(value),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"escaped": escaped, "quoted": quoted}
    page = environment.get_template(template).render(**content)
    return page.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate could not be written


def _front_matter(base: Base, folded: Folded | None, license: str) -> str:
    entries: dict[str, Any] = {
        "base_model": base.hub_id,
        "library_name": "transformers" if folded else "lmsteer",
        "pipeline_tag": "text-generation",
        "license": license or (base.license if folded else ""),
        "tags": list(TAGS),
    }
    known = {name: value for name, value in entries.items() if value}
    return str(yaml.safe_dump(known, sort_keys=False, allow_unicode=True)).rstrip("\n")


def _facts(steer: Steer, provenance: Provenance, digest: str) -> dict[str, str]:
    """How the steer was made, by name; what is not known is left out."""
    training = {name: value for name, value in provenance.training.items() if name not in UNTOLD}
    found = {
        "corpus": {name: provenance.corpus[name] for name in CORPUS if name in provenance.corpus},
        "rank, ε": f"{steer.rank}, {steer.epsilon:g}",
        "training": training | _losses(provenance),
        "seed": provenance.seed,
        "derived": provenance.derivation,
        "calibrated strengths": [
            f"{entry['dimension']} {entry['strength']:+.4g} for {entry['budget']} ({entry['protocol']})"
            for entry in provenance.calibration
            if entry["strength"] is not None
        ],
        "versions": provenance.versions,
        "model it was learned on": f"{provenance.model}, head with sha256 {provenance.fingerprint}",
        "sha256 of the steer file": digest,
    }
    return {name: _words(value) for name, value in found.items() if value not in ({}, [], "")}


def _losses(provenance: Provenance) -> dict[str, str]:
    """First and last loss on texts that the steer was not learned from."""
    points = (provenance.training.get("curve") or {}).get("dev") or []
    return {"dev loss in nats per token": f"{points[0][1]:.3f} → {points[-1][1]:.3f}"} if points else {}


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{str(name).replace('_', ' ')} {_words(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return "none" if value is None else str(value)


def _has_row(result: Result, strength: Mapping[str, float]) -> bool:
    """Whether the very strength was measured."""
    wanted = {name: value for name, value in strength.items() if value}
    return any({name: value for name, value in row.strength.items() if value} == wanted for row in result.rows)
