"""What a service's process may touch on its host.

All services of the embedded stack run as the same user, so file modes do not keep one from reading another's key.
`confine` does: it gives the calling process an allow-list of paths (Landlock, Linux ≥ 5.13), from which it can never
get out again, nor can what it starts. Landlock also refuses it the memory and environment of every process that is not
confined by the same or a deeper allow-list, and (Linux ≥ 6.12) signals to them. Around that:

* no capabilities, and no way to gain privileges through a set-uid program (capset(2), PR_SET_NO_NEW_PRIVS);
* no core dump, and no access to its memory for other programs of the same user (RLIMIT_CORE, PR_SET_DUMPABLE);
* death together with its parent (PR_SET_PDEATHSIG), so that nothing is left running unsupervised.

A kernel that lacks one of these is no error: `Confinement.missing` says what is not enforced, and ``opencrust status``
shows it. Sources: Documentation/userspace-api/landlock.rst, landlock(7), prctl(2), capabilities(7).

Being undumpable makes the files of ``/proc/self`` belong to root: asyncio and uvloop do not need them, and a process
may still read its own ``/proc/self/smaps_rollup``. Others may not, so whoever wants to know its memory use must be
handed that file opened (see the supervisor).
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_SYS_LANDLOCK_CREATE_RULESET = 444  # the same on every architecture since Linux 5.13
_SYS_LANDLOCK_ADD_RULE = 445
_SYS_LANDLOCK_RESTRICT_SELF = 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_DIR = 1 << 3
_REFER = 1 << 13  # ABI 2
_TRUNCATE = 1 << 14  # ABI 3
_IOCTL_DEV = 1 << 15  # ABI 5
_ABI_1 = (1 << 13) - 1
_SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0  # ABI 6
_SCOPE_SIGNAL = 1 << 1  # ABI 6
_BIND_TCP = 1 << 0  # ABI 4
_CONNECT_TCP = 1 << 1  # ABI 4
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_FOR_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522
_SYS_CAPSET = {"x86_64": 126, "aarch64": 91}
_LAST_CAPABILITY = 63

_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc", "/proc", "/sys", "/nix/store")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_SYMLINKED_OUT_OF_ETC = ("/etc/resolv.conf", "/etc/hosts", "/etc/localtime", "/etc/ssl/certs")


@dataclass(frozen=True, slots=True)
class Confinement:
    """What holds for this process from now on.

    Attributes:
        landlock: the ABI version of Landlock in force, 0 if none.
        missing: what is not enforced, one readable sentence each; empty if everything is.
    """

    landlock: int
    missing: tuple[str, ...]


class _RulesetAttr(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilitySets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def landlock_abi() -> int:
    """The version of Landlock that the running kernel offers, 0 if none."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        return _syscall(_SYS_LANDLOCK_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def program_paths() -> tuple[Path, ...]:
    """What this Python needs to read to run: its prefixes and the directories and archives it imports from."""
    prefixes = (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)
    executable = os.path.dirname(os.path.realpath(sys.executable))
    return tuple(Path(path) for path in dict.fromkeys((*prefixes, executable, *sys.path)) if path)


def confine(*, home: Path, read: Iterable[Path], write: Iterable[Path], dumpable: bool = False) -> Confinement:
    """Confine the calling process, for good. Call it before any thread is started: Landlock holds per thread.

    Readable besides `read` and `write` are the system's directories and what Python imports from
    (`program_paths`), except those directories of ``sys.path`` that contain `home`.

    Args:
        home: OPENCRUST_HOME, which holds what other services must not see.
        read: files and directories to read (and execute from).
        write: files and directories to read, write, create and remove in.
        dumpable: leave the process readable for debuggers of the same user (for programs that `exec`, which makes
            them dumpable again anyway).
    """
    missing: list[str] = []
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not sys.platform.startswith("linux"):
        return Confinement(0, (f"{sys.platform} has no Landlock: services can read each other's files",))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    abi = _restrict_paths(home, tuple(read), tuple(write), missing)
    _drop_capabilities(missing)
    if not dumpable:
        _prctl(_PR_SET_DUMPABLE, 0)
    return Confinement(abi, tuple(missing))


