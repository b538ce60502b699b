"""Run `python -m src.convert`: see `lmsteer.commands.convert`."""

from lmsteer.commands.convert import main

if __name__ == "__main__":
    main()
