"""From a plan to code: what is shown of each stage, which passes run, and where an unsound region is noticed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from machines import CODE, LOOP, NO_CACHE, assemble, code_at, guest_named

from vmjit.debug import Settings
from vmjit.engine import compile as compile_module
from vmjit.engine.compile import Compiled, compile_region, run_passes
from vmjit.engine.formation import Plan
from vmjit.engine.translate import translate
from vmjit.engine.worker import Worker
from vmjit.errors import VerifyError
from vmjit.ir.block import Region
from vmjit.passes.pipeline import PIPELINE

WORKER = Worker(guest_named("toy"), NO_CACHE, Settings())
LAYOUT = WORKER.guest.layout
NAMES = [name for name, _ in PIPELINE]


def plan() -> Plan:
    made = WORKER.former.form(CODE, code_at(assemble(LOOP)))
    assert made is not None
    return made


def compiled(settings: Settings, observe: Callable[[str, object], None] | None = None) -> Compiled:
    return compile_region(plan(), LAYOUT, WORKER.tracer, WORKER.compiler, settings, observe)


def test_each_stage_is_shown() -> None:
    seen: list[tuple[str, str]] = []
    made = compiled(Settings(), lambda stage, text: seen.append((stage, str(text))))
    assert [stage for stage, _ in seen] == ["decode", "ir", *(f"ir.{name}" for name in NAMES), "llvm", "asm"]
    texts = dict(seen)
    assert "ld r4, 0(r7)" in texts["decode"] and "define" in texts["llvm"] and ".text" in texts["asm"]
    assert texts["ir"] != texts["ir.promote"]
    assert set(made.seconds) >= {"trace", "passes", "lower", "parse", "optimise", "emit", "link"}
    assert made.blob.symbols["region"] == 0 and all(spent >= 0 for spent in made.seconds.values())


def test_dumps_show_what_was_asked_for(tmp_path: Path) -> None:
    log = tmp_path / "log"
    compiled(Settings(categories=frozenset(("decode", "ir.dead")), log=str(log)))
    text = log.read_text()
    assert text.count("ld r4, 0(r7)") == 1 and text.count("\nregion ") == 1 and "define" not in text
    compiled(Settings(categories=frozenset(("asm",)), log=str(log)))
    assert ".text" in log.read_text()


def test_dumps_can_be_narrowed_to_addresses(tmp_path: Path) -> None:
    log = tmp_path / "log"
    compiled(Settings(categories=frozenset(("decode",)), ranges=((CODE + 2, CODE + 4),), log=str(log)))
    assert not log.exists()
    compiled(Settings(categories=frozenset(("decode",)), ranges=((CODE, CODE + 1),), log=str(log)))
    assert log.exists()


def region() -> Region:
    return translate(plan(), LAYOUT, WORKER.tracer)


def test_passes_can_be_chosen() -> None:
    seen: list[str] = []
    run_passes(region(), Settings(passes=("promote", "dead")), lambda stage, text: seen.append(stage))
    assert seen == ["ir.promote", "ir.dead"]


def test_no_pass_is_needed_for_right_code() -> None:
    """Every pass but the guards of accesses may be left out."""
    for left_out in NAMES:
        if left_out != "access":
            compiled(Settings(passes=tuple(name for name in NAMES if name != left_out), verify=True))


def test_an_unsound_region_is_noticed_after_the_pass_that_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(region: Region) -> Region:
        region.blocks[-1].terminator = None
        return region

    monkeypatch.setitem(compile_module.PIPELINES, "flat", (("wrong", spoil), *PIPELINE))
    with pytest.raises(VerifyError, match="unsound after wrong"):
        run_passes(region(), Settings(verify=True))
    broken = region()
    broken.blocks[-1].terminator = None
    with pytest.raises(VerifyError, match="unsound after translate"):
        run_passes(broken, Settings(verify=True))
