"""Objects of each kind link or say why not; damaged ones never do anything else."""

import random
from contextlib import suppress

import llvm_texts
import pytest

from vmjit.errors import CompileError
from vmjit.jit.blob import Blob
from vmjit.jit.elf_object import link


def object_of(compiler, text, passes=""):
    """The object file that compile() links."""
    with compiler._module(text) as module:
        return compiler._machine.emit_object(module)


def test_symbols_are_the_global_ones(compiler):
    blob = link(object_of(compiler, llvm_texts.DATA))
    assert set(blob.symbols) == {"next", "visible"}
    assert blob.code[blob.symbols["visible"] :][:8] == (99).to_bytes(8, "little")


def test_written_data_keeps_a_page_from_code(compiler):
    blob = link(object_of(compiler, llvm_texts.DATA))
    assert blob.symbols["next"] == 0
    assert 4096 < blob.symbols["visible"] < len(blob.code) - 4096
    assert len(link(object_of(compiler, llvm_texts.SWITCH)).code) < 1024


def test_an_undefined_symbol_is_named(compiler):
    with pytest.raises(CompileError, match=r"undefined symbol 'fmod'.*library function"):
        compiler.compile(llvm_texts.LIBCALL)


def test_an_absolute_address_is_refused(compiler):
    with pytest.raises(CompileError, match=r"\.data\.rel\.ro: relocation type 1 \(x86-64\) against 'add': an absolute"):
        compiler.compile(llvm_texts.ADDRESSES)


def test_an_address_from_the_offset_table_is_refused(compiler):
    text = llvm_texts.ADD + "define ptr @where() nounwind {\n  ret ptr @add\n}"
    with pytest.raises(CompileError, match=r"'add': an address from the global offset table; declare .* dso_local"):
        compiler.compile(text)
    assert compiler.compile(text.replace("define", "define dso_local"))


def test_thread_local_data_is_refused(compiler):
    with pytest.raises(CompileError, match="thread-local"):
        compiler.compile(llvm_texts.THREAD_LOCAL)


@pytest.mark.parametrize("image", [b"", b"\x7fELF", b"MZ" + bytes(100), bytes(200)])
def test_other_files_are_refused(image):
    with pytest.raises(CompileError):
        link(image)


def test_other_machines_are_refused(compiler):
    image = bytearray(object_of(compiler, llvm_texts.ADD))
    image[18:20] = (183).to_bytes(2, "little")
    with pytest.raises(CompileError, match="machine 183; known are x86-64"):
        link(bytes(image))


@pytest.mark.parametrize("text", [llvm_texts.SWITCH, llvm_texts.with_lines(5)])
def test_truncated_objects(compiler, text):
    image = object_of(compiler, text)
    for size in range(len(image)):
        with pytest.raises(CompileError):
            link(image[:size])


@pytest.mark.parametrize(
    "text", [llvm_texts.SWITCH + llvm_texts.DATA, llvm_texts.with_lines(4), llvm_texts.with_lines(5)]
)
def test_damaged_objects_link_or_are_refused(compiler, text):
    image = object_of(compiler, text)
    source = random.Random(len(image))
    for _ in range(3000):
        damaged = bytearray(image)
        for _ in range(source.choice((1, 1, 2, 8))):
            damaged[source.randrange(len(image))] ^= 1 << source.randrange(8)
        with suppress(CompileError):
            assert isinstance(link(bytes(damaged)), Blob)
