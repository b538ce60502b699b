"""Run `python -m src.tables`: see `lmsteer.commands.tables`."""

from lmsteer.commands.tables import main

if __name__ == "__main__":
    raise SystemExit(main())
