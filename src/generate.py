"""Run `python -m src.generate`: see `lmsteer.commands.generate`."""

from lmsteer.cli.app import command

main = command("generate")

if __name__ == "__main__":
    main()
