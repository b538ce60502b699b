"""Run `python -m src.fetch`: see `lmsteer.commands.fetch`."""

from lmsteer.commands.fetch import main

if __name__ == "__main__":
    raise SystemExit(main())
