"""Measure the time of decoding with every method of the tables over that of the plain model, in one interleaved loop.

python -m experiments.speed.methods
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig
from pydantic import Field
from tqdm.auto import tqdm

from experiments.speed.meter import Meter
from experiments.speed.results import describe_machine
from experiments.study import Results, open_run, run_study
from lmsteer.cli.app import entry_point
from lmsteer.cli.configuration import build
from lmsteer.cli.options import FromOne, NonEmpty
from lmsteer.cli.terminal import show
from lmsteer.data.corpus import Corpus
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.errors import InputError
from lmsteer.generation.generator import Generator
from lmsteer.methods.learned_method import LearnedMethod
from lmsteer.methods.lm_steer import LMSteer
from lmsteer.methods.method import Method
from lmsteer.methods.method_file import load_controller, method_name
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.mixture import Controller
from lmsteer.reporting.text import markdown_table
from lmsteer.steering.steer_config import SteerConfig
from lmsteer.training.gradient_solver import GradientSolver

TYPES: dict[str, Any] = {
    "methods": dict[str, Any],
    "runs": list[NonEmpty],
    "steps": FromOne,
    "strength": Annotated[float, Field(gt=0, allow_inf_nan=False)],
    "samples": FromOne,
    "batch_size": FromOne,
    "rounds": FromOne,
}
PLAIN = "plain"
FEW_TEXTS = partial(SteerDataModule, batch_size=8, dev_rows=16)
"""The time of decoding does not depend on how well a method is fitted."""
Clock = Callable[[str, Callable[[], object]], float]
"""Do named work and return its seconds."""


def methods(cfg: DictConfig) -> Results:
    """Write ``methods.json`` and ``methods.md`` in the run folder; print the table."""
    config, run = open_run(cfg, TYPES)
    results = run_study(run, "methods", lambda: measure(config), report=methods_table)
    show(f"\n{methods_table(results)}")
    return results


def measure(config: Mapping[str, Any]) -> Results:
    """Fit or load every method, and decode in turns."""
    model: LanguageModel = build(config["model"], device=config["device"], dtype=config["dtype"])
    generator = Generator(
        model,
        build(config["prompts"])().prompts,
        decoding=build(config["decoding"]),
        samples=config["samples"],
        seed=config["seed"],
        batch_size=config["batch_size"],
    )
    runs = [Path(folder) for folder in config["runs"]]
    controllers = load_methods(runs, model) if runs else fit_methods(config, model)
    meter = Meter(model.device)

    def seconds(name: str, work: Callable[[], object]) -> float:
        meter.time(name, work)
        return meter.seconds[name][-1]

    measured = decode_in_turns(generator, controllers, config["strength"], config["rounds"], seconds)
    texts = len(generator.prompts) * generator.samples
    return {
        **measured,
        "work": {"texts": texts, "tokens": texts * generator.decoding.max_new_tokens, "strength": config["strength"]},
        "model": {"name": model.name, "parameters": sum(weight.numel() for weight in model.lm.parameters())},
        "machine": describe_machine(model.device, model.head.weight.dtype),
    }


def fit_methods(config: Mapping[str, Any], model: LanguageModel) -> dict[str, Controller]:
    """Fit every method of the configuration for a few steps, on the same rows.

    Raises:
        InputError: As a method refuses its options, the corpus or the model.
    """
    nodes = config["methods"]
    if not nodes or not all(isinstance(node, dict) and "_target_" in node for node in nodes.values()):
        raise InputError(f"methods={nodes!r}: choices in conf/method expected, as +method@methods.NAME=CHOICE")
    chosen: dict[str, Method] = {name: build(node) for name, node in nodes.items()}
    corpus: Corpus = build(config["corpus"])
    steer_config: SteerConfig = build(config["steer"])
    steps = config["steps"]
    solver = GradientSolver(trainer={"max_steps": steps, "val_check_interval": steps, "enable_progress_bar": False})
    controllers = {}
    for name, method in tqdm(chosen.items(), desc="fit", unit="method"):
        dimensions = len(method.dimensions(steer_config, solver))
        data = FEW_TEXTS(corpus, model, dimensions=dimensions, seed=config["seed"])
        method.check_data(data, steer_config, solver)
        controllers[name], _ = method.fit(data, steer_config, solver)
    return controllers


def load_methods(runs: Sequence[Path], model: LanguageModel) -> dict[str, Controller]:
    """Load the fitted method of each run folder, by its name, with the folder where a name is there twice.

    Raises:
        InputError: If a folder has no fitted method, or one of another model.
    """
    controllers: dict[str, Controller] = {}
    for folder in runs:
        files = [folder / kind.file_name for kind in (LMSteer, LearnedMethod)]
        path = next((path for path in files if path.is_file()), None)
        if path is None:
            raise InputError(f"runs: {folder}: {' or '.join(file.name for file in files)} of a run expected")
        controller, _ = load_controller(path, model)
        name = method_name(controller)
        controllers[f"{name} {folder}" if name in controllers else name] = controller
    return controllers


def decode_in_turns(
    generator: Generator, controllers: Mapping[str, Controller], strength: float, rounds: int, seconds: Clock
) -> Results:
    """Decode all prompts with every method, each between two runs of the plain model; every other round backwards.

    Returns:
        Seconds of the plain runs, and for each method its seconds, their ratios to the mean of the plain runs before
        and after, with median, minimum and maximum, and what it costs else.
    """
    settings = {name: {controller.dimensions[0]: strength} for name, controller in controllers.items()}

    def decode(name: str) -> float:
        work = settings.get(name, {}), controllers.get(name)
        return seconds(name, lambda: list(generator.run([work[0]], work[1])))

    for name, controller in controllers.items():
        generator.check(settings[name], controller)
    for name in (PLAIN, *controllers):  # to warm up
        decode(name)
    plain: list[float] = []
    timed: dict[str, list[float]] = {name: [] for name in controllers}
    ratios: dict[str, list[float]] = {name: [] for name in controllers}
    for repeat in range(rounds):
        plain.append(decode(PLAIN))
        for name in controllers if repeat % 2 == 0 else reversed(list(controllers)):
            timed[name].append(decode(name))
            plain.append(decode(PLAIN))
            ratios[name].append(2 * timed[name][-1] / (plain[-2] + plain[-1]))
    return {
        "plain": {"seconds": plain},
        "methods": {
            name: {
                "method": method_name(controller),
                "seconds": timed[name],
                "ratios": ratios[name],
                **{"median": statistics.median(ratios[name]), "min": min(ratios[name]), "max": max(ratios[name])},
                "passes": len(controller.at(generator.model, settings[name]).sources),
                "trained_parameters": controller.trained_parameters,
                "inference_parameters": controller.held_parameters(settings[name]),
                "options": controller.settings(),
            }
            for name, controller in controllers.items()
        },
    }


def methods_table(measured: Results) -> str:
    """Write the ratios and costs as Markdown."""
    machine, work, model = measured["machine"], measured["work"], measured["model"]
    seconds = statistics.median(measured["plain"]["seconds"])
    rows = [
        [
            *(name, f"**{method['median']:.3f}**", f"{method['min']:.3f} to {method['max']:.3f}"),
            *(f"{method[key]:,}" for key in ("passes", "trained_parameters", "inference_parameters")),
        ]
        for name, method in measured["methods"].items()
    ]
    headings = ["method", "time over plain", "range", "passes a token", "trained parameters", "held at inference"]
    return (
        f"{machine['date']}, {machine['cpu']}, {machine['threads']} threads, {machine['device']}, torch "
        f"{machine['torch']}; {model['name']} ({model['parameters'] / 1e6:.0f} M parameters) in {machine['dtype']}. "
        f"{work['texts']:,} texts of {work['tokens'] // work['texts']} tokens at strength {work['strength']:g}; the "
        f"plain model takes {seconds:.3g} s, {work['tokens'] / seconds:,.0f} tokens/s.\n\n"
        + markdown_table(headings, rows, escaped=False)
    )


if __name__ == "__main__":
    entry_point("methods", Path(__file__).parent, TYPES)(methods)()
