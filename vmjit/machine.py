"""A machine: guest, memory and world put together from an ELF file, and the loop that runs them.

`Machine(path).run()` is the library's front door; the command line is a thin layer above it.
"""

from __future__ import annotations

import os
from _thread import allocate_lock, get_ident
from collections.abc import Callable, Mapping, Sequence
from ctypes import addressof
from dataclasses import dataclass
from time import monotonic, perf_counter, sleep
from typing import TextIO

from vmjit.debug import Settings
from vmjit.engine.cache import Cache, version_of
from vmjit.engine.hart import CALLS_HOT, Hart, Stop, Tier
from vmjit.engine.interrupts import EVERYTHING, set_mask
from vmjit.engine.service import Service
from vmjit.errors import ElfError
from vmjit.guest import GUEST, get
from vmjit.ir.exits import ExitReason
from vmjit.linux import Exited, Killed, Process, Thread, ThreadExited
from vmjit.linux.native_calls import NATIVE_CALLS
from vmjit.linux.outcome import RESTART, Executed
from vmjit.linux.paths import in_sysroot
from vmjit.linux.processes import leave_program
from vmjit.linux.sandbox import Root, Sandbox, enter_root
from vmjit.linux.signal_frame import UserRegisters
from vmjit.linux.signals import begin_thread, deliver, fault, hand_on, take_over
from vmjit.linux.time_calls import end_timers
from vmjit.loader import elf
from vmjit.memory.address_space import AddressSpace

__all__ = ["Machine", "Result"]

SIGILL, SIGTRAP, SIGBUS, SIGSEGV = 4, 5, 7, 11
SIGNALS = {
    ExitReason.ILLEGAL: SIGILL,
    ExitReason.BREAKPOINT: SIGTRAP,
    ExitReason.MISALIGNED: SIGBUS,
    ExitReason.FAULT: SIGSEGV,
    ExitReason.FETCH: SIGSEGV,
}
ACCESSES = (ExitReason.FAULT, ExitReason.MISALIGNED)  # their argument is an address
# si_code: ILL_ILLOPC, TRAP_BRKPT and BUS_ADRALN are all the first of their kind.
FIRST_CODE, SEGV_MAPERR, SEGV_ACCERR, BUS_ADRERR = 1, 1, 2, 2
LOOK_SECONDS, IDLE_SECONDS = 0.001, 0.01  # how often it is looked whether other threads have ended
PATIENCE_SECONDS = 1.0  # with threads that wait in the host for what nothing interrupts
NAMES = {SIGILL: "illegal instruction", SIGTRAP: "breakpoint", SIGBUS: "bus error", SIGSEGV: "segmentation fault"}


@dataclass(frozen=True)
class Result:
    """How the guest ended: its exit status, or the signal that killed it, or neither when it was stopped."""

    status: int | None
    signal: int | None
    message: str | None  # one line about a fault or a stop

    @property
    def code(self) -> int | None:
        """What a shell would report; None when the guest was stopped."""
        return self.status if self.signal is None else 128 + self.signal


def _signal_of(stop: Stop) -> int:
    return SIGBUS if stop.signal == SIGBUS else SIGNALS[stop.reason]


def _hart_class(settings: Settings) -> type[Hart]:
    if not settings.check:
        return Hart
    from vmjit.engine.check import CheckedHart

    return CheckedHart


def exit_as(result: Result) -> None:
    """End the host's process as the guest's ended."""
    if result.signal is not None:
        os.kill(os.getpid(), result.signal)
    os._exit(result.code or 0)


def host_path(path: str, root: Root | None, sysroot: str | None) -> str:
    """The file that a path of the guest means, before there is a process."""
    if root is not None:
        return os.fsdecode(root.real(os.path.join(b"/", os.fsencode(path))))
    return path if sysroot is None else in_sysroot(sysroot, path)


