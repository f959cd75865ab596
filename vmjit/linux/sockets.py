"""Sockets: the host's, with the addresses and buffers of the guest. See socket(2).

Socket numbers, addresses, options and control messages have the same layout on all 64-bit Linux machines; only struct
msghdr holds pointers that must be translated.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EACCES, EINVAL, EMSGSIZE, ENOENT, EPIPE
from struct import Struct

from vmjit.errors import MemoryAccessError
from vmjit.linux import host
from vmjit.linux.abi import AT_FDCWD, INT, MSGHDR, UINT, ULONG
from vmjit.linux.buffers import MAX_VECTORS, READ, WRITE, host_vectors, view
from vmjit.linux.descriptors import write_pair
from vmjit.linux.outcome import Restart, SyscallError
from vmjit.linux.sandbox import existing, parent, refuse_creation
from vmjit.linux.signals import SIGPIPE, send_to_self
from vmjit.linux.table import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process

AF_UNIX, UNIX = 1, b"\1\0"
FAMILY_SIZE = len(UNIX)
NAME_AND_SIZE = Struct("<QI")  # msg_name and msg_namelen
MOST_ADDRESS = 128  # sizeof(struct sockaddr_storage)
MOST_OPTION = 4096
MOST_CONTROL = 1 << 16
MSG_DONTWAIT, MSG_NOSIGNAL, MSG_WAITFORONE = 0x40, 0x4000, 0x10000
MMSGHDR_SIZE = 64  # struct msghdr, the length, padding
MSG_NAMELEN_OFFSET, MSG_CONTROLLEN_OFFSET = 8, 40  # in struct msghdr
# The name service cache daemon hands out memory in the host's layout; without it programs read the files.
HOST_ONLY_SERVERS = (b"\1\0/var/run/nscd/socket", b"\1\0/run/nscd/socket")


def read_address(process: "Process", address: int, size: int) -> bytes | None:
    """A socket address given by the guest."""
    if not 0 <= size <= MOST_ADDRESS:
        raise SyscallError(EINVAL)
    return process.memory.read(address, size) if address and size else None


def unix_path(address: bytes | None) -> bytes | None:
    """The path of a socket's address, if it has one."""
    if address is None or address[:FAMILY_SIZE] != UNIX or address[FAMILY_SIZE : FAMILY_SIZE + 1] in (b"", b"\0"):
        return None
    return address[FAMILY_SIZE:].split(b"\0")[0]


@contextmanager
def confined(process: "Process", address: bytes | None, binds: bool = False) -> Iterator[bytes | None]:
    """The host's address for one of the guest; `binds`: the socket is to be made there."""
    path = unix_path(address)
    if path is None or not process.sandbox.is_used:
        yield address
        return
    if binds:
        refuse_creation(process, path, AT_FDCWD)
    if process.root is None:
        yield address
    elif binds:
        with parent(process, path) as (fd, entry):
            name = UNIX + b"/proc/self/fd/%d/%s" % (fd, entry)
            process.socket_names[name] = address or b""
            yield name + b"\0"
    else:
        with existing(process, path, in_sysroot=False) as (_, entry, _):
            yield UNIX + entry + b"\0"


@syscall("int int int")
def sys_socket(process: "Process", family: int, kind: int, protocol: int) -> int:
    if family != AF_UNIX and not process.sandbox.network:
        raise SyscallError(EACCES)
    return host.call("socket", family, kind, protocol)


@syscall("int int int out_pair")
def sys_socketpair(process: "Process", family: int, kind: int, protocol: int, address: int) -> int:
    if family != AF_UNIX and not process.sandbox.network:
        raise SyscallError(EACCES)
    pair = host.zeroed(8)
    host.call("socketpair", family, kind, protocol, pair)
    return write_pair(process, address, (INT.unpack_from(pair, 0)[0], INT.unpack_from(pair, 4)[0]))


@syscall("fd address int")
def sys_bind(process: "Process", fd: int, address: int, size: int) -> int:
    with confined(process, read_address(process, address, size), binds=True) as name:
        return host.call("bind", fd, name, len(name) if name else size)


@syscall("fd address int")
def sys_connect(process: "Process", fd: int, address: int, size: int) -> int:
    server = read_address(process, address, size)
    if server is not None and server.rstrip(b"\0") in HOST_ONLY_SERVERS:
        raise SyscallError(ENOENT)
    with confined(process, server) as name:
        return process.interruptible("connect", fd, name, len(name) if name else size)


