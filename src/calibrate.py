"""Run `python -m src.calibrate`: see `lmsteer.commands.calibrate`."""

from lmsteer.commands.calibrate import main

if __name__ == "__main__":
    main()
