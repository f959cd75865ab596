"""Build the small ELF files that are shipped with the sources, so that nobody needs a cross compiler to run them.

`python tests/programs/build.py` rebuilds `elf/*` from `asm/*.S`, `examples/guests/*` from `examples/*.c`,
`benchmarks/kernels/elf/*` from `benchmarks/kernels/*.c` and the same in `benchmarks/programs`; `--expected` also runs
them under qemu-riscv64 and stores their standard output next to them as `NAME.expected`. The library that vmjit itself
ships, `vmjit/linux/linux-vdso.so.1`, is made here, too.
The invariant, which a test checks: the same compiler gives the same bytes; `elf/TOOLCHAIN` says which compiler.
"""

import argparse
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
COMPILER = "riscv64-linux-gnu-gcc"
LINK_FLAGS = (
    "-nostdlib",
    "-static",
    "-no-pie",
    "-Wl,--build-id=none",
    "-Wl,-z,max-page-size=4096",
    "-Wl,-z,noexecstack",
)
VDSO = ROOT / "vmjit" / "linux" / "vdso.S"
VDSO_LINK_FLAGS = (
    "-nostdlib",
    "-shared",
    "-s",
    "-Wl,-soname=linux-vdso.so.1",
    "-Wl,--hash-style=both",
    "-Wl,--eh-frame-hdr",
    "-Wl,--build-id=none",
    "-Wl,-z,max-page-size=4096",
    f"-Wl,-T,{VDSO.with_suffix('.lds')}",
)
C_FLAGS = ("-std=gnu11", "-O2", "-ffreestanding", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-Wall")
# Kernels print the bits of their results, so they must do the operations that stand in the source and no fused ones;
# and without small data, which the linker would put into one segment with the code, writable and executable.
KERNEL_FLAGS = (*C_FLAGS, "-ffp-contract=off", "-fno-math-errno", "-msmall-data-limit=0")


@dataclass(frozen=True)
class Target:
    """One shipped ELF file: `path` is relative to the root of the repository."""

    source: Path
    path: Path
    flags: tuple[str, ...]
    link_flags: tuple[str, ...] = LINK_FLAGS


def directive(source: Path, name: str, default: str = "") -> str:
    """The value of a `# name: value` or `// name: value` line in the comment that opens a source file."""
    for line in source.read_text().splitlines():
        if not line.startswith(("#", "//")) or line.startswith("#include"):
            break
        key, colon, value = line.lstrip("#/ ").partition(": ")
        if colon and key == name:
            return value
    return default


def targets() -> Iterator[Target]:
    """Every shipped ELF file, in a fixed order."""
    for source in sorted((HERE / "asm").glob("*.S")):
        march = directive(source, "march", "rv64gc")
        include = f"-Wa,-I{source.parent}"
        yield Target(source, Path("tests/programs/elf") / source.stem, (f"-march={march}", include))
    for source in sorted((ROOT / "examples").glob("*.c")):
        yield Target(source, Path("examples/guests") / source.stem, ("-march=rv64gc", *C_FLAGS))
    for folder in ("kernels", "programs"):
        for source in sorted((ROOT / "benchmarks" / folder).glob("*.c")):
            path = Path("benchmarks") / folder / "elf" / source.stem
            yield Target(source, path, ("-march=rv64gc", *KERNEL_FLAGS))
    yield Target(VDSO, Path("vmjit/linux/linux-vdso.so.1"), ("-march=rv64gc",), VDSO_LINK_FLAGS)


def build(target: Target, root: Path) -> Path:
    """Compile one target below `root` and return where it is."""
    output = root / target.path
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        # The linker keeps the object file's name as a symbol, so it must be the same in every build.
        objects = (f"{target.source.stem}.o",)
        compile_flags = ("-mabi=lp64d", *target.flags, "-fno-pic", "-c", str(target.source), "-o", *objects)
        for flags in (compile_flags, ("-mabi=lp64d", *target.link_flags, *objects, "-o", str(output.resolve()))):
            subprocess.run([COMPILER, *flags], check=True, cwd=scratch)
    return output


def toolchain() -> str | None:
    """The versions of the cross compiler and assembler, or None when there is none."""
    if shutil.which(COMPILER) is None:
        return None
    tools = (
        (COMPILER, "--version"),
        (COMPILER, "-Wa,--version", "-c", "-x", "assembler", "/dev/null", "-o", "/dev/null"),
    )
    lines = [subprocess.run(tool, capture_output=True, text=True).stdout.splitlines()[0] for tool in tools]
    return "\n".join(lines) + "\n"


def store_expected(target: Target) -> None:
    """Run a built program under qemu-riscv64 with the arguments its source names and keep what it prints."""
    if target.source != VDSO and directive(target.source, "expected") != "by hand":
        program = ROOT / target.path
        command = ["qemu-riscv64", str(program), *shlex.split(directive(target.source, "args"))]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
        program.with_name(program.name + ".expected").write_bytes(result.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expected", action="store_true", help="also store the output under qemu-riscv64")
    options = parser.parse_args()
    version = toolchain()
    if version is None:
        parser.exit(1, f"{COMPILER} is not installed\n")
    for target in targets():
        print(build(target, ROOT).relative_to(ROOT))
        if options.expected:
            store_expected(target)
    (HERE / "elf" / "TOOLCHAIN").write_text(version)


if __name__ == "__main__":
    main()
