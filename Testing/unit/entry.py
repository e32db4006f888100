"""Run a headless entry as a user does, in a process of its own, or quicker in this one."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass

import tree
from SyntheticContrastLib.synthesis.process import DONE, explain

GENERATE = tree.find("SyntheticContrastCLI/generate.py")
TRAINING_CLI = tree.find("SyntheticContrastTrainingCLI/train.py").parent


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


def load_entry(path):
    spec = importlib.util.spec_from_file_location(f"entry_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(entry, arguments, capsys):
    """`main` of an entry in this process, with the status that the process would have ended with."""
    try:
        status, line = load_entry(entry).main([str(argument) for argument in arguments]), ""
    except SystemExit as leaving:
        status, line = leaving.code or DONE, ""
    except Exception as error:
        status, line = explain(error)
    captured = capsys.readouterr()
    return Outcome(status, captured.out, captured.err + line)


def command(entry, *arguments):
    return [sys.executable, str(entry), *(str(argument) for argument in arguments)]


def run_after(prelude, entry, *arguments, **environment):
    """Run `entry` as `python entry.py arguments` does, in a process that has run the code `prelude` before."""
    code = f"import runpy, sys\n{prelude}\nsys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, *command(entry, *arguments)[1:]],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    return Outcome(done.returncode, done.stdout, done.stderr)
