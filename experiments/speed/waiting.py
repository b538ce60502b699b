"""Measure how long OpenMP's threads should wait in a loop before they sleep: on a quiet machine and on a busy one.

python -m experiments.speed.waiting
"""

import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

from omegaconf import DictConfig
from tqdm.auto import tqdm

from experiments.study import Results, open_run, run_study
from lmsteer.cli import WAITING
from lmsteer.cli.app import entry_point
from lmsteer.cli.options import FromOne
from lmsteer.cli.terminal import show
from lmsteer.reporting.text import markdown_table

TYPES: dict[str, Any] = {"spin_counts": list[FromOne], "rounds": FromOne, "busy": FromOne | None}
DEFAULT, PASSIVE = "default", "passive"
QUIET, BUSY = "quiet", "busy"
POLICIES = {DEFAULT: {"GOMP_SPINCOUNT": "300000"}, PASSIVE: {"OMP_WAIT_POLICY": "passive"}}
"""Environment of libgomp's default, written out as commands have another one, and of threads that sleep at once."""
WORKER = (sys.executable, "-m", "experiments.speed.worker")
BUSY_PROCESS = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0))).start()  # it ends with the measuring process
while True:
    pass
"""


def waiting(cfg: DictConfig) -> Results:
    """Write ``waiting.json`` and ``waiting.md`` in the run folder; print the table."""
    config, run = open_run(cfg, TYPES)
    cores = os.cpu_count() or 1
    busy = config["busy"] or cores
    policies = POLICIES | {str(count): {"GOMP_SPINCOUNT": str(count)} for count in config["spin_counts"]}
    results = run_study(
        run,
        "waiting",
        lambda: {"cores": cores, "busy": busy, **measure(WORKER, policies, config["rounds"], busy)},
        report=waiting_table,
    )
    show(f"\n{waiting_table(results)}")
    return results


def measure(command: Sequence[str], policies: Mapping[str, Mapping[str, str]], rounds: int, busy: int) -> Results:
    """Let a process of each policy work in turns, on a quiet machine and next to busy processes.

    Args:
        command: Starts a process that answers each line by the seconds of its work.
        policies: Variables of the environment, by name.

    Returns:
        The machine, and the seconds by kind of work, policy and load.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in WAITING}
    seconds: defaultdict[str, dict[str, dict[str, list[float]]]] = defaultdict(
        lambda: {policy: {QUIET: [], BUSY: []} for policy in policies}
    )
    with ExitStack() as stack:
        workers = {
            policy: stack.enter_context(_process(command, inherited | dict(environment)))
            for policy, environment in policies.items()
        }
        machines = [_answer(worker) for worker in tqdm(workers.values(), desc="start")]
        turns = [(policy, load) for _ in range(rounds) for policy in policies for load in (QUIET, BUSY)]
        for policy, load in tqdm(turns, desc="policies"):
            with busy_processes(busy if load == BUSY else 0):
                _input(workers[policy]).write("\n")
                _input(workers[policy]).flush()
                answer = _answer(workers[policy])
            for kind, value in answer.items():
                seconds[kind][policy][load].append(value)
    return {"machine": machines[0], "seconds": seconds}


@contextmanager
def busy_processes(number: int) -> Iterator[None]:
    """Keep processes busy while the work inside is done."""
    with ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(_process([sys.executable, "-c", BUSY_PROCESS], os.environ))
        yield


@contextmanager
def _process(command: Sequence[str], environment: Mapping[str, str]) -> "Iterator[subprocess.Popen[str]]":
    """Start a process, whose input is closed at the end: it then ends by itself."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        yield process


def _input(process: "subprocess.Popen[str]") -> IO[str]:
    return cast(IO[str], process.stdin)


def _answer(process: "subprocess.Popen[str]") -> dict[str, Any]:
    if line := cast(IO[str], process.stdout).readline():
        return cast(dict[str, Any], json.loads(line))
    raise RuntimeError(f"{' '.join(map(str, cast(Sequence[str], process.args)))}: ended with status {process.wait()}")


def waiting_table(measured: Results) -> str:
    """Write the medians: on a quiet machine over the default's, on a busy one over the fair share.

    The fair share of a busy machine is the default's time on a quiet one, times runnable threads over cores.
    """
    cores, busy = measured["cores"], measured["busy"]
    rows = []
    for kind, of_policy in measured["seconds"].items():
        default = statistics.median(of_policy[DEFAULT][QUIET])
        fair = default * (cores + busy) / cores
        for policy, seconds in of_policy.items():
            quiet, loaded = (statistics.median(seconds[load]) for load in (QUIET, BUSY))
            cells = f"{quiet:.2f}", f"**{quiet / default:.3f}**", f"{loaded:.2f}", f"**{loaded / fair:.2f}**"
            rows.append([kind, policy, *cells])
    headings = ["work", "turns of waiting", "quiet, s", "over the default", "busy, s", "over the fair share"]
    machine = measured["machine"]
    return (
        f"{machine['date']}, {machine['cpu']}, {cores} cores, {busy} busy processes, torch {machine['torch']}.\n\n"
        + markdown_table(headings, rows, escaped=False)
    )


if __name__ == "__main__":
    entry_point("waiting", Path(__file__).parent, TYPES)(waiting)()
