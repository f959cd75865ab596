"""A real program with hundreds of applets: busybox, static for riscv64, driven by shell scripts.

Set VMJIT_TEST_BUSYBOX to its path (tests/programs/fetch_debian.sh gets busybox-static); without it all is skipped.
A script's output is compared with that under qemu-riscv64. qemu-user cannot execve a guest program without binfmt_misc:
on its PATH each applet is a script of the host, while vmjit finds links to the guest's file. Scripts that execute that
file by name, as /proc/self/exe say, carry their known answer instead.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from guest_runs import Invocation, Judge, Outcome, prepare_files, run_qemu, run_vmjit

TIERS = ("interpreter", "auto")  # each process of a shell compiles for itself, which takes minutes when all is hot


@dataclass(frozen=True)
class Script:
    """A shell script; `answer` is its output where qemu cannot be asked."""

    name: str
    text: str
    answer: str | None = None
    code: int = 0
    stdin: str = ""


# ruff: noqa: E501  (a script is easier to read on one line)
SCRIPTS = (
    Script("loops", "for i in 1 2 3; do for j in a b; do echo $i$j; done; done; n=0; while [ $n -lt 500 ]; do n=$((n+1)); done; echo $n"),
    Script("arithmetic", "echo $((7*6)) $((-7/2)) $((-7%3)) $((1<<40)) $((0xff ^ 0x0f)) $((5>3&&2>1)) $((010)); x=5; echo $((x+=3)) $((x++)) $x"),
    Script("functions", "fact() { [ $1 -le 1 ] && echo 1 || echo $(($1 * $(fact $(($1-1))))); }; fact 12; f() { return 7; }; f; echo $?"),
    Script("case", 'for w in apple bus 42 "" x.c; do case "$w" in a*) echo A;; [0-9]*) echo digit;; "") echo empty;; *.c) echo C;; *) echo other;; esac; done'),
    Script("here_document", "name=world; cat <<END; cat <<'END'\nhello $name $((1+1)) $(echo nested)\nEND\nraw $name\nEND\n"),
    Script("substitution", 'a=$(printf "x y z"); set -- $a; echo $# $3; echo "${a#x }" "${a%z}" "${b:-default}" "${#a}"; echo `echo back`'),
    Script("pipes", "seq 100 | grep 7 | sed 's/7/seven/' | tail -n 4 | tr a-z A-Z | rev; false | true; echo $?"),
    Script("expansion", 'echo tree/*.txt tree/?/*; x="a  b"; echo $x "$x"; IFS=:; y=p:q; echo $y; echo ~ > /dev/null; echo {a,b}'),
    Script("traps", "trap 'echo bye' EXIT; (exit 3); echo $?; set -e; echo before; false; echo never", code=1),
    Script("signals", "trap 'echo got usr1' USR1; kill -USR1 $$; sleep 0; echo after"),
    Script("redirection", "echo one > out; echo two >> out; cat < out; echo error >&2; { echo a; echo b; } > both; wc -l < both; rm out both"),
    Script("background", "(echo child) | cat & true; sleep 0.1; echo parent"),
    Script("wait", "(echo child) & wait; echo parent; sleep 0 & wait $!; echo $?"),
    Script("read_input", "while read first rest; do echo \"$rest/$first\"; done", stdin="one two three\nfour five\n"),
    Script("ls_long", "ls -l lines.txt tree/a; ls -1 -F tree; ls -ln tree/b | tail -n 2"),
    Script("sort", "sort lines.txt | head -n 5; sort -k3n -r lines.txt | head -n 5; sort -u -t' ' -k2,2 lines.txt; sort -c lines.txt", code=1),
    Script("awk", "awk '{ n[$5 == \"\" ? \"none\" : substr($5,1,1)] += $3 } END { for (k in n) print k, n[k] }' lines.txt | sort; awk 'BEGIN { printf \"%.6f %e %d\\n\", 2/3, 1e10/7, 7/2; print length(\"abc\"), index(\"hay\",\"y\"), toupper(\"up\") }'"),
    Script("sed", "sed -n '3,6p;s/line 1\\([0-9]\\) /L\\1-/p' lines.txt; sed -e '/[05] of/d' -e 'y/abc/xyz/' -e '$!N;s/\\n/+/' lines.txt | tail -n 3"),
    Script("grep_recursive", "grep -rl deep tree | sort; grep -c 'of a' lines.txt; grep -nE '(1[0-9]|77) of' lines.txt | head; grep -v line lines.txt; echo $?"),
    Script("tar", "tar cf t.tar tree; tar tf t.tar | sort; mkdir x; tar xf t.tar -C x; diff -r tree x/tree && echo same; rm -r x t.tar"),
    Script("gzip", "gzip -c lines.txt > l.gz; gunzip -c l.gz | cmp - lines.txt && echo same; head -c 300000 /dev/zero | gzip | wc -c; gzip -c l.gz | gunzip | gunzip | md5sum; rm l.gz"),
    Script("bzip2_xz", "bzip2 -c lines.txt | bunzip2 -c | cmp - lines.txt && echo same"),
    Script("hashes", "md5sum lines.txt; sha1sum lines.txt; sha256sum lines.txt tree/a/one; sha512sum lines.txt; cksum lines.txt; seq 20000 | sha256sum"),
    Script("find", "find tree -type f -name '*.txt' | sort; find tree -type d | wc -l; find tree -size +1k | sort; find tree -name one -print0 | od -c"),
    Script("wc", "wc lines.txt; wc -c tree/a/one; cat lines.txt lines.txt | wc -lw"),
    Script("cut_tr", "cut -d' ' -f1,3 lines.txt | head -n 4; cut -c2-6 lines.txt | tail -n 2; tr -s 'a-z' < lines.txt | tr -d '0-9\\n' | head -c 60; echo"),
    Script("head_tail", "head -n 3 lines.txt; tail -n 2 lines.txt; tail -c 20 lines.txt; head -c 10 lines.txt; tail -n +198 lines.txt"),
    Script("diff", "sed 's/line 5 /LINE 5 /;/line 9 /d' lines.txt > other; diff lines.txt other; diff -u lines.txt other | tail -n +3; cmp lines.txt other; rm other", code=0),
    Script("expr", "expr 6 \\* 7; expr length hello; expr abcdef : 'abc\\(.*\\)'; expr 9 / 2 + 1; expr 0; echo $?"),
    Script("printf", "printf '%s|%5d|%-5s|%05.2f|%x|%o|%c|%%|%b\\n' a 42 b 3.14159 255 8 z 'tab\\there'; printf '%d ' 1 2 3"),
    Script("seq", "seq 5; seq 2 3 11; seq -s, 1 0.5 3; seq -w 8 11"),
    Script("xargs", "seq 10 | xargs -n 3 echo row; printf 'a b\\nc\\n' | xargs; echo x y | xargs -n1 printf '[%s]\\n'"),
    Script("od", "head -c 40 lines.txt | od -A x -t x1z; head -c 16 lines.txt | od -t u4; printf '\\001\\377' | hexdump -C"),
    Script("files", "mkdir -p d/e; cp lines.txt d; mv d/lines.txt d/e/l; ln -s e/l d/s; readlink d/s; cat d/s | wc -l; chmod 600 d/e/l; stat -c '%a %s %F' d/e/l; touch d/n; test -s d/n; echo $?; rm -r d; ls d", code=1),
    Script("bc", "echo '2^100; scale=30; 355/113; sqrt(2)' | bc"),
    Script("text_tools", "seq 6 | paste - - -; seq 3 | nl; printf 'b\\na\\na\\n' | sort | uniq -c; seq 4 | tac; echo abc | rev; fold -w 9 lines.txt | head -n 3; printf 'a\\tb\\n' | expand"),
    Script("base64", "base64 lines.txt | head -n 2; base64 lines.txt | base64 -d | cmp - lines.txt && echo same"),
    Script("process_environment", "export A=1; env | grep ^A=; (unset A; env | grep -c ^A=); echo ${PATH:+set}; pwd -P > /dev/null; umask 027; umask"),
    Script("date", "date -u -d @0; date -u -d @1700000000 '+%Y-%m-%d %H:%M:%S %a %j %U'; TZ=EST5EDT,M3.2.0,M11.1.0 date -d @1720000000; date -u -d '2024-02-29 12:00' +%s; cal 2 2024"),
    Script("dd", "dd if=lines.txt bs=100 skip=2 count=3 2>/dev/null | md5sum; seq 30 | dd of=o bs=7 seek=2 2>/dev/null; od -c o | head -n 3; dd if=/dev/zero of=o bs=1k count=100 conv=notrunc 2>&1 | grep records; wc -c < o; truncate -s 10 o; stat -c %s o"),
    Script("identity", "uname -m; uname -s; uname -o; id -u; id -un; whoami; groups; test \"$(id)\" && echo yes; hostname | wc -l; test $(nproc) -gt 0 && echo cpus; tty; getconf 2>/dev/null; logname 2>/dev/null; echo $$ | grep -c '^[0-9]*$'"),
    Script("stat", "stat -c '%n %s %F %A %a %u %g %h %Y' lines.txt tree tree/a/one; touch -d '2020-01-02 03:04:05' t; stat -c '%y %Y' t; touch -r lines.txt t; stat -c %Y t; stat -L -c %F /dev/null; stat nothing; echo $?"),
    Script("links", "ln lines.txt hard; stat -c %h hard; ln -s hard soft; readlink -f soft | sed 's,.*/,,'; ls -l soft | sed 's/.*soft/soft/'; cmp hard soft && echo same; rm hard; cat soft 2>&1; test -L soft && echo dangling; mkfifo p; (cat p; echo read) & echo through fifo > p; sleep 0.1; test -p p && echo fifo"),
    Script("copy_move", "cp -r tree copy; cp -p lines.txt copy/; stat -c %Y copy/lines.txt; mv copy/a copy/z; find copy | sort; chmod -R go-rwx copy; stat -c %a copy copy/top.txt; chmod u=rw,g=r,o= copy/top.txt; stat -c %A copy/top.txt; rmdir copy/b; rm -rf copy; test -e copy; echo $?; mkdir -m 700 -p m/n; stat -c %a m/n"),
    Script("tests", "[ 3 -lt 5 ] && echo lt; [ abc = abc -a -n x ] && echo and; [ -d tree -o -f none ] && echo or; test -x lines.txt; echo $?; [ lines.txt -nt none ] && echo newer; [ ! -e none ] && echo absent; [[ abc == a* ]] && echo glob; test; echo $?; [ 1 -eq x ]; echo $?"),
    Script("timeouts", "timeout 5 echo in time; timeout 0.2 sleep 20; echo $?; time sleep 0.1 2>&1 | wc -l; sleep 0.1; usleep 1000; echo slept",
           answer="in time\n143\n3\nslept\n"),
    Script("kill", "sleep 30 & kill $!; sleep 0.1; (kill -9 $(sh -c 'echo $PPID')); echo $?; sh -c 'kill -TERM $$'; echo $?; sh -c 'kill -SEGV $$'; echo $?; kill -0 $$ && echo alive; kill -l 15; kill -l | head -n 3"),
    Script("environment", "env -i A=b env; env A=1 B=2 sh -c 'echo $A$B'; env -u HOME sh -c 'echo ${HOME-none}'; setsid echo session; which ls | wc -l; which none; echo $?",
           answer="A=b\n12\nnone\nsession\n1\n1\n"),
    Script("shell_pipelines", "yes | head -n 3; (exit 5) | (exit 6); echo $?; echo a | tee t1 t2 | cat - t1; cat t2; x=$(seq 3 | while read n; do echo $((n*n)); done); echo $x; { echo out; echo err >&2; } 2>&1 | sort; ls none 2>/dev/null || echo failed; (cd tree && ls) | wc -l"),
    Script("awk_programs", "awk 'function f(n) { return n < 2 ? n : f(n-1) + f(n-2) } BEGIN { print f(16); print substr(\"hello\", 2, 3), split(\"a:b:c\", p, \":\"), p[3]; x = \"abcabc\"; print gsub(/b/, \"[&]\", x), x; printf \"%5.1f|%-6s|%c|%x|%g\\n\", 3.14159, \"ab\", 65, 255, 1e-5; print 1e6, 0.1 + 0.2, 2 ** 0.5, int(-3.7), exp(1), atan2(1, 1), sin(1), log(10); while ((\"seq 3\" | getline l) > 0) s = s l; print s; print match(\"foobar\", /o+/), RSTART, RLENGTH }'; awk -F' ' 'NR % 50 == 0 { print NR, NF, $NF } END { print NR }' lines.txt"),
    Script("xz_archives", "tar czf t.tgz tree; tar tzf t.tgz | sort | head -n 2; find tree | sort | cpio -o -H newc 2>/dev/null | cpio -t 2>/dev/null | wc -l; tar cf - tree | tar tf - | wc -l; gzip -9 < lines.txt | gzip -d | wc -c; seq 5000 | bzip2 | bunzip2 | md5sum; uuencode x < lines.txt | uudecode -o - | cmp - lines.txt && echo same"),
    Script("names", "basename /a/b.c .c; dirname /a/b.c; realpath tree/../lines.txt | sed 's,.*/,,'; mktemp -u x.XXXXXX | wc -c; pwd | sed 's,.*/,,' | wc -l; factor 1234567890 97; yes abc | head -n 2; cat /proc/self/comm | wc -l; ls /proc/self/fd | wc -l; shuf -e a | cat; strings -n 8 lines.txt | head -n 1; comm 2>/dev/null; ts </dev/null; crc32 lines.txt"),
    Script("exec_itself", '"$VMJIT_TEST_BUSYBOX" echo through execve; "$VMJIT_TEST_BUSYBOX" false; echo $?; exec "$VMJIT_TEST_BUSYBOX" expr 40 + 2',
           answer="through execve\n1\n42\n"),
    Script("find_exec", 'find tree -name one -exec "$VMJIT_TEST_BUSYBOX" wc -l {} \\;', answer="1 tree/a/one\n"),
    Script("exec_script", 'printf "#!$VMJIT_TEST_BUSYBOX sh\\necho script \\$1 \\$#\\n" > run; chmod +x run; ./run x y', answer="script x 2\n"),
)  # fmt: skip


@pytest.fixture(scope="session")
def busybox() -> Path:
    path = os.environ.get("VMJIT_TEST_BUSYBOX")
    if not path:
        pytest.skip("VMJIT_TEST_BUSYBOX does not name a riscv64 busybox")
    return Path(path)


def invocation_of(script: Script, path: Path) -> Invocation:
    env = {"TZ": "UTC", "LC_ALL": "C", "HOME": "/", "PATH": str(path)}
    return Invocation(("sh", "-c", script.text), script.stdin.encode(), env)


@pytest.fixture(scope="session")
def applets(busybox: Path, qemu: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of programs for PATH: the applets under qemu in `host`, links to busybox in `guest`."""
    folder = tmp_path_factory.mktemp("applets")
    names = subprocess.run([qemu, str(busybox), "--list"], capture_output=True, text=True, check=True, timeout=60)
    (folder / "host").mkdir()
    (folder / "guest").mkdir()
    for name in names.stdout.split():
        path = folder / "host" / name
        path.write_text(f'#!/bin/sh\nexec {qemu} -0 {name} {busybox} "$@"\n')
        path.chmod(0o755)
        (folder / "guest" / name).symlink_to(busybox)
    return folder


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> "Judge":
    """What a script prints: its known answer, or what qemu says, asked once per script and session."""
    outcomes: dict[tuple[str, ...], Outcome] = {}

    def judge(program: Path, invocation: Invocation) -> Outcome:
        if invocation.args not in outcomes:
            qemu = request.getfixturevalue("qemu")
            outcomes[invocation.args] = run_qemu(
                qemu, program, invocation, prepare_files(tmp_path_factory.mktemp("busybox"))
            )
        return outcomes[invocation.args]

    return judge


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("script", SCRIPTS, ids=[script.name for script in SCRIPTS])
def test_script(script: Script, tier: str, busybox: Path, applets: Path, expected: Judge, tmp_path: Path) -> None:
    if script.answer is None:
        wanted = expected(busybox, invocation_of(script, applets / "host"))
        assert wanted.code == script.code
        assert wanted.stdout, "a script that prints nothing tests nothing"
    else:
        wanted = Outcome(script.answer.encode(), script.code)
    outcome = run_vmjit(tier, busybox, invocation_of(script, applets / "guest"), prepare_files(tmp_path))
    assert outcome == wanted
