"""The program ``lmsteer NAME``: the same commands as ``python -m src.NAME``."""

import ast
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from lmsteer.cli.completion import bash_completion
from lmsteer.cli.terminal import accept_any_encoding
from lmsteer.extras import MissingExtraError, explain_missing_extra

COMMANDS = Path(__file__).parents[1] / "commands"


def main() -> None:
    """Run one command, or list them all."""
    accept_any_encoding()
    name, *arguments = sys.argv[1:] or ["--help"]
    summaries = command_summaries()
    if name in ("--help", "-h"):
        print(_help(summaries))
    elif name == "--version":
        print(f"lmsteer {version('lmsteer')}")
    elif name == "--completion":
        if arguments != ["bash"]:
            sys.exit("Error: lmsteer --completion: one shell is allowed, bash")
        print(bash_completion(summaries))
    elif name not in summaries:
        sys.exit(f"Error: lmsteer {name}: no such command; allowed are {', '.join(summaries)}")
    else:
        sys.argv = [f"lmsteer {name}", *arguments]
        _run(name)


def _run(name: str) -> None:
    try:
        with explain_missing_extra(f"lmsteer {name}"):
            import_module("lmsteer.cli.app").command(name)()
    except MissingExtraError as error:
        sys.exit(f"Error: {error}")


def command_summaries() -> dict[str, str]:
    """Return the first sentence of every command by name, without importing them."""
    modules = sorted(path for path in COMMANDS.glob("*.py") if path.stem != "__init__")
    docstrings = {path.stem: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) for path in modules}
    return {name: (docstring or "").split("\n")[0] for name, docstring in docstrings.items()}


def _help(summaries: dict[str, str]) -> str:
    width = max(map(len, summaries))
    commands = "\n".join(f"  {name:{width}}  {summary}" for name, summary in summaries.items())
    return (
        f"usage: lmsteer COMMAND [OPTION=VALUE …]\n\n{commands}\n\n"
        "lmsteer COMMAND --help lists the options of a command; --config-dir FOLDER adds configurations of your own.\n"
        'eval "$(lmsteer --completion bash)" completes commands and options in bash.'
    )
