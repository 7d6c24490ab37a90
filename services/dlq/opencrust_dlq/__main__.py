"""``python -m opencrust_dlq``."""

import sys

from opencrust_dlq.main import main

if __name__ == "__main__":
    sys.exit(main())
