"""``python -m opencrust_agent``."""

import sys

from opencrust_agent.main import main

if __name__ == "__main__":
    sys.exit(main())
