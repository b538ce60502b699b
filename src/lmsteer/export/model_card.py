"""The model card of a published steer or checkpoint: origin, measured effects, and how to load and verify it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lmsteer.evaluation.results import Result, strength_label
from lmsteer.export.checkpoint import NextToken
from lmsteer.export.hub_metadata import hub_metadata
from lmsteer.export.verification import RUN_TIME_STRENGTH, Parts
from lmsteer.reporting.effects import summary_sentences
from lmsteer.reporting.result_table import result_table, table_legend
from lmsteer.reporting.text import escape_markdown, markdown_table
from lmsteer.steering.dimensions import DUMMY
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer import Steer

TAGS = ("lm-steer", "steering", "controlled-text-generation")
DEFAULT_MEANINGS = {DUMMY: "the style of the corpus itself: it was always on while the steer was fitted"}
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM takes for ``--max-lora-rank``."""
CORPUS = ("name", "train_rows", "dev_rows", "digest")


@dataclass(frozen=True)
class Base:
    """The language model that a steer belongs to.

    Attributes:
        hub_id: Name on the hub, ``ORG/NAME``; empty if unknown.
        revision: Commit on the hub that was loaded.
        license: License as the hub spells it; empty if unknown.
        note: Further facts on the weights.
        code: Python code that loads the weights, where the hub does not have them.
    """

    name: str
    hub_id: str = ""
    revision: str = ""
    license: str = ""
    note: str = ""
    code: str = ""

    @property
    def loading(self) -> str:
        """Python code that loads the model."""
        revision = f", revision={quoted(self.revision)}" if self.revision else ""
        return self.code or f"lmsteer.load_model({quoted(self.hub_id or 'ORG/NAME')}{revision})"

    @property
    def options(self) -> str:
        """Options of a command that choose the model."""
        return f"model={self.name}" if self.code else f"model=hf model.id={self.hub_id or 'ORG/NAME'}"


@dataclass(frozen=True)
class Folded:
    """Facts of a folded checkpoint: strength, precision, and the next tokens that verify it.

    Attributes:
        prompt: A text, whose token ids are ``ids``.
        tokens: The likeliest next tokens.
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
    parts: Parts | None = None,
    result: Result | None = None,
    license: str = "",
    custom_generate: bool = False,
) -> str:
    """Write the card as Markdown after the YAML of the hub.

    Args:
        digest: sha256 of the steer file.
        folded: Facts of a checkpoint; None: the folder holds only the steer.
        parts: Facts of adapters or a processor; None: the folder holds the steer file.
        result: Measured effects of this steer, if any.
        license: License of the folder, as the hub spells it; empty: that of the base model for a checkpoint.
        custom_generate: Whether the folder has code by which transformers alone uses the steer.
    """
    exported = folded or parts
    form = parts.form if parts else "checkpoint" if folded else "factors"
    strength = strength_label(exported.strength) if exported else ""
    rows = result_table(result) if result else []
    return _render(
        "model_card.md",
        form=form,
        front_matter=Markup(_front_matter(base, form, license, provenance, result)),
        base=base,
        base_id=base.hub_id or "ORG/NAME",
        loading=Markup(base.loading),
        command=Markup(" ".join(base.options.replace("`", "").split())),
        steer=steer,
        meaning={
            name: provenance.meaning.get(name) or DEFAULT_MEANINGS.get(name, "not stated") for name in steer.dimensions
        },
        facts=_facts(steer, provenance, digest),
        folded=folded,
        parts=parts,
        strength=strength,
        custom_generate=custom_generate,
        **(_usage(parts) if parts else {}),
        table=Markup(markdown_table(rows[0], rows[1:])) if rows else "",
        legend=table_legend(result) if result else "",
        sentences=summary_sentences(result) if result else [],
        measured=exported is not None and result is not None and _has_row(result, exported.strength),
        may_offend=result is not None and any(metric.may_offend for metric in result.metrics),
    )


def escaped(text: object) -> Markup:
    """Escape a value for Markdown and HTML, on one line."""
    return Markup(escape_markdown(str(text)))


def quoted(text: object) -> Markup:
    """Write a text as a JSON string on one line, for use inside code."""
    return Markup(json.dumps(text, ensure_ascii=False).replace("`", "\\u0060").replace("|", "\\u007c"))


def shell_quoted(text: object) -> Markup:
    """Write a text as ``quoted`` does, without signs by which a shell would take it for more than a text."""
    return Markup(quoted(text).replace("'", "\\u0027").replace("$", "\\u0024"))


def _render(template: str, **content: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        finalize=lambda value: value if isinstance(value, Markup | StrictUndefined) else escaped(value),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"escaped": escaped, "quoted": quoted, "shell": shell_quoted}
    page = environment.get_template(template).render(**content)
    return page.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate could not be written


def _front_matter(base: Base, form: str, license: str, provenance: Provenance, result: Result | None) -> str:
    license = license or (base.license if form == "checkpoint" else "")
    entries = hub_metadata(base.hub_id, form, license, provenance, result) | {"tags": list(TAGS)}
    present = {name: value for name, value in entries.items() if value}
    return str(yaml.safe_dump(present, sort_keys=False, allow_unicode=True)).rstrip("\n")


def _usage(parts: Parts) -> dict[str, Any]:
    """Return what the examples of engines need."""
    first, fixed = parts.files[0], bool(parts.strength)
    return {
        "scale": "1" if fixed else f"{RUN_TIME_STRENGTH:g}",
        "scale_words": f"strength {first.shown:+g}" if fixed else "strength 1",
        "example": f"{first.shown:g}",
        "vllm_rank": next((rank for rank in VLLM_RANKS if rank >= first.rank), first.rank),
    }


def _facts(steer: Steer, provenance: Provenance, digest: str) -> dict[str, str]:
    """List how the steer was made, by name; unknown facts are left out."""
    facts = {
        "corpus": {name: provenance.corpus[name] for name in CORPUS if name in provenance.corpus},
        "rank, ε": f"{steer.rank}, {steer.epsilon:g}",
        "schedule of the strength": steer.settings().get("schedule", ""),
        "training": provenance.settings() | _losses(provenance),
        "seed": provenance.seed,
        "derived": provenance.derivation,
        "calibrated strengths": [
            f"{entry['dimension']} {entry['strength']:+.4g} for {entry['budget']} ({entry['protocol']})"
            for entry in provenance.calibration
            if entry["strength"] is not None
        ],
        "versions": provenance.versions,
        "model it was fitted on": provenance.model_label(f"head with sha256 {provenance.fingerprint}"),
        "sha256 of the steer file": digest,
    }
    return {name: _words(value) for name, value in facts.items() if value not in ({}, [], "")}


def _losses(provenance: Provenance) -> dict[str, str]:
    """Report the first and last loss on dev texts."""
    points = (provenance.training.get("curve") or {}).get("dev") or []
    return {"dev loss in nats per token": f"{points[0][1]:.3f} → {points[-1][1]:.3f}"} if points else {}


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{str(name).replace('_', ' ')} {_words(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return "none" if value is None else str(value)


def _has_row(result: Result, strength: Mapping[str, float]) -> bool:
    """Whether a row was measured at exactly this strength."""
    nonzero = {name: value for name, value in strength.items() if value}
    return any({name: value for name, value in row.strength.items() if value} == nonzero for row in result.rows)
