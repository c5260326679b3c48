"""The system calls that a sandboxed child may not make, as a seccomp filter for bubblewrap.

These reach past namespaces: the kernel's keyrings, which a user's processes share; sockets to the
host of a virtual machine; io_uring, which makes calls that no filter sees; and user namespaces, in
which a child has rights over parts of the kernel that it has nowhere else. Debuggers work: a child
sees no process but its own.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Mapping
from dataclasses import dataclass

_NEW_USER = 0x10000000
_FAMILIES = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK."""
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_X32 = 0x40000000


@dataclass(frozen=True)
class _Calls:
    """The numbers of system calls on one architecture."""

    refused: tuple[int, ...]
    """add_key, request_key, keyctl, and others for which there is no better answer."""
    clone: int
    unshare: int
    socket: int


# io_uring_setup, io_uring_enter, io_uring_register, and clone3, whose flags a filter cannot read:
# the C library then uses clone. These have the same numbers everywhere.
_COMMON = (425, 426, 427, 435)
_GENERIC = _Calls((217, 218, 219, *_COMMON), 220, 97, 198)
_CALLS: Mapping[int, _Calls] = {
    0xC000003E: _Calls((248, 249, 250, *_COMMON), 56, 272, 41),  # x86_64
    # With socketcall (102), whose arguments a filter cannot read either.
    0x40000003: _Calls((286, 287, 288, 102, *_COMMON), 120, 310, 359),  # i386
    0x40000028: _Calls((309, 310, 311, *_COMMON), 120, 337, 281),  # arm
    0xC00000B7: _GENERIC,  # aarch64
    0xC00000F3: _GENERIC,  # riscv64
    0xC0000102: _GENERIC,  # loongarch64
}
_MACHINES = ("x86_64", "i386", "i686", "armv7l", "armv8l", "aarch64", "riscv64", "loongarch64")


def seccomp_filter() -> bytes:
    """The filter for this machine; empty where its system calls are not known here."""
    if platform.machine() not in _MACHINES:
        return b""
    program = [_step(_LOAD, _ARCHITECTURE)]
    for architecture, calls in _CALLS.items():
        block = _block(calls)
        program += [_step(_EQUAL, architecture, 0, len(block)), *block]
    return b"".join([*program, _refuse(errno.ENOSYS)])


def _block(calls: _Calls) -> list[bytes]:
    """The steps for one architecture, which all end in an answer."""
    steps = [_step(_LOAD, _NUMBER)]
    if calls.socket == 41:  # the other way to number the calls of x86_64
        steps += [_step(_AT_LEAST, _X32, 0, 1), _refuse(errno.ENOSYS)]
    for number in calls.refused:
        steps += [_step(_EQUAL, number, 0, 1), _refuse(errno.ENOSYS)]
    for number in (calls.clone, calls.unshare):
        steps += [
            _step(_EQUAL, number, 0, 4),
            _step(_LOAD, _FIRST_ARGUMENT),
            _step(_ANY_BIT, _NEW_USER, 0, 1),
            _refuse(errno.EPERM),
            _step(_RETURN, _ALLOW),
        ]
    steps += [_step(_EQUAL, calls.socket, 0, len(_FAMILIES) + 2), _step(_LOAD, _FIRST_ARGUMENT)]
    steps += [
        _step(_EQUAL, family, len(_FAMILIES) - place, 0) for place, family in enumerate(_FAMILIES)
    ]
    return [*steps, _refuse(errno.EAFNOSUPPORT), _step(_RETURN, _ALLOW)]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _refuse(error: int) -> bytes:
    return _step(_RETURN, _ERRNO | error)
