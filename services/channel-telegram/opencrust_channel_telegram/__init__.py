"""OpenCrust's Telegram adapter: updates become messages on the bus, replies on the bus become messages.

``api`` calls the Bot API, over aiohttp alone: nine methods do not need a framework (aiogram takes 5 s of CPU and 170 MB
to import). ``updates`` reads what people wrote, ``results`` what the Bot API answered; both are pure. ``polling`` and
``webhook`` are the two ways in, ``adapter`` puts them together for the engine in :mod:`opencrust.channel`.

Telegram keeps an update for a day until a poll's offset says that we have it; the offset moves only after the bus has
the message. It allows one poll for a token: the engine's lease says whose. It knows no key for sending, so a part whose
sender died is sent again, and counted.
"""
