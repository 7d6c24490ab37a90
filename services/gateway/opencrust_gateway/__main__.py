"""``python -m opencrust_gateway``."""

import sys

from opencrust_gateway.main import main

if __name__ == "__main__":
    sys.exit(main())
