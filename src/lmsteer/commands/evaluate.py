"""Score a file of generations of this package, DExperts or the reference implementation of LM-Steer.

python -m src.evaluate generations=RUN/generations.jsonl strengths=table
"""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lmsteer.cli.configuration import check_config
from lmsteer.cli.deferred import build_deferred
from lmsteer.cli.identity import run_identity
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.preparation import prepare
from lmsteer.cli.received import read_received_config
from lmsteer.cli.terminal import show
from lmsteer.errors import InputError
from lmsteer.evaluation.evaluator import GenerationMetadata
from lmsteer.evaluation.results import Result, read_result
from lmsteer.evaluation.run_files import check_files
from lmsteer.methods.learned_method import LearnedMethod
from lmsteer.methods.lm_steer import LMSteer
from lmsteer.methods.method_file import load_controller, method_name
from lmsteer.records import read_generations
from lmsteer.runs import stages
from lmsteer.runs.run import CONFIG, Run
from lmsteer.runs.sources import begin
from lmsteer.runs.work import Work, describe_work, scoring_work
from lmsteer.scoring.cache import score_cache

logger = logging.getLogger(__name__)


def evaluate(cfg: DictConfig) -> Result:
    """Write ``metrics.json`` and ``report.html`` in the run folder and print the table."""
    config = check_config(cfg, OF_COMMAND["evaluate"])
    run, path = Run(Path(config["run_dir"]), run_identity(config)), Path(config["generations"])
    scores = score_cache(config["cache"])
    n_texts = sum(len(generation.texts) for generation in read_generations(path))
    if not config.get("protocol"):
        raise InputError("protocol=none: nothing to measure; choose a protocol with scorers")
    if run.is_complete(stages.METRICS):  # nothing is loaded
        run.begin()
        result = read_result(run.path(stages.METRICS))
    else:
        reads_model = config["protocol"].get("perplexity_model") is None  # the protocol may have another
        files = prepare(config, ("protocol", "model") if reads_model else ("protocol",))
        protocol, perplexity_model = build_deferred(config, scores)
        metadata = metadata_of(path, config)  # a damaged file next to the texts is refused before the folder is taken
        begin(run, files, {})
        perplexity = Work("perplexity", n_texts, 0, perplexity_model.name)
        logger.info("%s", describe_work([*scoring_work(protocol, n_texts), perplexity]))
        result = stages.evaluate_stage(
            run, path, protocol, lambda: perplexity_model, metadata, scores=scores, received=True
        )
    stages.report_stage(run, path, result, None)
    show(stages.summary(run, result))
    return result


def metadata_of(path: Path, config: dict[str, Any]) -> GenerationMetadata:
    """Describe the origin of the generations by options, else by the steer and configuration next to the file.

    Raises:
        InputError: If a file next to them is damaged, or the steer is another one than the folder's result names.
    """
    stored = _read_config(path.with_name(CONFIG))
    model, protocol = (stored[key] if isinstance(stored.get(key), dict) else {} for key in ("model", "protocol"))
    seed, decoding = stored.get("seed"), stored.get("decoding")
    name = model.get("name") or model.get("id") or str(model.get("_target_", "unknown")).rpartition(".")[2]
    settings, method = {}, LMSteer.name
    files = (path.with_name(kind.file_name) for kind in (LMSteer, LearnedMethod))
    if file := next((file for file in files if file.is_file()), None):
        if (metrics := path.with_name(stages.METRICS)).is_file():
            check_files(path.parent, read_result(metrics), [file.name])
        controller, provenance = load_controller(file)
        name, settings, method = provenance.model, stages.settings_of(controller, provenance), method_name(controller)
        seed = provenance.seed
    if not protocol:  # texts of `generate`, whose seed is the noise seed
        protocol, seed = {"seed": seed, "batch_size": stored.get("batch_size")}, None
    return GenerationMetadata(
        model=config["writer"] or str(name),
        seed=seed if isinstance(seed, int) else None,
        plain=config["row"],
        method=method,
        settings=settings,
        decoding=decoding if isinstance(decoding, dict) else None,
        batch_size=protocol.get("batch_size"),
        noise_seed=protocol.get("seed"),
    )


def _read_config(path: Path) -> dict[str, Any]:
    """Read the configuration of a run; a missing file or one of another program counts as empty."""
    try:
        return read_received_config(path)
    except InputError:
        return {}
