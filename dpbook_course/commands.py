"""How every command of this package ends, whatever console it runs in."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
CLOSED = 141  # 128 + SIGPIPE


def program(main: Callable[[], object]) -> NoReturn:
    """Run ``main`` and exit with the number that it returns, or 0.

    What the console cannot show is written as an escape. A reader who has seen enough (``| head``) ends the command
    silently, Ctrl-C in one line, and a file that cannot be read or written in one sentence.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if hasattr(stream, "reconfigure")]
    for stream in streams:
        stream.reconfigure(errors="backslashreplace")
    try:
        try:
            status = main()
        except SystemExit as end:
            status = end.code
        for stream in streams:
            stream.flush()
    except KeyboardInterrupt:
        status = INTERRUPTED
        print("\nInterrupted.", file=sys.stderr)
    except BrokenPipeError:
        status = CLOSED
    except OSError as error:
        status = 1
        print(error if error.filename else error.strerror or error, file=sys.stderr)
    for stream in streams:
        try:
            stream.flush()
        except OSError:  # what could not be written is tried once more at exit: into nothing
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(status if isinstance(status, int | str) else 0)