def isolate() -> Confinement:
    """Take everything from the calling process, for good: no path, no new connection or listening socket, no signal to
    others, no capability. What it has open stays open. For processes that run what strangers wrote (plugins).

    Call it before any thread is started: Landlock holds per thread. Namespaces of its own (user, network, IPC, host
    name) come on top where the system allows them; containers mostly do not, and nothing depends on them.
    """
    missing: list[str] = []
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not sys.platform.startswith("linux"):
        return Confinement(0, (f"{sys.platform} has no Landlock",))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    abi = landlock_abi()
    _libc().unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS)
    if abi:
        handled = (
            _ABI_1 | (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0) | (_IOCTL_DEV if abi >= 5 else 0)
        )
        network = _BIND_TCP | _CONNECT_TCP if abi >= 4 else 0
        ruleset = _create_ruleset(abi, handled, network)
        try:
            _syscall(_SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
        finally:
            os.close(ruleset)
    else:
        missing.append("this kernel has no Landlock")
    _drop_capabilities(missing)
    _prctl(_PR_SET_DUMPABLE, 0)
    return Confinement(abi, tuple(missing))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process (SIGKILL) when its parent ends; exit now if `parent` is already gone.

    The parent must be single-threaded: the kernel watches the thread that forked. Does nothing outside Linux.
    """
    if sys.platform.startswith("linux"):
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def name_process(name: str) -> None:
    """Have `top` and `ps` show the process under `name` (15 bytes of it): forked services all look alike."""
    if sys.platform.startswith("linux"):
        text = ctypes.create_string_buffer(name.encode()[:15])
        _libc().prctl(_PR_SET_NAME, text, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def _restrict_paths(home: Path, read: tuple[Path, ...], write: tuple[Path, ...], missing: list[str]) -> int:
    abi = landlock_abi()
    if abi == 0:
        missing.append("this kernel has no Landlock: services can read each other's files")
        return 0
    handled = _ABI_1
    handled |= _REFER if abi >= 2 else 0
    handled |= _TRUNCATE if abi >= 3 else 0
    handled |= _IOCTL_DEV if abi >= 5 else 0
    if abi < 6:
        missing.append(f"Landlock ABI {abi} cannot keep a service from sending signals to other processes")
    ruleset = _create_ruleset(abi, handled, 0)
    try:
        for path in _system_paths(home, missing):
            _allow(ruleset, path, _READ & handled)
        for path in _imports(home, missing):
            _allow(ruleset, path, _READ & handled)
        for device in _DEVICES:
            _allow(ruleset, Path(device), (_READ_FILE | _WRITE_FILE | _IOCTL_DEV) & handled)
        for path in read:
            _allow(ruleset, path, _READ & handled)
        for path in write:
            _allow(ruleset, path, handled & ~(_EXECUTE | _IOCTL_DEV))
        _syscall(_SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return abi


def _create_ruleset(abi: int, paths: int, network: int) -> int:
    scoped = _SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL if abi >= 6 else 0
    attributes = _RulesetAttr(paths, network, scoped)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    return _syscall(_SYS_LANDLOCK_CREATE_RULESET, ctypes.byref(attributes), size, 0)


def _system_paths(home: Path, missing: list[str]) -> list[Path]:
    paths = [Path(path) for path in _SYSTEM]
    for path in paths:
        if _contains(path, home):
            missing.append(f"OPENCRUST_HOME lies below {path}, which every service must read: keep it elsewhere")
    # A distribution keeps some files of /etc below /run; the directory, because the file is replaced now and then.
    for link in _SYMLINKED_OUT_OF_ETC:
        target = Path(os.path.realpath(link))
        if _contains(Path("/run"), target):
            paths.append(target if target.is_dir() else target.parent)
    return paths


def _imports(home: Path, missing: list[str]) -> list[Path]:
    paths = []
    for path in program_paths():
        if _contains(path, home):
            missing.append(f"{path} contains OPENCRUST_HOME, so nothing can be imported from it: keep the two apart")
        else:
            paths.append(path)
    return paths


def _contains(directory: Path, path: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(directory))


def _allow(ruleset: int, path: Path, access: int) -> None:
    """Add `path`, if it exists. A path that appears later is not allowed by it."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return
        raise
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            access &= _FOR_FILES
        rule = _PathBeneathAttr(access, descriptor)
        _syscall(_SYS_LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)


def _drop_capabilities(missing: list[str]) -> None:
    for capability in range(_LAST_CAPABILITY + 1):
        # Without CAP_SETPCAP there is nothing to drop from that could be regained: no_new_privs is set.
        with suppress(OSError):
            _prctl(_PR_CAPBSET_DROP, capability)
    number = _SYS_CAPSET.get(os.uname().machine)
    if number is None:
        missing.append(f"capabilities are not dropped: the system call's number on {os.uname().machine} is not known")
        return
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    nothing = (_CapabilitySets * 2)()
    _syscall(number, ctypes.byref(header), ctypes.byref(nothing))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _syscall(number: int, *arguments: object) -> int:
    function = _libc().syscall
    function.restype = ctypes.c_long
    converted = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    result = int(function(ctypes.c_long(number), *converted))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    if _libc().prctl(option, ctypes.c_ulong(value), zero, zero, zero) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
