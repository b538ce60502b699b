"""Run `python -m src.evaluate`: see `lmsteer.commands.evaluate`."""

from lmsteer.cli.app import command

main = command("evaluate")

if __name__ == "__main__":
    main()
