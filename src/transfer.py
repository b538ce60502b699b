"""Run `python -m src.transfer`: see `lmsteer.commands.transfer`."""

from lmsteer.commands.transfer import main

if __name__ == "__main__":
    main()
