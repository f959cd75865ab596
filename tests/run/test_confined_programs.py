"""--root, --no-network and --read-only, also for programs that the program executes."""

import subprocess
import sys
from pathlib import Path

import pytest
from guest_runs import Build

PATIENCE = 30  # seconds
TRIES = """
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
static void say(const char *what, int result) { printf("%s %s\\n", what, result < 0 ? strerror(errno) : "done"); }
int main(int count, char **arguments) {
    char name[256] = "";
    say("secret", open("../secret", O_RDONLY));
    say("absolute", open(arguments[1], O_RDONLY));
    say("own", open("/program", O_RDONLY));
    say("new", open("/new", O_CREAT | O_WRONLY, 0600));
    say("socket", socket(AF_INET, SOCK_STREAM, 0));
    say("cwd", getcwd(name, sizeof name) ? 0 : -1);
    printf("%s\\n", name);
    fflush(stdout);
    if (count < 3)
        return execl("/link", "program", arguments[1], "again", NULL);
    return 0;
}
"""
REFUSED = ["Read-only file system", "Permission denied"]


@pytest.mark.parametrize(
    ("options", "new", "connected"),
    [([], "done", "done"), (["--read-only", "--no-network"], *REFUSED)],
    ids=["root", "all"],
)
def test_executed_programs_are_confined_too(
    options: list[str], new: str, connected: str, build_program: Build, tmp_path: Path
) -> None:
    source, root = tmp_path / "program.c", tmp_path / "root"
    source.write_text(TRIES)
    root.mkdir()
    (root / "program").write_bytes(build_program(source, "-O1").read_bytes())
    (root / "program").chmod(0o755)
    (root / "link").symlink_to("/../program")
    (tmp_path / "secret").write_text("secret")
    command = [
        sys.executable,
        "-m",
        "vmjit",
        "run",
        "--root",
        str(root),
        *options,
        "/program",
        str(tmp_path / "secret"),
    ]
    found = subprocess.run(command, capture_output=True, timeout=PATIENCE, text=True)
    absent = "No such file or directory"
    once = [f"secret {absent}", f"absolute {absent}", "own done", f"new {new}", f"socket {connected}", "cwd done", "/"]
    assert found.stdout.splitlines() == 2 * once, found.stderr
    assert found.returncode == 0
