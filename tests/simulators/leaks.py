"""Looks for a canary where it must not be: memory of processes, files, command lines, environments."""

import base64
import json
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote


def forms(secret: bytes) -> set[bytes]:
    """The spellings to look for, halves included."""
    half = len(secret) // 2
    text = secret.decode()
    encoded = {base64.b64encode(secret).rstrip(b"="), base64.urlsafe_b64encode(secret).rstrip(b"=")}
    found = {secret, secret[:half], secret[half:], secret.hex().encode(), secret.hex().upper().encode()}
    found |= {quote(text, safe="").encode(), json.dumps(text)[1:-1].encode()} | encoded
    return {form for form in found if len(form) >= 12}


def count(data: bytes, secret: bytes) -> int:
    """How often any form of `secret` is in `data`."""
    return sum(data.count(form) for form in forms(secret))


def in_memory(pid: int, secret: bytes) -> int:
    """Copies in a process's readable memory."""
    total = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, mode = line.split()[:2]
            if "r" not in mode or line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            try:
                total += count(os.pread(memory.fileno(), end - start, start), secret)
            except (OSError, OverflowError):  # a secret mapping, or gone meanwhile
                continue
    return total


def in_files(roots: Iterable[Path], secret: bytes) -> list[str]:
    """Files that hold it."""
    return [
        str(path)
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.is_file() and count(path.read_bytes(), secret)
    ]


def in_proc(secret: bytes) -> list[str]:
    """Processes whose command line or environment holds it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/*"):
        if path.name in ("cmdline", "environ"):
            try:
                if count(path.read_bytes(), secret):
                    found.append(str(path))
            except OSError:
                continue
    return found
