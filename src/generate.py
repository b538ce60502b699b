"""Run `python -m src.generate`: see `lmsteer.commands.generate`."""

from lmsteer.commands.generate import main

if __name__ == "__main__":
    main()
