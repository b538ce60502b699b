"""Ask people which texts are better: a blind questionnaire from runs, and its answers to a table with agreement.

python -m src.annotate runs=[RUN,RUN]
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from lmsteer.annotation.analysis import analyze
from lmsteer.annotation.annotation_result import AnnotationResult, write_annotation
from lmsteer.annotation.answer_files import read_answers
from lmsteer.annotation.answer_key import KEY, Study, read_study, write_study
from lmsteer.annotation.candidate_rows import chosen_pairs, read_candidates
from lmsteer.annotation.item_sampling import SamplingConfig, draw_study
from lmsteer.annotation.model_rater import rate
from lmsteer.annotation.qualification import qualification_items
from lmsteer.annotation.questionnaire import chosen_questions
from lmsteer.annotation.scorer_correlation import stored_scores
from lmsteer.annotation.tool_exports import exported_files
from lmsteer.cli.configuration import build, check_config
from lmsteer.cli.identity import run_identity
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.preparation import prepare
from lmsteer.cli.terminal import quoted_override, show
from lmsteer.errors import InputError
from lmsteer.records import Prompt, read_generations
from lmsteer.reporting.annotation_report import annotation_page, log_annotation
from lmsteer.reporting.annotation_tables import annotation_blocks, annotation_csv, annotation_figure
from lmsteer.reporting.comparison_formats import latex, markdown
from lmsteer.reporting.plots import write_png
from lmsteer.reporting.questionnaire_page import questionnaire_page
from lmsteer.storage.atomic_files import atomic_write_lines

if TYPE_CHECKING:
    from lmsteer.runs.run import Run

RESULT, EXPORTS, REPLIES = "annotation.json", "tools", "replies.jsonl"
SAMPLING = ("form", "n_prompts", "samples", "raters", "page_items", "repeats", "swapped", "seed")


def annotate(cfg: DictConfig) -> Study | AnnotationResult | Path:
    """Write a questionnaire of runs, the analysis of answers, or the answers of a model."""
    config = check_config(cfg, OF_COMMAND["annotate"])
    tasks = [name for name in ("runs", "answers", "ask_model") if config[name]]
    if len(tasks) != 1:
        raise InputError(
            f"annotate: {' and '.join(tasks) or 'nothing'} given; one of runs=[RUN,RUN] (write a questionnaire), "
            "answers=[FILE,…] (analyze) or ask_model=true (let a model answer) expected"
        )
    if tasks == ["runs"]:
        return write_questionnaire(config)
    return analyze_answers(config) if tasks == ["answers"] else ask_model(config)


def write_questionnaire(config: Mapping[str, Any]) -> Study:
    """Draw items from runs; write page, questionnaire, key and the files of other tools."""
    sampling = SamplingConfig(**{name: config[name] for name in SAMPLING})
    candidates = read_candidates(_paths(config["runs"]))
    pairs = chosen_pairs(candidates, sampling.form, config["rows"], config["pairs"])
    questions = chosen_questions(sampling.form, config["questions"], candidates.metric)
    names = [question.name for question in questions]
    qualification = qualification_items(config["qualification"], sampling.form, names)
    study = draw_study(candidates, pairs, questions, qualification, sampling)
    run = _run(config, study)
    run.begin()
    write_study(run.folder, study)
    count = len(study.questionnaire.pages)
    pages = [f"questionnaire_{number + 1}.html" for number in range(count)] if count > 1 else ["questionnaire.html"]
    for number, name in enumerate(pages):
        _write(run.path(name), questionnaire_page(study.questionnaire, number))
    for name, content in exported_files(study.questionnaire).items():
        _write(run.path(f"{EXPORTS}/{name}"), content)
    show("\n".join(f"{' against '.join(pair)}" for pair in pairs))
    show(
        f"{len(study.questionnaire.items)} items with checks, {len(questions)} questions, {sampling.raters} raters each"
    )
    show(f"questionnaire: {', '.join(str(run.path(name)) for name in pages)}")
    show(f"keep from raters: {run.path(KEY)}")
    show(f"then python -m src.annotate {quoted_override('study', str(run.folder))} 'answers=[FILE,…]'")
    return study


def analyze_answers(config: Mapping[str, Any]) -> AnnotationResult:
    """Read answers; write ``annotation.json``, tables, figure and page."""
    study = read_study(Path(config["study"])) if config["study"] else None
    answers, study = read_answers(_paths(config["answers"]), study)
    scores = stored_scores(study) | (_scores(config, study) if config["scorers"] else {})
    result = analyze(answers, study, scores, exclude=config["exclude"], seed=config["seed"])
    out, blocks, figure = Path(config["run_dir"]), annotation_blocks(result), annotation_figure(result)
    out.mkdir(parents=True, exist_ok=True)
    write_annotation(out / RESULT, result)
    table = markdown(blocks)
    page = annotation_page(blocks, figure, title=f"Judged by people: {result.raters} raters, {result.items} items")
    files = {
        "table.md": table,
        "table.tex": latex(blocks),
        "table.csv": annotation_csv(result),
        "annotation.html": page,
    }
    for name, content in files.items():
        _write(out / name, content)
    write_png(out / "annotation.png", figure)
    show(f"{table}\n\n{out / RESULT}")
    if config["wandb"] == "auto":
        log_annotation(
            blocks, out, project=config["project"], entity=config["entity"], identity=result.model_dump_json()
        )
    return result


def ask_model(config: Mapping[str, Any]) -> Path:
    """Let a language model answer a questionnaire; write its answers with its raw replies."""
    from lmsteer.generation.generator import Generator
    from lmsteer.generation.sampling import Greedy

    if not config["study"]:
        raise InputError("ask_model=true: study=FOLDER is needed, the folder of the questionnaire")
    study = read_study(Path(config["study"]))
    run = _run(config, study)
    prepare(dict(config), ("model",))
    model = build(config["model"], device=config["device"], dtype=config["dtype"])

    def reply(texts: Sequence[str]) -> list[str]:
        prompts = [Prompt(str(number), text, (("user", text),)) for number, text in enumerate(texts)]
        generator = Generator(model, prompts, decoding=Greedy(max_new_tokens=8, stop_at_end=True), batch_size=16)
        run.begin()  # once the model has accepted all questions
        path = run.path(REPLIES)
        generator.write(path, [({}, "")])
        return [generation.texts[0] for generation in read_generations(path)]

    content = rate(study.questionnaire, reply, name=model.name, fingerprint=model.fingerprint())
    path = run.path(f"answers_{re.sub(r'[^A-Za-z0-9_.-]+', '-', model.name)}.json")
    atomic_write_lines(path, [json.dumps(content, indent=1, ensure_ascii=False)])
    show(f"{len(content['answers'])} of {len(content['replies'])} replies are answers: {path}")
    return path


def _run(config: Mapping[str, Any], study: Study) -> Run:
    from lmsteer.runs.run import Run  # and torch with it, which an analysis does without

    identity = run_identity(dict(config) | {"questionnaire": study.questionnaire.digest})
    return Run(Path(config["run_dir"]), identity)


def _scores(config: Mapping[str, Any], study: Study) -> dict[str, dict[str, list[float]]]:
    """Score the texts of all items, alone or after their prompt as the first question says."""
    prepare(config, ("scorers",))
    items = study.questionnaire.items
    reads_prompt = study.questionnaire.questions[0].reads_prompt
    texts = [item.prompt * reads_prompt + text for item in items for text in item.texts]
    width, scores = len(items[0].texts), {}
    for node in config["scorers"].values():
        scorer = build(node)
        values = scorer(texts).tolist()
        scores[scorer.name] = {
            item.id: values[start : start + width]
            for item, start in zip(items, range(0, len(values), width), strict=True)
        }
    return scores


def _paths(value: str | Sequence[str]) -> list[Path]:
    return [Path(one) for one in ([value] if isinstance(value, str) else value)]


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_lines(path, content.rstrip("\n").split("\n"))
