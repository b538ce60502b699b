"""A process that has loaded what commands load, and forks one for each command that it is told on standard input.

A line of JSON in: ``module``, ``options``, ``variables`` (of the environment), ``out`` and ``err`` (files).
A line out: the exit status. Settings that the hub's client reads when it is imported are those of this process.
"""

import json
import os
import runpy
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from typing import Any

LOADED = (
    "datasets",
    "detoxify",
    "hydra",
    "jinja2",
    "lmsteer.cli.app",
    "lmsteer.commands.train",
    "lmsteer.cli.sweep_callback",
    "lmsteer.data.readers.hub",
    "lmsteer.training.gradient_solver",
    "matplotlib.pyplot",
    "pytorch_lightning",
    "sklearn.linear_model",
    "torchmetrics",
    "transformers.models.auto.modeling_auto",
    "transformers.models.bert.modeling_bert",
    "transformers.models.gpt2.modeling_gpt2",
    "wandb",
)


def _run(job: dict[str, Any]) -> int:
    """Run a command as ``python -m MODULE OPTIONS`` does, and return its exit status."""
    os.environ.update(job["variables"])
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.argv = [job["module"], *job["options"]]
    try:
        runpy.run_module(job["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    """Load, then run the commands one after the other."""
    for name in LOADED:
        import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            status = _run(json.loads(line))
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
