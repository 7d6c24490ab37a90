"""``python -m opencrust_vault``: the vault as a process of its own."""

import sys

from opencrust.service import main
from opencrust_vault.service import run

if __name__ == "__main__":
    sys.exit(main("vault", run))
