"""Jobs: what they answer, and that one which crashes or hangs is noted and the others go on."""

import os
import pickle
import signal
from collections.abc import Iterator
from dataclasses import replace
from time import monotonic

import pytest

from vmjit.errors import InternalError
from vmjit.fuzz.campaign import Plan, Progress, run, shrunk
from vmjit.fuzz.jobs import At, Done, Job, Setup
from vmjit.fuzz.judge import CRASHED, DIFFERS, HUNG, Mismatch, Verdict
from vmjit.fuzz.program import Program
from vmjit.fuzz.programs import random_program
from vmjit.fuzz.report import Finding, golden_text, report, summary
from vmjit.fuzz.text import parse_end, parse_program

SETUP = Setup("reference", ("interpreter",))


@pytest.fixture
def job() -> Iterator[Job]:
    made = Job(SETUP)
    yield made
    made.stop()


def answers(job: Job, count: int) -> list[Done]:
    found: list[Done] = []
    while len(found) < count:
        job.connection.poll(1.0)
        done = job.take()
        if done is not None:
            found.append(done)
    return found


def test_what_crosses_to_a_job_is_as_it_was() -> None:
    program = random_program(3)
    program.image, program.data, program.statements[0].lines
    assert pickle.loads(pickle.dumps(program)) == program


def test_a_job_answers_in_order(job: Job) -> None:
    job.ask_seeds(range(7, 10))
    found = answers(job, 3)
    assert [done.seed for done in found] == [7, 8, 9] and not job.seeds
    assert all(done.verdict.mismatch is None and done.verdict.instructions for done in found)
    assert job.judge(random_program(7), "").instructions == found[0].verdict.instructions


def test_a_job_that_crashes_goes_on_behind_it(job: Job) -> None:
    job.ask_seeds(range(0, 1 << 40))
    (first,) = answers(job, 1)
    assert first.seed == 0
    os.kill(job.process.pid, signal.SIGABRT)
    found: list[Done] = []
    while not found or found[-1].verdict.mismatch is None:
        found += answers(job, 1)
    mismatch, crashed = found[-1].verdict.mismatch, found[-1].seed
    assert mismatch is not None and (mismatch.kind, mismatch.message) == (CRASHED, "ended by SIGABRT")
    assert mismatch.tier in ("generator", "reference", "interpreter")
    assert crashed is not None and found[-1].program == random_program(crashed)
    assert answers(job, 1)[0].seed == crashed + 1


def test_a_job_that_hangs_is_ended(job: Job) -> None:
    job.ask_seeds(range(5, 8))
    assert answers(job, 1)[0].seed == 5
    os.kill(job.process.pid, signal.SIGSTOP)
    while job.connection.poll():  # what it said before
        job.take()
    at = job.at
    assert at is not None
    job.setup = replace(SETUP, patience=-1.0)
    (done,) = answers(job, 1)
    mismatch = done.verdict.mismatch
    assert mismatch is not None and (done.seed, mismatch.tier, mismatch.kind) == (at.seed, at.tier, HUNG)


def test_a_job_that_cannot_start_is_an_error(job: Job) -> None:
    job.process.kill()
    with pytest.raises(InternalError, match="before it ran a program"):
        answers(job, 1)


def test_a_campaign_counts_what_it_did() -> None:
    progress, said = Progress(), []
    began = monotonic()
    run(Plan(SETUP, 100, 600.0, programs=19, jobs=2), progress, lambda now: said.append(now.programs))
    assert (progress.programs, progress.findings) == (19, []) and said[-1] == 19
    assert progress.instructions > 19 and 0 < progress.seconds <= monotonic() - began


def test_a_campaign_ends_when_the_time_is_over() -> None:
    progress = Progress()
    run(Plan(SETUP, 100, 1e-9), progress, lambda now: None)
    assert 0 < progress.programs <= 8  # what was asked for at first


class Pretending(Job):
    """A job for which SLTU is broken."""

    def start(self) -> None:
        self.at = At(None, "")

    def judge(self, program: Program, only: str) -> Verdict:
        assert only == "interpreter"
        wrong = any("sltu" in str(each.decoded) for statement in program.statements for each in statement.lines)
        return Verdict(0, Mismatch(only, DIFFERS, {"x10": ("0x0", "0x1")}) if wrong else None)

    def stop(self) -> None:
        pass


def test_a_finding_is_shrunk_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmjit.fuzz.campaign.Job", Pretending)
    seed = next(
        seed for seed in range(100) if Pretending(SETUP).judge(random_program(seed), "interpreter").mismatch is not None
    )
    mismatch = Mismatch("interpreter", DIFFERS, {"x10": ("0x0", "0x1"), "x11": ("0x0", "0x1")})
    small = shrunk(Finding(seed, "reference", random_program(seed), Verdict(0, mismatch)), SETUP)
    assert small.program.count == 1 and list(small.mismatch.different) == ["x10"]
    assert summary(small) == f"seed {seed}: interpreter differs from reference: x10"
    shown = report(small)
    assert f"vmjit fuzz --seed {seed} --programs 1 --oracle reference" in shown
    for part in ("== differences", "x10          0x1, expected 0x0", "== program", "== code", "== ir", "sltu"):
        assert part in shown
    golden = golden_text(small)
    assert parse_program(golden) == small.program
    end = parse_end(golden, small.program)
    assert (end.reason, end.registers["instret"]) == ("ILLEGAL", 2)


def test_a_crash_is_shown_by_its_message() -> None:
    program = parse_program("\n\n    .2byte 0x0\n")
    finding = Finding(3, "qemu", program, Verdict(0, Mismatch("jit", CRASHED, message="ended by SIGABRT")))
    assert summary(finding) == "seed 3: jit crashed: ended by SIGABRT"
    assert "== message\nended by SIGABRT\n" in report(finding) and "== ir" not in report(finding)
