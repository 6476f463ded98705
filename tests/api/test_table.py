"""The checked-in table of inputs is what its generator makes."""

import pathlib
import subprocess
import sys

import botocore
import pytest

SHAPES = pathlib.Path(__file__).resolve().parents[2] / "src" / "api" / "shapes"


def test_generating_again_gives_the_same_bytes():
    if f"botocore {botocore.__version__}." not in (SHAPES / "table.rs").read_text():
        pytest.skip(f"the table was made from another version of botocore than {botocore.__version__}")
    done = subprocess.run([sys.executable, SHAPES / "generate.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
