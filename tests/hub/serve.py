"""Serve the stand-in hub until interrupted, and print the environment that makes commands use it.

python -m tests.hub.serve [FOLDER]    # FOLDER: caches of its user; it may exist. FOLDER/environment: what is printed
"""

import shlex
import sys
import tempfile
import time
from pathlib import Path

from tests.hub.user import build_hub, prepare, variables


def main() -> None:
    """Serve, and print every request on standard error."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="stand-in-hub-")).resolve()
    if not (folder / "lmsteer").is_dir():
        prepare(folder)
    with build_hub() as hub:
        named = variables(hub.endpoint, folder)
        text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in named.items())
        (folder / "environment").write_text(text)
        print(text, end="", flush=True)
        printed = 0
        try:
            while True:
                for request in hub.requests[printed:]:
                    print(request.method, request.path, request.status, request.bytes, file=sys.stderr, flush=True)
                    printed += 1
                time.sleep(0.2)
        except KeyboardInterrupt:
            print(f"{printed} requests", file=sys.stderr)


if __name__ == "__main__":
    main()
