"""Run `python -m src.compose`: see `lmsteer.commands.compose`."""

from lmsteer.commands.compose import main

if __name__ == "__main__":
    main()
