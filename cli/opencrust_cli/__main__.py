"""``python -m opencrust_cli``."""

import sys

from opencrust_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
