"""Run `python -m src.interpret`: see `lmsteer.commands.interpret`."""

from lmsteer.cli.app import command

main = command("interpret")

if __name__ == "__main__":
    main()
