"""The worker's own functions, in this process: messages, what it answers, what it keeps."""

import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toy
from machines import CODE, LOOP, assemble, interpreter_of, request_for

from vmjit.debug import Settings
from vmjit.engine import worker as worker_module
from vmjit.engine.cache import Cache, Region, calls_key, handlers_key, interpreter_key
from vmjit.engine.worker import INTERPRETER_SYMBOLS, Worker, is_answer, receive, send, serve
from vmjit.errors import GuestError
from vmjit.ir.layout import EMULATED
from vmjit.jit.blob import Blob


@pytest.fixture
def pipe() -> Iterator[list[int]]:
    ends = list(os.pipe())
    yield ends
    for end in ends:
        if end >= 0:
            os.close(end)


def worker(tmp_path: Path | None = None) -> Worker:
    return Worker(toy.guest, Cache(None if tmp_path is None else str(tmp_path), "toy"), Settings())


def test_messages(pipe: list[int]) -> None:
    for message in ((), (1, "two", b"three", None, (4.5, True)), (b"x" * 1000,)):
        send(pipe[1], message)
        assert receive(pipe[0]) == message


@pytest.mark.parametrize("size", [0, 3, 8, 12])
def test_an_end_in_the_midst_is_the_end(pipe: list[int], size: int) -> None:
    os.write(pipe[1], ((20).to_bytes(8, "little") + bytes(20))[:size])
    os.close(pipe[1])
    pipe[1] = -1
    assert receive(pipe[0]) is None


def answers(made: Worker, *requests: tuple[Any, ...]) -> list[Any]:
    (source, to), (back, target) = os.pipe(), os.pipe()
    for number, (kind, *rest) in enumerate(requests):
        send(to, (kind, number, *rest))
    os.close(to)
    serve(made, source, target)
    os.close(target)
    found = []
    while (answer := receive(back)) is not None:
        found.append(answer)
    os.close(source)
    os.close(back)
    return found


def test_serve(tmp_path: Path) -> None:
    made = worker(tmp_path)
    request = request_for(assemble(LOOP))
    first, second, refused = answers(made, request, request, request_for(assemble("clock r1")))
    assert first[:2] == (0, True) and second[:2] == (1, True) and refused == (2, True, None)
    assert Region.from_bytes(first[2][0]) == Region.from_bytes(second[2][0])
    assert (first[2][2], second[2][2]) == (False, True)
    assert set(second[2][1]) == {"tables", "form"} and {"form", "trace", "passes", "lower", "emit"} <= set(first[2][1])


def test_what_goes_wrong_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    made = worker()
    problems: list[Exception] = [GuestError("expected"), KeyError("defect"), RecursionError("deep")]

    def fail(*arguments: Any) -> None:
        raise problems.pop(0)

    monkeypatch.setattr(made, "region", fail)
    told = [text for _, worked, text in answers(made, *[("region",)] * 3) if not worked]
    assert told[0] == "GuestError: expected"
    assert told[1].startswith("KeyError: 'defect' (") and "test_worker.py:" in told[1]
    assert told[2].startswith("RecursionError: deep (")


def test_what_must_not_be_hidden_is_raised(monkeypatch: pytest.MonkeyPatch, pipe: list[int]) -> None:
    made = worker()

    def interrupted() -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(made, "interpreter", interrupted)
    send(pipe[1], ("interpreter", 0))
    with pytest.raises(KeyboardInterrupt):
        serve(made, pipe[0], pipe[1])


def test_the_interpreter_has_its_table_behind_it(tmp_path: Path) -> None:
    made = worker(tmp_path)
    blob = Blob.from_bytes(made.interpreter())
    assert blob == Blob.from_bytes(interpreter_of("toy")) == made.cache.get(interpreter_key("flat"))
    assert tuple(blob.symbols) == INTERPRETER_SYMBOLS
    table = array("Q", blob.code[blob.symbols["handlers"] : blob.symbols["groups"]])
    assert array("Q", blob.code[blob.symbols["groups"] :]) == array("Q", bytes(8 * len(table)))
    variants = toy.decode_table.variants
    assert len(table) == len(variants) + 1
    assert table[0] == blob.symbols["illegal"]
    of = {variant.instruction.name: offset for variant, offset in zip(variants, table[1:], strict=True)}
    assert of["third"] == blob.symbols["emulate"]
    assert of["mov"] == of["add"] != of["ld"], "an abbreviation is executed by what it stands for"
    assert max(table) < blob.symbols["handlers"]


