"""The child's own layer of Landlock: each model sees its own folders and cannot signal its siblings.

The first layer was applied by the host's program before this interpreter started; a layer can only take away.
Source: https://docs.kernel.org/userspace-api/landlock.html
"""

import ctypes
import os
import signal
import struct

# the same on every architecture
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GET_VERSION = 1
_PATH_BENEATH = 1
_PR_SET_PDEATHSIG = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_SCOPES = 0b11  # abstract Unix sockets, signals

# What a process may know of itself. threadpoolctl and psutil ask, and numeric libraries ask threadpoolctl; TensorFlow
# ends the process if it cannot read its own command line, where no secret is. Not its environment.
_OF_ITSELF = tuple(f"/proc/self/{name}" for name in ("cmdline", "maps", "stat", "statm", "status"))

_libc = ctypes.CDLL(None, use_errno=True)
# The kernel makes these files anew for whoever asks, unless somebody holds them; a rule is for the one it was made with.
_held = []


def die_with_parent(parent):
    """Asks the kernel to kill this process with its parent; ends it if the parent `parent` has gone already."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def restrict(read, write):
    """Leaves to this process `read` for reading and `write` for everything; paths that do not exist are passed over.

    Raises OSError if the kernel has Landlock and refuses.
    """
    abi = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_GET_VERSION))
    if abi < 1:
        return
    handled = (1 << 13) - 1
    for since, bit in ((2, 13), (3, 14), (5, 15)):
        if abi >= since:
            handled |= 1 << bit
    attributes = struct.pack("=QQQ", handled, 0, _SCOPES)
    # an older kernel refuses bytes that it does not know
    attributes = attributes[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = _checked(
        _libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    )
    try:
        for paths, access in ((read, _READ), (write, handled)):
            for path in paths:
                _allow(ruleset, path, access & handled)
        for path in _OF_ITSELF:
            _allow(ruleset, path, _READ_FILE, keep=True)
        _checked(_libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0)))
    finally:
        os.close(ruleset)


def _allow(ruleset, path, access, keep=False):
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            access &= _OF_FILES
        rule = struct.pack("=Qi", access, fd)
        _checked(
            _libc.syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint(0))
        )
    finally:
        if keep:
            _held.append(fd)
        else:
            os.close(fd)


def _checked(result):
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
