"""Run `python -m src.report`: see `lmsteer.commands.report`."""

from lmsteer.commands.report import main

if __name__ == "__main__":
    raise SystemExit(main())
