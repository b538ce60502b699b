"""Run `python -m src.calibrate`: see `lmsteer.commands.calibrate`."""

from lmsteer.cli.app import command

main = command("calibrate")

if __name__ == "__main__":
    main()