class RegisterText:
    """The registers as text, made only when it is shown."""

    def __init__(self, hart: Hart) -> None:
        self.hart = hart

    def __str__(self) -> str:
        guest, words = self.hart.guest, self.hart.words
        values = [f"{name:>6} {words[guest.layout.word(name)]:016x}" for name in guest.registers]
        return "\n".join(" ".join(values[i : i + 4]) for i in range(0, len(values), 4))


class Machine:
    """One user-mode process. Its first thread runs in the host thread that calls run(), the others in their own.

    tier, sync        see Tier; sync waits for each compilation
    argv              arguments after the program's name; argv0 replaces the name
    env               the guest's environment, the host's by default
    sysroot           where absolute paths are looked for first, the dynamic linker's too; else that of the settings
    ignored_signals   that the program begins with ignoring, besides those that the host's process ignores
    before            the one whose program executed this one, see `executed`; it is closed
    sandbox           what the program may not do; with a root `path` is one below it, and there is no sysroot
    max_instructions  the run stops at the first jump after that many of one thread

    Where `goes_on` is set, a program that the guest executes is not another process of the host: run() returns, and
    `executed` says what is to be run by a machine that is made with this one as `before`.
    `finish` ends the host's process: one that the guest forked from another thread than the first, when its guest has
    ended, and this one when the first thread waits for what nothing interrupts.
    """

    def __init__(
        self,
        path: str,
        argv: Sequence[str] = (),
        *,
        argv0: str | None = None,
        env: Mapping[str, str] | None = None,
        sysroot: str | None = None,
        tier: Tier = Tier.AUTO,
        sync: bool = False,
        max_instructions: int | None = None,
        settings: Settings | None = None,
        strace: TextIO | None = None,
        emulator_argv: Sequence[str] = (),
        ignored_signals: Sequence[int] = (),
        before: Machine | None = None,
        sandbox: Sandbox | None = None,
    ) -> None:
        self.guest = get(GUEST)
        settings = settings if settings is not None else Settings.from_environment()
        sysroot = settings.sysroot if sysroot is None else sysroot
        root = None if sandbox is None or sandbox.root is None else enter_root(sandbox.root)
        sysroot = None if root is not None else sysroot
        argv0, execfn = path if argv0 is None else argv0, path
        path = host_path(path, root, sysroot)
        executable = elf.read_executable(path, machine=self.guest.elf_machine)
        linker = self._dynamic_linker(executable, root, sysroot)
        self.symbols = elf.symbols(path)
        self.memory = AddressSpace()
        self.image = image = elf.load(executable, self.memory)
        self.interpreter = None if linker is None else elf.load(linker, self.memory)
        self.symbols.bias = image.bias
        self.settings = settings.with_symbols(self.symbols.range) if settings.names else settings
        self.process: Process = Process(
            self.memory,
            executable=path if root is None else os.path.join("/", execfn),
            sandbox=sandbox,
            root=root,
            argv=[argv0, *argv],
            env=os.environ if env is None else env,
            sysroot=sysroot,
            strace=strace,
            emulator_argv=emulator_argv,
            argv0_option="--argv0" if emulator_argv else None,
            env_option="--env" if emulator_argv else None,
            unset_option="--unset" if emulator_argv else None,
            ignore_option="--ignore-signal" if emulator_argv else None,
            ignored=ignored_signals,
            before=None if before is None else before.process,
        )
        self.service: Service = self._service() if before is None else before.service
        self.cache: Cache = Cache(self.settings.cache_dir, self.guest.name) if before is None else before.cache
        self.hart = _hart_class(self.settings)(
            self.guest,
            self.memory,
            self.service,
            self.cache,
            self.settings,
            tier=tier,
            sync=sync,
            program=version_of(path),
        )
        self.hart.set_limit(max_instructions)
        self.leader = self.process.thread  # its host thread tells how the guest ended
        self.harts = {self.leader: self.hart}  # of the threads that have not ended
        self.result: Result | None = None  # once the guest is to end
        self.error: BaseException | None = None  # a defect that showed in a thread, to be raised by run()
        self.finish: Callable[[Result], object] | None = None
        self.goes_on = False
        self.executed: Executed | None = None
        self.statuses: dict[Thread, int] = {}  # with which single threads have ended
        self.is_concluding = False  # the leader has ended
        self.has_lost_threads = False  # some wait for what nothing interrupts
        self._ending = allocate_lock()
        self.seconds = 0.0
        self.is_child = False  # made by a fork of the guest
        try:
            self._wire(image)
        except BaseException:  # terabytes of address space are reserved by now
            self.close()
            raise

    def _service(self) -> Service:
        settings, process = self.settings, self.process
        return Service(
            self.guest.name, settings.cache_dir, settings.for_child(), process.hidden_children, process.reserved_fds
        )

    def _dynamic_linker(
        self, executable: elf.Executable, root: Root | None, sysroot: str | None
    ) -> elf.Executable | None:
        """The program that PT_INTERP names, which the guest begins with; it maps the libraries."""
        name = executable.interpreter
        if name is None:
            return None
        try:
            return elf.read_executable(host_path(name, root, sysroot), machine=self.guest.elf_machine)
        except FileNotFoundError:
            wanted = name if sysroot is None else f"{sysroot.rstrip('/')}{name}"
            raise ElfError(f"{wanted}: not found; give the folder that has it by -L") from None

    def _wire(self, image: elf.Image) -> None:
        """Set the registers a program starts with, and what system calls ask of the hart."""
        guest, process, words = self.guest, self.process, self.hart.words
        linker = self.interpreter
        words[guest.layout.word("pc")] = image.entry if linker is None else linker.entry
        words[guest.layout.word(guest.stack_pointer)] = process.start(
            image, hwcap=guest.hwcap, interpreter_base=0 if linker is None else linker.bias
        )
        process.flush_code = self.hart.code_changed
        process.make_faults_precise = lambda signal: self.hart.make_precise(files=signal == SIGBUS)
        process.thread.registers = UserRegisters(words, guest.layout.word, guest.trap_sets)
        process.thread.interrupt = self.hart.interrupt
        process.new_thread = self._new_thread
        process.may_go_on = self._may_go_on
        process.before_fork = self._lock_for_fork
        process.after_fork_in_parent = self._unlock_after_fork
        process.after_fork_in_child = self._begin_as_child
        process.only_interpret = self.hart.interpret
        if process.strace is None and self.hart.tier is not Tier.REFERENCE and not self._wants_slow_calls():
            usable = process.reserved_fds.usable
            after = 0 if self.hart.sync else CALLS_HOT
            self.hart.make_calls(NATIVE_CALLS, addressof(usable), len(usable), after)
        self.hart.recall()

    def _wants_slow_calls(self) -> bool:
        """The reference evaluator makes no system calls, so it could not check what comes after one in a region."""
        return self.settings.slow_calls or self.settings.check

    def _may_go_on(self) -> bool:
        """Only what called run() can run another program; threads end best by ending the emulator, and a root stays."""
        return self.goes_on and len(self.harts) == 1 and get_ident() == self.runner and self.process.root is None

    def _lock_for_fork(self) -> None:
        """What another thread holds while the process is copied would stay locked in the child for ever.

        The order: the service reads memory for its requests, and a change of mappings drops regions.
        """
        self.service.lock_for_fork()
        self.memory.lock.acquire()
        self.hart.native.exclusive.acquire()
        self.hart.regions.lock.acquire()

    def _unlock_after_fork(self) -> None:
        self.hart.regions.lock.release()
        self.hart.native.exclusive.release()
        self.memory.lock.release()
        self.service.unlock_after_fork()

    def _begin_as_child(self) -> None:
        """What the parent asked its worker for will never come here."""
        self.hart.regions.lock.release()
        self.hart.native.exclusive.release()
        self.memory.lock.release()
        self.service.abandon()
        self.leader = self.process.thread
        self.hart = self.harts[self.leader]
        self.harts = {self.leader: self.hart}
        self._ending = allocate_lock()
        self.hart.begin_as_child()
        self.is_child = True

    def run(self) -> Result:
        """Run until the guest ends or is stopped."""
        began = perf_counter()
        mask = set_mask(None)
        self.runner = get_ident()
        self.result, self.process.is_ending, self.is_concluding = None, False, False
        self.process.begin_thread(self.leader)
        self.hart.native.heed_kicks()
        take_over(self.process, self.hart.interrupts)
        try:
            self._run_thread(self.leader)
            return self._conclude()
        finally:
            end_timers(self.process, is_executed=self.executed is not None)
            self.hart.interrupts.close()
            self.hart.native.ignore_kicks()
            if self.executed is None:  # else all signals wait until leave()
                set_mask(mask)
            self.seconds += perf_counter() - began
            if not self.is_child:
                self.hart.learn()

    def _new_thread(self, thread: Thread, maker: Thread) -> Callable[[], None]:
        """A hook of the process."""
        hart = self.harts[maker].sibling()
        thread.registers = UserRegisters(hart.words, self.guest.layout.word, self.guest.trap_sets)
        thread.interrupt, thread.interrupts = hart.interrupt, hart.interrupts
        self.harts[thread] = hart

        def run() -> None:
            self._run_thread(thread)
            if thread is self.leader:  # of a process that it forked
                (self.finish or exit_as)(self._conclude())
            set_mask(EVERYTHING)  # what handles signals may be gone before this thread
            hart.end()
            del self.harts[thread]
            if self.result is not None:
                self._await_leader(self.result)

        return run

    def _run_thread(self, thread: Thread) -> None:
        """Run a thread in the current host thread, until it or the guest ends."""
        result = None
        try:
            hart = self.harts[thread]
            hart.begin()
            begin_thread(self.process)
            result = self._run(hart, thread)
        except ThreadExited as ended:
            self.statuses[thread] = ended.status
        except Exited as ended:
            result = Result(ended.status, None, None)
        except Killed as killed:
            result = Result(None, killed.signal, None)
        except Executed as executed:
            self.executed, result = executed, Result(0, None, None)
        except BaseException as error:
            self.error, result = error, Result(None, None, None)
        if result is not None:
            self._end(result)
        if self.result is None or self.result.code is not None:  # else it may go on in another run
            set_mask(EVERYTHING)  # signals are for other threads now
            hand_on(self.process)
            self.process.end_thread()

    def _end(self, result: Result) -> None:
        """All threads are to end, because of the current one, unless they were already."""
        with self._ending:
            self.result = self.result or result
            self.process.is_ending = True
        self._interrupt_others()

    def _interrupt_others(self) -> None:
        for thread, hart in tuple(self.harts.items()):
            if thread is not self.process.thread:
                hart.interrupt()

    def _conclude(self) -> Result:
        """In the leader, which has ended: wait for all others."""
        self.is_concluding = True
        patience = monotonic() + PATIENCE_SECONDS
        while len(self.harts) > 1 and not self.has_lost_threads:
            sleep(LOOK_SECONDS if self.result else IDLE_SECONDS)
            if self.result is None:
                patience = monotonic() + PATIENCE_SECONDS
            else:
                self._interrupt_others()
                self.has_lost_threads = monotonic() > patience
        if self.error is not None:
            raise self.error
        return self.result or Result(self.statuses.get(self.leader, 0), None, None)

    def _await_leader(self, result: Result) -> None:
        """In another thread that has ended: see to it that the leader does."""
        patience = monotonic() + PATIENCE_SECONDS
        while not self.is_concluding:
            sleep(LOOK_SECONDS)
            self.harts[self.leader].interrupt()
            if self.finish is not None and monotonic() > patience:
                self.finish(result)

    def _run(self, hart: Hart, thread: Thread) -> Result | None:
        """How the guest ended; None if it ended because of another thread."""
        abi, layout, words = self.guest.syscall, self.guest.layout, hart.words
        number, result = layout.word(abi.number), layout.word(abi.result)
        pc, interrupt = layout.word("pc"), layout.word("interrupt")
        arguments = [layout.word(name) for name in abi.arguments]
        syscall, run, signals = self.process.syscall, hart.run, self.process.signals
        while True:
            stop = run()
            if stop.reason is ExitReason.SYSCALL:
                if stop.argument:
                    value = self.process.interrupted(words[number])
                else:
                    value = syscall(words[number], [words[i] for i in arguments])
                if value == RESTART:
                    words[pc] = stop.pc - abi.size
                else:
                    words[result] = value & 0xFFFFFFFFFFFFFFFF
            elif stop.reason is ExitReason.INTERRUPT:
                if self.result is not None:
                    return None
            elif not self._is_handled(stop):
                return self._ended(hart, stop)
            if words[interrupt] or signals.pending or thread.pending:
                deliver(self.process)

    def stop(self) -> None:
        """Make run() return soon; from any thread."""
        self.hart.stop()

    def _is_handled(self, stop: Stop) -> bool:
        """Let the guest's handler for a fault begin, if there is one that can take it."""
        if stop.reason not in SIGNALS:
            return False
        signal = _signal_of(stop)
        if stop.reason is ExitReason.FAULT and stop.signal == SIGSEGV and self.memory.keep(stop.argument, 1):
            return True  # it may be made again
        if signal == SIGSEGV:
            code = SEGV_MAPERR if self.memory.permissions(stop.argument) is None else SEGV_ACCERR
        else:
            code = BUS_ADRERR if stop.signal == SIGBUS else FIRST_CODE
        address = stop.argument if stop.reason in ACCESSES else stop.pc
        return fault(self.process, signal, code, address)

    def _ended(self, hart: Hart, stop: Stop) -> Result:
        if stop.reason is ExitReason.LIMIT:
            return Result(None, None, f"stopped after {self.hart.instructions} instructions at {self.where(stop.pc)}")
        signal = _signal_of(stop)
        about = f" on address {stop.argument:#x}" if stop.reason in ACCESSES else ""
        self.settings.dump("guest-error", RegisterText(hart))
        return Result(None, signal, f"{NAMES[signal]}{about} at {self.where(stop.pc)}{self.text_at(stop.pc)}")

    def where(self, pc: int) -> str:
        """An address with its symbol, and the library that it is in, if it is in one."""
        library, symbols = "", self.symbols
        mapping = next((mapping for mapping in self.memory.regions() if mapping.start <= pc < mapping.end), None)
        if mapping is not None and mapping.offset is not None and mapping.name != os.fsdecode(self.process.executable):
            library, symbols = os.path.basename(mapping.name), elf.symbols(mapping.name)
            symbols.bias = mapping.start - mapping.offset  # code is the first segment, which begins with the file
        try:
            found = symbols.lookup(pc)
        except (OSError, ElfError):  # the file may be gone
            found = None
        if found is not None:
            return f"{pc:#x} ({library}{': ' if library else ''}{found[0]}+{found[1]:#x})"
        return f"{pc:#x} ({library}+{pc - symbols.bias:#x})" if library else f"{pc:#x}"

    def text_at(self, pc: int) -> str:
        """The disassembly of the instruction there, if it is one, after a colon."""
        from vmjit.errors import MemoryAccessError
        from vmjit.memory.address_space import EXECUTE

        def fetch(address: int, size: int) -> int:
            return int.from_bytes(self.memory.read(address, size, EXECUTE), "little")

        try:
            decoded = self.guest.decode_table.decode(fetch, pc)
        except MemoryAccessError:
            return ""
        return f": {decoded:#x}" if isinstance(decoded, int) else f": {decoded.text(pc)}"

    def leave(self) -> Executed:
        """Do what execve(2) does, and give back memory: what is to be run instead, in this process of the host."""
        assert self.executed is not None, "the guest executed nothing"
        leave_program(self.process)
        self.service.lock_for_fork()  # it may be reading memory for a request
        self.hart.close()
        self.memory.close()
        self.service.unlock_after_fork()
        return self.executed

    def close(self) -> None:
        """Give back memory and end the worker."""
        self.service.close()
        if self.has_lost_threads:
            return  # they may come back to it
        self.hart.close()
        self.memory.close()
