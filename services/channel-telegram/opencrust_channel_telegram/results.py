"""What an answer of the Bot API to a send means."""

from typing import Final

from opencrust.channel.adapter import LinkError, Refused, Retry, SendResult, Sent, Unknown
from opencrust_channel_telegram.api import Answer, NoAnswer

TOKEN_PAUSE: Final = 1.5
SERVER_PAUSE: Final = 2.0
"""After an error of Telegram's own."""
_NOT_MODIFIED: Final = "message is not modified"


def send_result(answer: Answer) -> SendResult:
    """The result of a send. A 5xx is Telegram's word that it failed; only a 504 leaves open whether it did."""
    if answer.ok:
        message = answer.result
        number = message.get("message_id") if isinstance(message, dict) else None
        return Sent(str(number or 0))
    if answer.code == 429:
        return Retry(max(answer.retry_after, 0.5), "Telegram wants us slower")
    if answer.code in (401, 404):
        return Retry(TOKEN_PAUSE, "Telegram does not know the token")
    if answer.code == 409:
        return Retry(SERVER_PAUSE, answer.description)
    if answer.code == 504:
        return Unknown("Telegram's front answered 504")
    if answer.code >= 500:
        return Retry(SERVER_PAUSE, f"Telegram failed: {answer.code}")
    return Refused(answer.description or f"Telegram refused it: {answer.code}")


def no_answer(error: NoAnswer) -> SendResult:
    """The result of a send that was not answered."""
    return Unknown(str(error)) if error.sent else Retry(SERVER_PAUSE, str(error))


def edit_result(answer: Answer, message: str) -> SendResult:
    """The result of an edit; one that changes nothing is done."""
    if not answer.ok and _NOT_MODIFIED in answer.description:
        return Sent(message)
    return send_result(answer)


def refuses_markup(answer: Answer) -> bool:
    """It was refused for its formatting: the same words without it may go."""
    return answer.code == 400 and "can't parse entities" in answer.description


def refuses_thread(answer: Answer) -> bool:
    """The topic is gone; the chat may be there."""
    return answer.code == 400 and "message thread not found" in answer.description


def link_error(answer: Answer) -> LinkError:
    """What a refused call means for the link."""
    if answer.code in (401, 404):
        return LinkError("Telegram does not know the token: ask @BotFather for it", refused=True)
    if answer.code == 409:
        return LinkError("another program listens with this token", after=1.0)
    if answer.code == 429:
        return LinkError("Telegram wants us slower", after=max(answer.retry_after, 0.5))
    return LinkError(f"Telegram answered {answer.code}", after=1.0 if answer.code >= 500 else 5.0)
