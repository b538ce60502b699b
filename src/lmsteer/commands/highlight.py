"""Highlight the tokens of texts that carry a steer's attribute, and estimate the strength of each text.

python -m src.highlight steer_file=RUN/steer.safetensors file=reviews.txt
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lmsteer.analysis.highlighter import (
    Highlight,
    HighlightConfig,
    Highlighter,
    agreement,
    fit_threshold,
    read_highlights,
)
from lmsteer.cli.configuration import build, check_config
from lmsteer.cli.identity import run_identity
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.terminal import escape_lines
from lmsteer.data.readers.text_file import Text, read_texts, refuse_shared
from lmsteer.reporting.highlight_report import agreement_sentence, color_scale, highlight_page
from lmsteer.reporting.terminal_highlight import has_colors, highlight_line
from lmsteer.runs.run import Run
from lmsteer.steering.steer_file import load_steer
from lmsteer.storage.atomic_files import atomic_write_lines

SETTINGS = ("dimension", "strength", "against", "spans", "span_tokens", "grid", "decision")
LINES, SUMMARY, PAGE = "highlight.jsonl", "summary.json", "highlight.html"
PRINTED = 20
"""Maximum number of texts shown on the terminal."""


def highlight(cfg: DictConfig) -> list[Highlight]:
    """Write ``highlight.jsonl``, ``summary.json`` and ``highlight.html`` in the run folder and print some texts."""
    config = check_config(cfg, OF_COMMAND["highlight"])
    settings = HighlightConfig(fixed=config["fixed"] or {}, **{name: config[name] for name in SETTINGS})
    texts, dev = read_texts(config["file"]), read_texts(config["dev"]) if config["dev"] else []
    refuse_shared(texts, dev)
    run = Run(Path(config["run_dir"]), run_identity(config | {"sha256": digest(texts, dev)}))
    model = build(config["model"], device=config["device"], dtype=config["dtype"])
    steer, provenance = load_steer(Path(config["steer_file"]), model)
    highlighter = Highlighter(model, steer, settings)
    if not run.is_complete(LINES):
        threshold = fit_threshold(highlighter(dev)) if dev else config["threshold"]
        computed = highlighter(texts, threshold=threshold)
        summary = {**highlighter.summary(threshold), "agreement": agreement(computed, seed=config["seed"])}
        run.begin()
        atomic_write_lines(run.path(SUMMARY), [json.dumps(summary, indent=1, ensure_ascii=False)])
        atomic_write_lines(run.path(LINES), (one.model_dump_json() for one in computed))
    highlights, summary = read_highlights(run.path(LINES)), json.loads(run.path(SUMMARY).read_text(encoding="utf-8"))
    facts = {"steer": config["steer_file"], "model": provenance.model, "texts": config["file"]}
    atomic_write_lines(run.path(PAGE), [highlight_page(highlights, summary, facts=facts, max_texts=config["shown"])])
    show(highlights, summary)
    print(escape_lines("\n".join(["", *(str(run.path(name)) for name in (LINES, PAGE))])))
    return highlights


def show(highlights: Sequence[Highlight], summary: dict[str, Any]) -> None:
    """Print the first texts, each with its score, and the agreement of the decisions with the labels."""
    scale, colored = color_scale(highlights), has_colors(sys.stdout)
    for one in highlights[:PRINTED]:
        print(f"{one.score:+8.2f}  {highlight_line(one, scale=scale, colored=colored)}")
    if len(highlights) > PRINTED:
        print(f"          … and {len(highlights) - PRINTED} more")
    if summary["agreement"]:
        print(f"\n{agreement_sentence(summary)}")


def digest(*groups: Sequence[Text]) -> str:
    """Return a digest of the texts and labels, as a file may change under the same name."""
    content = json.dumps([[(text.text, text.label, *filter(None, [text.turns])) for text in group] for group in groups])
    return hashlib.sha256(content.encode()).hexdigest()
