"""Text in, code out; what is wrong is said in one line."""

import subprocess
import sys

import llvm_texts
import pytest

from vmjit.errors import CompileError
from vmjit.jit.compiler import PASSES, PIPELINES, STAGES, Compiler

PROMOTABLE = """
define i64 @f(i64 %a) nounwind {
  %p = alloca i64
  store i64 %a, ptr %p
  %b = load i64, ptr %p
  ret i64 %b
}
"""


def test_every_stage_has_its_seconds(compiler):
    blob, seconds = compiler.compile(llvm_texts.ADD, "sroa, instcombine,simplifycfg,dse", verify=True)
    assert tuple(seconds) == STAGES
    assert all(0 < value < 10 for value in seconds.values())
    assert blob.symbols == {"add": 0}


@pytest.mark.parametrize("name", [*PASSES, *PIPELINES])
def test_every_pass_runs_again_and_again(compiler, name):
    for _ in range(3):
        assert compiler.compile(llvm_texts.SWITCH + llvm_texts.DATA + PROMOTABLE, name)[0].code


def test_passes_run_in_order_each_time(compiler):
    for passes in ("sroa", "dce,sroa", "O1", "dse,O2,dce", "sroa"):
        assert "alloca" not in compiler.optimised_text(PROMOTABLE, passes)
    for passes in ("", "dce"):
        assert "alloca" in compiler.optimised_text(PROMOTABLE, passes)


def test_an_unknown_pass_says_which_there_are(compiler):
    with pytest.raises(ValueError, match=r"no pass 'gvn'; there are .*newgvn.*sroa.*O3"):
        compiler.compile(llvm_texts.ADD, "sroa,gvn")


def test_the_target_is_that_of_the_host(compiler):
    assert "target datalayout" in compiler.optimised_text(llvm_texts.ADD)
    assert "align 8" in compiler.optimised_text(PROMOTABLE)


@pytest.mark.parametrize(
    "text, message",
    [
        ("define i64 @f() {\n  %a = add i64 1, %q\n  ret i64 %a\n}", "line 2: use of undefined value '%q': %a = add"),
        ("define i64 @f() { ret i32 1 }", "line 1: value doesn't match function result type 'i64': define"),
        ("define i64 @f(", "line 1: expected type: define"),
    ],
)
def test_a_parse_error_quotes_the_line(compiler, text, message):
    with pytest.raises(CompileError) as caught:
        compiler.compile(text)
    assert message in str(caught.value)


def test_verify_finds_what_parsing_does_not(compiler):
    text = """define i64 @f(i1 %c) {
      br i1 %c, label %a, label %b
    a:
      %x = add i64 1, 2
      br label %b
    b:
      ret i64 %x
    }"""
    with pytest.raises(CompileError, match="does not dominate"):
        compiler.compile(text, verify=True)


def test_assembly(compiler):
    assert "add_twice:" in compiler.assembly(llvm_texts.CALL)


def test_identity_names_what_code_depends_on(compiler):
    assert compiler.identity().startswith("LLVM 22.")
    assert compiler.cpu in compiler.identity() and compiler.features in compiler.identity()
    assert Compiler(cpu="x86-64").identity() != compiler.identity()


def test_levels(compiler):
    assert len(Compiler(speed=0).compile(llvm_texts.CALL)[0].code) > len(compiler.compile(llvm_texts.CALL)[0].code)


def test_modules_are_freed(compiler):
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    def compile_many(count: int) -> None:
        for i in range(count):
            compiler.compile(llvm_texts.SWITCH.replace("11.5", f"{i}.5"), "sroa")

    compile_many(100)
    before = resident()
    compile_many(300)
    assert resident() - before < 300 * 8192  # llvmlite itself loses 1.5 KB in each run of passes; a module is 20 KB


def test_the_package_is_cheap_to_import():
    code = (
        "import sys, vmjit.jit.arena, vmjit.jit.blob, vmjit.jit.host, vmjit.jit.elf_object, vmjit.jit.compiler;"
        "vmjit.jit.host.host_identity();"
        "print({'llvmlite', 'numpy', 'importlib.metadata'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
