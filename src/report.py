"""Run `python -m src.report`: see `lmsteer.commands.report`."""

from lmsteer.cli.app import command

main = command("report")

if __name__ == "__main__":
    main()
