"""How a system call ends when it does not simply return a value: a failure, or the end of the guest or its program."""


class SyscallError(Exception):
    """The call fails with this errno."""

    def __init__(self, errno: int) -> None:
        super().__init__(errno)
        self.errno = errno


RESTART = -512  # in place of a result: the instruction that made the call is to be executed again; no errno


class Restart(Exception):
    """A signal came before the call has done anything, so the call is made when the handler has run."""


class Exited(Exception):
    """The guest called exit or exit_group; status is what its parent sees (0..255)."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}")
        self.status = status


class ThreadExited(Exception):
    """The guest called exit in one of several threads; status is the process's if it was the first of them."""

    def __init__(self, status: int) -> None:
        super().__init__(f"thread exit status {status}")
        self.status = status


class Executed(Exception):
    """The guest is replaced by another program: its path on the host, arguments, and environment."""

    def __init__(self, program: bytes, argv: list[bytes], env: dict[bytes, bytes]) -> None:
        super().__init__(f"execution of {program!r}")
        self.program, self.argv, self.env = program, argv, env


class Killed(Exception):
    """A signal whose default action ends the process reached the guest."""

    def __init__(self, signal: int) -> None:
        super().__init__(f"killed by signal {signal}")
        self.signal = signal
