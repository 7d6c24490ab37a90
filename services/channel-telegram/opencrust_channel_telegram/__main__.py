"""``python -m opencrust_channel_telegram``."""

import sys

from opencrust_channel_telegram.main import main

if __name__ == "__main__":
    sys.exit(main())
