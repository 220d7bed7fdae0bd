"""Runs one command and prints what it cost as a line of JSON.

CPU: every descendant is waited for, also an ssh that made itself independent (this process is their subreaper),
so `user` and `system` are what the kernel counted for all of them. Those still there when the command ends
(a ControlPersist master, say) are ended first and count with what they used until then.

Memory (only with --memory, since looking costs time): the proportional set sizes of all descendants summed
every 50 ms, the largest sum. Shared pages are counted once; a peak between two looks is missed.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time


def descendants(root):
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    parent = int(file.read().rsplit(") ", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry))
    found, todo = [], [root]
    while todo:
        for child in children.get(todo.pop(), []):
            found.append(child)
            todo.append(child)
    return found


def proportional_kib(pid):
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def main():
    memory = sys.argv[1] == "--memory"
    command = sys.argv[2:] if memory else sys.argv[1:]
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    over = threading.Event()
    peak = [0, 0]

    def look():
        while not over.is_set():
            family = descendants(os.getpid())
            peak[0] = max(peak[0], sum(map(proportional_kib, family)))
            peak[1] = max(peak[1], len(family))
            over.wait(0.05)

    watcher = threading.Thread(target=look)
    started = time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=sys.stderr)
    if memory:
        watcher.start()
    status = child.wait()
    wall = time.monotonic() - started
    over.set()
    if memory:
        watcher.join()
    left = descendants(os.getpid())
    for pid in left:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = {"status": status, "wall": wall, "cpu": used.ru_utime + used.ru_stime, "left": len(left)}
    if memory:
        result |= {"peak_kib": peak[0], "processes": peak[1]}
    print(json.dumps(result))


main()
