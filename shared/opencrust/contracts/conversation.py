"""The conversation key: one subject token per conversation."""

import base64
import hashlib

KEY_LENGTH = 26


def conversation_key(channel: str, account: str, conversation: str, thread: str | None = None) -> str:
    """The key under which a conversation is ordered, leased and stored: 26 characters of lower-case base32.

    It is a hash, since platform ids hold characters that neither a NATS subject nor a KV key may hold. The parts are
    length-prefixed, so no two different conversations share a key by shifting characters between the parts, and
    the same chat id on two channels or two bot accounts is two conversations. 128 bits of SHA-256.
    """
    digest = hashlib.sha256(b"opencrust conversation/1")
    for part in (channel, account, conversation, thread or ""):
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return base64.b32encode(digest.digest()[:16]).decode().rstrip("=").lower()
