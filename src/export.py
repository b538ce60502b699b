"""Run `python -m src.export`: see `lmsteer.commands.export`."""

from lmsteer.commands.export import main

if __name__ == "__main__":
    main()
