"""``python -m opencrust_channel_discord``."""

import sys

from opencrust_channel_discord.main import main

if __name__ == "__main__":
    sys.exit(main())