@syscall("fd int")
def sys_listen(_process: "Process", fd: int, backlog: int) -> int:
    return host.call("listen", fd, backlog)


class AddressResult:
    """A socket address that a call hands back: at most as much as the guest has room for, and its true size."""

    def __init__(self, process: "Process", address: int, size_address: int) -> None:
        self.memory, self.address, self.size_address = process.memory, address, size_address
        self.names = process.socket_names
        self.room = INT.unpack(self.memory.read(size_address, 4))[0] if address else 0
        if self.room < 0:
            raise SyscallError(EINVAL)
        self.contents = host.zeroed(MOST_ADDRESS) if address else None
        self.size = host.filled(INT.pack(MOST_ADDRESS)) if address else None

    def write(self) -> None:
        """Store it where the guest wants it, if it does."""
        if self.contents is not None and self.size is not None:
            size = INT.unpack(self.size.raw)[0]
            name = self.names.get(self.contents.raw[:size].rstrip(b"\0"))
            if name is not None:
                self.contents, size = host.filled(name), len(name)
            self.memory.write(self.address, self.contents.raw[: min(size, self.room)])
            self.memory.write(self.size_address, INT.pack(size))


def address_call(process: "Process", name: str, fd: int, address: int, size_address: int) -> int:
    """A call that returns a socket address through two pointers."""
    found = AddressResult(process, address, size_address)
    result = host.call(name, fd, found.contents, found.size)
    found.write()
    return result


@syscall("fd address address")
def sys_accept(process: "Process", fd: int, address: int, size_address: int) -> int:
    return sys_accept4(process, fd, address, size_address, 0)


@syscall("fd address address int")
def sys_accept4(process: "Process", fd: int, address: int, size_address: int, flags: int) -> int:
    found = AddressResult(process, address, size_address)
    result = process.interruptible("accept4", fd, found.contents, found.size, flags)
    found.write()
    return result


@syscall("fd address address")
def sys_getsockname(process: "Process", fd: int, address: int, size_address: int) -> int:
    return address_call(process, "getsockname", fd, address, size_address)


@syscall("fd address address")
def sys_getpeername(process: "Process", fd: int, address: int, size_address: int) -> int:
    return address_call(process, "getpeername", fd, address, size_address)


def sending(process: "Process", flags: int, name: str, *arguments: host.Argument) -> int:
    """A send with the host's SIGPIPE kept out and the guest's let in."""
    try:
        return process.interruptible(name, *arguments)
    except BrokenPipeError:
        if not flags & MSG_NOSIGNAL:
            send_to_self(process, SIGPIPE)
        raise SyscallError(EPIPE) from None


@syscall("fd in_data size int address int")
def sys_sendto(process: "Process", fd: int, address: int, size: int, flags: int, to: int, to_size: int) -> int:
    data = view(process.memory, address, size, READ)
    receiver = read_address(process, to, to_size) if to else None
    start = process.memory.base + address
    with confined(process, receiver) as name:
        return sending(process, flags, "sendto", fd, start, len(data), flags, name, len(name) if name else 0)


@syscall("fd out_data size int address address")
def sys_recvfrom(process: "Process", fd: int, address: int, size: int, flags: int, sender: int, size_at: int) -> int:
    data = view(process.memory, address, size, WRITE)
    found = AddressResult(process, sender, size_at)
    where = host.address_of(data) if data else None
    result = process.interruptible("recvfrom", fd, where, len(data), flags, found.contents, found.size)
    found.write()
    return result