def test_a_group_of_handlers_says_what_they_serve(tmp_path: Path) -> None:
    made = Worker(toy.bare, Cache(str(tmp_path), "bare toy"), Settings())
    core = Blob.from_bytes(made.interpreter())
    table = array("Q", core.code[core.symbols["handlers"] : core.symbols["groups"]])
    assert table[0] == core.symbols["illegal"] not in table[1:] and len(set(table[1:])) == 1
    groups = array("Q", core.code[core.symbols["groups"] :])
    variants = [variant.instruction.name for variant in toy.bare.decode_table.variants]
    assert {groups[1 + variants.index(name)] for name in ("li", "add", "mov", "third")} == {1}
    assert [group for group, name in zip(groups[1:], variants, strict=True) if name == "step"] == [2, 3]
    blob = Blob.from_bytes(made.handlers(1))
    assert made.cache.get(handlers_key("flat", 1)) == blob
    pairs = array("Q", blob.code[blob.symbols["handlers"] :])
    found = dict(zip(pairs[::2], pairs[1::2], strict=True))
    assert set(found) == {entry for entry, group in enumerate(groups) if group == 1}
    assert found[1 + variants.index("third")] == EMULATED
    assert found[1 + variants.index("mov")] == found[1 + variants.index("add")] < blob.symbols["handlers"]


def test_system_calls_are_kept_by_what_they_are(tmp_path: Path, pipe: list[int]) -> None:
    made, calls = worker(tmp_path), ((7, "getpid", ()), (8, "no_such_call", ("number",)))
    request = ("calls", 16, calls)
    send(pipe[1], ("calls", 3, *request[1:]))
    (back, target) = os.pipe()
    os.close(pipe[1])
    pipe[1] = -1
    serve(made, pipe[0], target)
    answer = receive(back)
    assert answer is not None and is_answer(3, request, answer)
    assert made.cache.get(calls_key(16, calls)) == Blob.from_bytes(answer[2])
    assert made.cache.get(calls_key(17, calls)) is made.cache.get(calls_key(16, calls[:1])) is None
    assert not is_answer(3, request, (3, True, Blob(b"", {"trap": 0}).to_bytes()))
    assert not is_answer(3, request, (3, True, b"nonsense"))
    os.close(back)
    os.close(target)


def test_only_code_that_ran_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmjit.engine.formation.NEAR", 0)
    code = assemble("bnez r1, 0x10006\nli r2, 2\nbrk\nli r3, 3\nbrk")
    made = worker().region(*request_for(code, cold=(CODE + 2, CODE + 4))[1:])
    assert made is not None
    region = Region.from_bytes(made[0])
    assert region.instructions == 3 and region.ranges == ((CODE, CODE + 2), (CODE + 6, CODE + 10))


def test_code_outside_what_was_sent_is_not_there() -> None:
    code = assemble("bnez r1, 0x10100\nhalt")
    made = worker().region(*request_for(code, cold=())[1:])
    assert made is not None and Region.from_bytes(made[0]).ranges == ((CODE, CODE + 4),)
    assert worker().region(*request_for(code, CODE + 64)[1:]) is None
    assert worker().region(*request_for(code, CODE - 2)[1:]) is None


def test_main_serves_until_its_input_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a fork, because it takes over the standard streams."""
    (source, to), (back, target) = os.pipe(), os.pipe()
    monkeypatch.setitem(__import__("vmjit.guest").guest._MODULES, "toy", "toy")
    pid = os.fork()
    if pid == 0:
        os.dup2(source, 0)
        os.dup2(target, 1)
        for fd in (source, to, back, target):
            os.close(fd)
        try:
            worker_module.main("toy", str(tmp_path), dump_settings=Settings().for_child())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(source)
    os.close(target)
    send(to, ("region", 7, *request_for(assemble("clock r1"))[1:]))
    assert receive(back) == (7, True, None)
    os.close(to)
    assert receive(back) is None
    os.close(back)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
