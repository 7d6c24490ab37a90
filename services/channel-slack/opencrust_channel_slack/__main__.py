"""``python -m opencrust_channel_slack``."""

import sys

from opencrust_channel_slack.main import main

if __name__ == "__main__":
    sys.exit(main())
