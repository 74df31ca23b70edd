"""The process that imports MLflow once and forks a child for each model.

It speaks with the host over a SOCK_SEQPACKET socket that is its standard input: one JSON message a packet, file
descriptors beside it. It stays single-threaded, since a fork copies only the thread that asked for it.
"""

import array
import gc
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
import traceback

_MAX_PACKET = 64 * 1024


def main():
    """Imports, says hello, then forks on request until the host goes away."""
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    options = json.loads(sys.argv[1])
    sys.stdout.reconfigure(line_buffering=True)
    sys.stderr.reconfigure(line_buffering=True)
    started = time.monotonic()
    try:
        hello = _import(options["preload"])
    except BaseException as error:
        traceback.print_exc()
        _send(control, {"kind": "failed", "message": f"{type(error).__name__}: {error}"})
        return
    hello["import_ms"] = int((time.monotonic() - started) * 1000)
    hello["fence"] = json.loads(os.environ.pop("LODEWAY_FENCE", "null"))
    wake, woken = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    # what is there now is shared by all children; the collector must not touch (and so copy) it
    gc.collect()
    gc.freeze()
    _send(control, hello)
    children = set()
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == wake:
                _drain(wake)
                _reap(control, children)
            else:
                request = _receive(control)
                if request is None:
                    return
                _fork(control, children, (wake, woken), options, *request)


def _import(preload):
    import numpy  # noqa: F401
    import pandas  # noqa: F401

    import mlflow
    import mlflow.pyfunc
    import mlflow.pyfunc.scoring_server  # noqa: F401

    from . import child, fence, values, wire  # noqa: F401

    for name in preload:
        try:
            __import__(name)
        except ImportError:
            pass
    _map_packages()
    return {
        "kind": "hello",
        "python": sys.version.split()[0],
        "mlflow": mlflow.__version__,
        "threads": int(_status("self").get("Threads", 1)),
    }


def _map_packages():
    """Has MLflow look through the installed packages here, which every `load_model` would do again."""
    try:
        from mlflow.utils import requirements_utils

        requirements_utils._init_modules_to_packages_map()
    except Exception:
        # only time is lost, in each child
        traceback.print_exc()


def _send(control, message, fds=()):
    ancillary = []
    if fds:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
    control.sendmsg([json.dumps(message).encode()], ancillary)


def _receive(control):
    packet, fds, _, _ = socket.recv_fds(control, _MAX_PACKET, 4)
    if not packet:
        return None
    return json.loads(packet), fds


def _drain(fd):
    try:
        while os.read(fd, 4096):
            pass
    except BlockingIOError:
        pass


def _reap(control, children):
    """Reports the children that ended, after killing what they leave behind.

    The group is killed while the dead child still holds its number, so no other group can be meant.
    """
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None:
            return
        pid = ended.si_pid
        try:
            os.killpg(pid, signal.SIGKILL)
        except OSError:
            pass
        os.waitpid(pid, 0)
        if pid not in children:
            # what a child of a child left behind
            continue
        children.discard(pid)
        _kill_strays(children)
        _send(
            control,
            {
                "kind": "exited",
                "pid": pid,
                "signal": ended.si_status if ended.si_code != os.CLD_EXITED else None,
                "code": ended.si_status if ended.si_code == os.CLD_EXITED else None,
            },
        )


def _kill_strays(children):
    """Kills what left its model's process group and lost its parent, and so became a child of this process.

    Again and again, since each may leave children of its own; bounded, for they might come faster than they go.
    """
    for _ in range(20):
        own = _status("self").get("NSpid", "").split()
        found = False
        for name in os.listdir("/proc") if own else ():
            status = _status(name) if name.isdigit() else {}
            numbers = status.get("NSpid", "").split()
            # the last number is the one in our own namespace
            stray = status.get("PPid") == own[0] and numbers and int(numbers[-1]) not in children
            if stray and status.get("State", "Z")[0] != "Z":
                found = True
                try:
                    os.kill(int(numbers[-1]), signal.SIGKILL)
                except OSError:
                    pass
        if not found:
            return


def _status(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}
    except OSError:
        return {}


def _fork(control, children, wakers, options, request, fds):
    call = request["id"]
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        _send(control, {"kind": "refused", "id": call, "message": f"cannot fork: {error}"})
        for fd in fds:
            os.close(fd)
        return
    if pid == 0:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            for fd in wakers:
                os.close(fd)
            _child(parent, options, request, fds)
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            _leave(code)
    children.add(pid)
    for fd in fds:
        os.close(fd)
    pidfd = os.pidfd_open(pid)
    try:
        _send(control, {"kind": "forked", "id": call, "pid": pid}, [pidfd])
    finally:
        os.close(pidfd)


def _child(parent, options, request, fds):
    import numpy

    from . import child, fence

    os.setpgid(0, 0)
    fence.die_with_parent(parent)
    sock_fd, output = fds
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    scratch = request["scratch"]
    os.environ.update(HOME=scratch, TMPDIR=scratch, MPLCONFIGDIR=scratch, XDG_CACHE_HOME=scratch)
    tempfile.tempdir = None
    # all children would draw the same numbers; Python's own generator sees to that itself
    numpy.random.seed()
    os.chdir(scratch)
    if request["fenced"]:
        fence.restrict(request["read"], request["write"] + [scratch])
    with socket.socket(fileno=sock_fd) as sock:
        child.main(sock, request["folder"], options["max_body_bytes"])


def _leave(code):
    """Ends the child with what Python does at an end, and never comes back into the zygote's loop."""
    import atexit

    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
