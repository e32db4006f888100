"""The child process of a panel: its lines, its end, and that nothing of it is left."""

import os
import sys
import textwrap
import time

import pytest

import tree

POLITE = """
import signal, sys, time
def end(*_):
    print("saved", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
grandchild = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
grandchild.stdout.readline()
print(grandchild.pid, flush=True)
time.sleep(60)
"""


class Watched:
    """A child process with what it told."""

    def __init__(self, folder):
        import qt

        from SyntheticContrastLib.gui.child_process import ChildProcess

        self.events = qt.QCoreApplication.processEvents
        self.folder, self.child = folder, ChildProcess()
        self.lines, self.statuses = [], []

    def start(self, code, *arguments):
        self.statuses.clear()
        script = self.folder / "script.py"
        script.write_text(textwrap.dedent(code), encoding="utf-8")
        self.child.start(script, arguments, lambda *line: self.lines.append(line), self.statuses.append)

    def until(self, happened, seconds=20):
        deadline = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < deadline, self.lines
            self.events()
            time.sleep(0.01)

    def status_at_end(self):
        self.until(lambda: self.statuses)
        return self.statuses[-1]


@pytest.fixture
def watched(mrmlScene, tmp_path):
    watched = Watched(tmp_path)
    yield watched
    watched.child.close(0)


def lives(pid):
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_lines_come_whole_and_in_order_and_the_status_last(watched):
    watched.start(
        """
        import sys, time
        print("one", flush=True)
        sys.stdout.write("tw"); sys.stdout.flush(); time.sleep(0.4); print("o é", flush=True)
        print("wrong", file=sys.stderr)
        print("bar 1\\rbar 2\\r")
        sys.stdout.write(sys.argv[1])
        sys.exit(2)
        """,
        "the end",
    )
    assert watched.child.running
    assert watched.status_at_end() == 2
    assert [text for text, error in watched.lines if not error] == ["one", "two é", "bar 2", "the end"]
    assert [text for text, error in watched.lines if error] == ["wrong"]
    assert not watched.child.running
    watched.start("print('again')")
    assert watched.status_at_end() == 0
    assert watched.lines[-1] == ("again", False)


def test_much_output_neither_blocks_nor_is_lost(watched):
    watched.start("for n in range(50000): print(n, 'x' * 20)")
    assert watched.status_at_end() == 0
    assert len(watched.lines) == 50000


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_cancel_lets_it_save(watched):
    watched.start(POLITE)
    watched.until(lambda: watched.lines)
    watched.child.cancel(grace=20)
    assert watched.child.running and watched.child.stopping
    assert watched.status_at_end() == 3
    assert watched.lines[-1] == ("saved", False)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("how", ["grace is over", "kill", "close"])
def test_what_does_not_end_is_killed_with_its_children(watched, how):
    watched.start(STUBBORN)
    watched.until(lambda: watched.lines)
    grandchild = int(watched.lines[0][0])
    assert lives(grandchild)
    started = time.monotonic()
    if how == "close":
        watched.child.close(grace=0.5)
        assert watched.statuses == []
    else:
        watched.child.cancel(grace=0.5 if how == "grace is over" else 60)
        if how == "kill":
            watched.child.kill()
        assert watched.status_at_end() == -9
    assert time.monotonic() - started < 10
    watched.until(lambda: not lives(grandchild))
    assert not watched.child.running


def test_one_at_a_time(watched):
    watched.start("import time; time.sleep(60)")
    with pytest.raises(RuntimeError):
        watched.start("print(1)")
    watched.child.close(0)
    watched.child.close(0)
    assert watched.statuses == []


def test_what_cannot_be_started_raises(watched, monkeypatch):
    monkeypatch.setattr(sys, "executable", os.devnull)
    with pytest.raises(OSError):
        watched.start("print(1)")
    assert not watched.child.running


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_nothing_outlives_the_application(tmp_path):
    """Even where no panel ended its child."""
    import subprocess

    (tmp_path / "sleeps.py").write_text("import time; time.sleep(60)")
    code = f"""
import sys
sys.path[:0] = {tree.folders()!r}
from harness.install import installHarness
installHarness()
from pathlib import Path
from SyntheticContrastLib.gui.child_process import ChildProcess
child = ChildProcess()
child.start(Path({str(tmp_path / "sleeps.py")!r}), [], print, print)
print(child._process.pid)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not lives(int(done.stdout))
