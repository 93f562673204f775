"""Runs commands in processes forked from this one, which has everything imported: started by `faults.Forge`.

One task a line on standard input: {words | act, cwd, gone, env, given, out, err, arm, programs}. It is answered by the
process id and, after its end and that of all that it has started, by the exit status. Where `faults.c` is preloaded, it
is armed in the forked process only, or in the `programs` that it runs as well. Arguments are names of modules to import
besides.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import posix
import sys
import traceback
from contextlib import suppress
from typing import Any

import children
import dulwich.client
import dulwich.file
import dulwich.graph
import dulwich.index
import dulwich.pack
import dulwich.walk

from ai_memory_mcp import (
    __main__,
    backup,
    brief,
    consolidate,
    contradictions,
    emit_rare,
    emit_stream,
    erasing,
    feedback,
    hookbrief,
    importing,
    ingest,
    redact,
    reindex,
    remote,
    renaming,
    retention,
    reverting,
    settle,
    wiki_rewrite,
    writing,
)
from ai_memory_mcp.cli import erase, imports, keep, main, run, token, upkeep, use, wire
from ai_memory_mcp.errors import AiMemoryError

PRELOADED = (children, dulwich, brief, consolidate, contradictions, emit_rare, emit_stream, feedback, hookbrief)
PRELOADED_TOO = (importing, ingest, redact, reindex, remote, reverting, settle, writing, imports, main, run, token, use)
PRELOADED_LAST = (retention, upkeep, wire, erase, erasing, wiki_rewrite, keep, backup, renaming)


ADOPT = 36  # PR_SET_CHILD_SUBREAPER


def serve() -> None:
    """Do one task after the other until the end of the input."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(ADOPT, 1)  # whose parent is killed becomes a child of this process
    for line in sys.stdin:
        task = json.loads(line)
        ended, held = os.pipe()
        pid = os.fork()
        if not pid:
            os._exit(do(task, held))
        os.close(held)
        tell(pid)
        status = os.waitpid(pid, 0)[1]
        os.read(ended, 1)  # the workers that it has started have ended as well
        os.close(ended)
        with suppress(ChildProcessError):
            while True:
                os.wait()
        tell(os.waitstatus_to_exitcode(status))


def tell(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def do(task: dict[str, Any], held: int) -> int:
    """Run the command, or the function "module:name" with the arguments that `act` tells; returns its exit status."""
    os.set_inheritable(held, True)
    posix.environ[b"AI_MEMORY_HOLD"] = str(held).encode()
    for fd, name in enumerate(("given", "out", "err")):
        os.dup2(os.open(task[name], os.O_RDONLY if fd == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), fd)
    os.chdir(task["cwd"])
    os.environ |= {"PWD": task["cwd"], **task["env"]}
    if task["gone"]:
        os.rmdir(task["cwd"])
    if task["arm"]:
        if task["programs"]:
            os.environ["FAULT_ARM"] = "\n".join(map(str, [*task["arm"], os.getpid()]))
        ctypes.CDLL(None).fault_arm(*(value.encode() if isinstance(value, str) else value for value in task["arm"]))
    try:
        if task["words"]:
            sys.argv = ["ai-memory-mcp", *task["words"]]
            code = __main__.main()
        else:
            name, *told = task["act"]
            module, _, function = name.partition(":")
            code = getattr(importlib.import_module(module), function)(*told) or 0
        sys.stdout.flush()
        return int(code)
    except SystemExit as end:
        return int(end.code or 0)
    except AiMemoryError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except BaseException:
        traceback.print_exc()
        return 99


if __name__ == "__main__":
    for name in sys.argv[1:]:
        importlib.import_module(name)
    serve()
