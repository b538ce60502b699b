"""Run `python -m src.compose`: see `lmsteer.commands.compose`."""

from lmsteer.cli.app import command

main = command("compose")

if __name__ == "__main__":
    main()
