"""Starting the Slack channel."""

from opencrust import service
from opencrust.channel.service import serve
from opencrust.service import Context
from opencrust_channel_slack.adapter import SlackAdapter


async def run(context: Context) -> None:
    """Serve Slack until told to stop. Any number of replicas may run; all listen."""
    await serve(context, SlackAdapter)


def main() -> int:
    """Console script; its exit codes are :mod:`opencrust.service`'s."""
    return service.main("channel-slack", run)
