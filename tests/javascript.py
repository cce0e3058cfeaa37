"""Node, for the tests of what runs in a page."""

import json
import shutil
import subprocess

import pytest

# What a page's worker has and Node has not. Messages go to the list SENT.
WORKER = "const SENT = []; globalThis.postMessage = message => SENT.push(message); globalThis.onmessage = null;\n"


def run(*texts: str, result: str, **data):
    """The value of the expression ``result`` after the scripts, which see ``data`` by name; numbers that are not finite
    come back as None.

    Expressions may be promises.
    """
    node = shutil.which("node")
    if node is None:
        pytest.fail("Node.js is needed to run what a page runs. Debian: apt-get install nodejs; `make unit` does it")
    given = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in data.items())
    script = "\n".join([given, *texts, f"(async () => process.stdout.write(JSON.stringify(await ({result}))))();"])
    done = subprocess.run([node, "-"], input=script, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)
