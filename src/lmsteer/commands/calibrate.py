"""Find the strengths of a steer that reach a budget, and note them in its file.

python -m src.calibrate steer_file=RUN/steer.safetensors protocol.perplexity=2
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lmsteer.cli.configuration import Words, build, entry_point, record, resolved
from lmsteer.errors import InputError
from lmsteer.evaluation.calibration import calibrations, with_calibrations
from lmsteer.evaluation.plan import Plan
from lmsteer.evaluation.protocol import Protocol
from lmsteer.generation.plain_texts import PlainTexts
from lmsteer.runs import stages
from lmsteer.runs.run import Run
from lmsteer.scoring.cache import score_cache
from lmsteer.steering.steer_file import load_steer, save_steer

KEYS = {
    *("stack", "run_dir", "device", "dtype", "model", "steer", "data", "protocol", "decoding"),
    *("steer_file", "scores"),
}
KINDS: dict[str, Any] = {"steer_file": Words}


def calibrate(cfg: DictConfig) -> list[dict[str, Any]]:
    """Write the steer file anew and print the strengths."""
    config = resolved(cfg, KEYS, KINDS)
    run, path = Run(Path(config["run_dir"]), record(config, rewritten=True)), Path(config["steer_file"])
    scores = score_cache(config["scores"])
    if not config.get("protocol"):
        raise InputError("protocol=none: nothing to calibrate on; choose a protocol with prompts")
    protocol: Protocol = build(config["protocol"])
    if not protocol.budgets():
        raise InputError("protocol.kl and protocol.perplexity are null; a budget is needed, such as protocol.kl=0.3")
    model = build(config["model"], device=config["device"], dtype=config["dtype"])
    steer, provenance = load_steer(path, model)
    if config["steer"]["name"] != steer.dimensions[0]:
        raise InputError(
            f"{path}: a steer of {steer.dimensions[0]}, but the protocol is for {config['steer']['name']}; "
            f"set steer.name={steer.dimensions[0]} and a protocol for it"
        )
    plan = Plan(model, steer.dimensions, protocol, build(config["decoding"]))
    run.begin()
    plain = stages.plain_stage(
        run, plan.calibration_generators, PlainTexts(scores.folder / "plain" if scores else None)
    )
    found = calibrations(plan, stages.texts_of(plain), steer)
    save_steer(path, steer, with_calibrations(provenance, found))
    for entry in found:
        if entry["strength"] is not None:
            print(f"{entry['budget']}: {entry['dimension']} {entry['strength']:+g} reaches {entry['reached']:.4g}")
    print(f"noted in {path}")
    return found


main = entry_point("calibrate")(calibrate)
