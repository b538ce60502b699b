"""Run `python -m src.interpret`: see `lmsteer.commands.interpret`."""

from lmsteer.commands.interpret import main

if __name__ == "__main__":
    main()