class Message:
    """A struct msghdr of the guest and the host's copy of it, which points to the guest's own buffers."""

    def __init__(self, process: "Process", address: int, permissions: int) -> None:
        memory = process.memory
        self.memory, self.guest_address = memory, address
        name, name_size, iov, count, control, control_size, _flags = MSGHDR.unpack(memory.read(address, MSGHDR.size))
        if count > MAX_VECTORS:
            raise SyscallError(EMSGSIZE)
        if control_size > MOST_CONTROL or name_size >= 1 << 31:
            raise SyscallError(EINVAL)
        name_size = min(name_size, MOST_ADDRESS) if name else 0
        self.name, self.name_size = name, name_size
        self.control, self.control_size = control, control_size
        vectors, length = host_vectors(memory, iov, count, permissions)
        self.vectors = host.filled(vectors)
        self.host_name = self._copy(name, name_size, permissions)
        self.host_control = self._copy(control, control_size, permissions)
        self.header = host.filled(
            MSGHDR.pack(
                ctypes.addressof(self.host_name) if name else 0,
                name_size,
                ctypes.addressof(self.vectors),
                length,
                ctypes.addressof(self.host_control) if control else 0,
                control_size if control else 0,
                0,
            )
        )

    def _copy(self, address: int, size: int, permissions: int) -> ctypes.Array[ctypes.c_char]:
        """A buffer for the name or the control messages, filled when they are sent."""
        contents = self.memory.read(address, size) if address and permissions == READ else b""
        return host.filled(contents.ljust(size, b"\0"))

    def send_to(self, name: bytes) -> None:
        """Another receiver."""
        self.host_name = host.filled(name)
        NAME_AND_SIZE.pack_into(self.header, 0, ctypes.addressof(self.host_name), len(name))

    def write_back(self) -> None:
        """What recvmsg changes: sender, control messages, their sizes, flags."""
        _, name_size, _, _, _, control_size, flags = MSGHDR.unpack(self.header.raw)
        if self.name:
            self.memory.write(self.name, self.host_name.raw[: min(name_size, self.name_size)])
            self.memory.write(self.guest_address + MSG_NAMELEN_OFFSET, INT.pack(name_size))
        if self.control:
            self.memory.write(self.control, self.host_control.raw[:control_size])
        self.memory.write(self.guest_address + MSG_CONTROLLEN_OFFSET, ULONG.pack(control_size) + INT.pack(flags))


@syscall("fd address int")
def sys_sendmsg(process: "Process", fd: int, address: int, flags: int) -> int:
    message = Message(process, address, READ)
    with confined(process, message.host_name.raw or None) as name:
        if name is not None and name != message.host_name.raw:
            message.send_to(name)
        return sending(process, flags, "sendmsg", fd, message.header, flags)


@syscall("fd address uint int")
def sys_sendmmsg(process: "Process", fd: int, address: int, count: int, flags: int) -> int:
    return many(process, sys_sendmsg, fd, address, count, flags)


def many(process: "Process", one: Callable[..., int], fd: int, address: int, count: int, flags: int) -> int:
    """Send or receive an array of messages; an error counts only if it is the first one's."""
    for done in range(min(count, MAX_VECTORS)):
        try:
            size = one(process, fd, address, flags)
        except (OSError, SyscallError, MemoryAccessError, Restart):
            if done:
                return done
            raise
        process.memory.write(address + MSGHDR.size, UINT.pack(size))
        address += MMSGHDR_SIZE
        if one is sys_recvmsg and flags & MSG_WAITFORONE:
            flags |= MSG_DONTWAIT
    return min(count, MAX_VECTORS)


@syscall("fd address uint int timespec", lacks="a timeout")
def sys_recvmmsg(process: "Process", fd: int, address: int, count: int, flags: int, timeout: int) -> int:
    if timeout:
        raise SyscallError(EINVAL)
    return many(process, sys_recvmsg, fd, address, count, flags)


@syscall("fd address int")
def sys_recvmsg(process: "Process", fd: int, address: int, flags: int) -> int:
    message = Message(process, address, WRITE)
    result = process.interruptible("recvmsg", fd, message.header, flags)
    message.write_back()
    return result


@syscall("fd int int address int")
def sys_setsockopt(process: "Process", fd: int, level: int, name: int, address: int, size: int) -> int:
    if not 0 <= size <= MOST_OPTION:
        raise SyscallError(EINVAL)
    value = process.memory.read(address, size) if size else b""
    return host.call("setsockopt", fd, level, name, value, size)


@syscall("fd int int address address")
def sys_getsockopt(process: "Process", fd: int, level: int, name: int, address: int, size_address: int) -> int:
    (room,) = INT.unpack(process.memory.read(size_address, 4))
    if room < 0:
        raise SyscallError(EINVAL)
    value = host.zeroed(MOST_OPTION)
    size = host.filled(INT.pack(min(room, MOST_OPTION)))
    host.call("getsockopt", fd, level, name, value, size)
    (length,) = INT.unpack(size.raw)
    process.memory.write(address, value.raw[:length])
    process.memory.write(size_address, INT.pack(length))
    return 0


@syscall("fd int")
def sys_shutdown(_process: "Process", fd: int, how: int) -> int:
    return host.call("shutdown", fd, how)
