"""The identity of the host is the same each time, says what matters, and costs little."""

import os
import subprocess
import sys

from vmjit.jit.host import _processor, host_identity

CPUINFO = """processor\t: 0
vendor_id\t: Genuine
model name\t: Some  CPU
cpu MHz\t\t: 1234.5
flags\t\t: fpu sse

processor\t: 1
vendor_id\t: Other
"""


def test_it_is_stable_across_processes():
    code = "from vmjit.jit.host import host_identity; print(host_identity())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert other == host_identity() + "\n"


def test_it_names_machine_processor_and_library():
    text = host_identity()
    assert text.startswith(f"machine: {os.uname().machine}\n")
    assert "\nllvmlite: version_version = '0.50." in text
    assert "\nlibllvmlite.so: " in text
    assert "flags: " in text or "Features: " in text


def test_it_is_cheap():
    """Without its imports, well below 5 ms in a new process; the bound leaves room for a busy host."""
    code = (
        "import time; from vmjit.jit.host import host_identity;"
        "t = time.perf_counter(); host_identity(); print(time.perf_counter() - t)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(5)]
    assert min(map(float, runs)) < 0.005


def test_only_the_lasting_fields_of_the_first_processor_count(tmp_path):
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    found = _processor(str(tmp_path / "cpuinfo"))
    assert found == ["vendor_id: Genuine", "model name: Some  CPU", "flags: fpu sse"]
