"""`python -m extd` is the command `extd`."""

import sys

from extd.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
