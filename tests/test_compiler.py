"""Machine code that cannot be had: one line says why, and plans run as lists."""

import os
import stat
import subprocess
import sys

import pytest

from dpbook_utils import settings
from dpbook_utils.graphs import compiler

needs_a_compiler = pytest.mark.skipif(compiler.library() is None, reason="no C compiler on this machine")


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """An empty cache, and nothing remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DPBOOK_COMPILED", raising=False)
    compiler.library.cache_clear()
    yield tmp_path
    compiler.library.cache_clear()


def script(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def refused(caplog):
    assert compiler.library() is None and compiler.library() is None
    line, = caplog.messages  # once
    assert "\n" not in line and "run without machine code" in line and "DPBOOK_COMPILED=off" in line
    return line


@needs_a_compiler
def test_compiled_once_and_kept(fresh, monkeypatch):
    assert compiler.library() is not None
    built, = (fresh / "cache" / "dpbook").iterdir()
    compiler.library.cache_clear()
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("it is there"))
    assert compiler.library() is not None
    assert not built.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def test_the_key_names_source_flags_compiler_and_processor(monkeypatch, fresh):
    command = [sys.executable]
    keys = {compiler._key(command), compiler._key([*command, "-m32"]), compiler._key(["/bin/sh"])}
    monkeypatch.setattr(compiler, "_instructions", lambda: ("another processor",))
    keys.add(compiler._key(command))
    monkeypatch.setattr(compiler, "FLAGS", ("-O1",))
    keys.add(compiler._key(command))
    other = fresh / "table.c"
    other.write_text("another source")
    monkeypatch.setattr(compiler, "SOURCE", other)
    keys.add(compiler._key(command))
    assert len(keys) == 6


def test_no_compiler(monkeypatch, caplog):
    monkeypatch.setenv("CC", "no-such-compiler")
    assert "there is no C compiler no-such-compiler" in refused(caplog)


@pytest.mark.parametrize("text, reason", [
    ("echo 'unknown option -march=native' >&2; exit 1", "unknown option -march=native"), ("exit 0", "wrote nothing"),
    ('for x; do [ "$last" = -o ] && echo text > "$x"; last="$x"; done', "table-")])
def test_a_compiler_that_fails_or_makes_something_else(fresh, monkeypatch, caplog, text, reason):
    monkeypatch.setenv("CC", script(fresh / "cc", text))
    assert reason in refused(caplog)


def test_a_cache_that_cannot_be_written(fresh, monkeypatch, caplog):
    (fresh / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh / "file"))
    assert "file" in refused(caplog)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache(fresh, caplog):
    (fresh / "cache" / "dpbook").mkdir(parents=True, mode=0o500)
    refused(caplog)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no users to tell apart")
def test_a_cache_that_others_can_write_to(fresh, caplog):
    folder = fresh / "cache" / "dpbook"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert f"others can write to {folder}" in refused(caplog)


def test_switched_off(monkeypatch, caplog):
    monkeypatch.setenv("DPBOOK_COMPILED", "off")
    assert compiler.library() is None and not caplog.messages
    compiler.library.cache_clear()
    monkeypatch.setenv("DPBOOK_COMPILED", "no")
    with pytest.raises(ValueError, match="DPBOOK_COMPILED is 'no'; set it to one of on, off"):
        settings.compiled()


@needs_a_compiler
def test_a_damaged_file_in_the_cache_is_explained(fresh, caplog):
    built = compiler._built(compiler._cache())
    built.write_bytes(b"damaged")
    assert str(built) in refused(caplog)
