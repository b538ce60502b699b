"""Run `python -m src.evaluate`: see `lmsteer.commands.evaluate`."""

from lmsteer.commands.evaluate import main

if __name__ == "__main__":
    main()
