"""`python -m extd` is the command `extd`."""

from extd.cli.app import run

if __name__ == "__main__":
    run()
