"""`python -m skytutor`: the `skytutor` command, whatever folder its environment lies in."""

import sys

from skytutor.cli import main

if __name__ == "__main__":
    sys.exit(main())
