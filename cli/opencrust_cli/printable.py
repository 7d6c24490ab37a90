"""What others wrote, as it may be shown in a terminal."""


def printable(text: str) -> str:
    """Control characters, escape sequences and what reorders text, written out instead of obeyed."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
