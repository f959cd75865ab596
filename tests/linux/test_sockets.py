import errno
import os
import socket
import struct

from tests.linux.conftest import Guest

UNIX, INET, STREAM, DGRAM = 1, 2, 1, 2
UNMAPPED = 0x9000000


def pair(guest: Guest, kind: int = STREAM) -> tuple[int, int]:
    at = guest.space(8)
    assert guest.call("socketpair", UNIX, kind, 0, at) == 0
    first, second = struct.unpack("<ii", guest.memory.read(at, 8))
    return first, second


def test_socketpair_sends_and_receives(guest: Guest) -> None:
    first, second = pair(guest)
    at = guest.space(16)
    assert guest.call("sendto", first, guest.put(b"hello"), 5, 0, 0, 0) == 5
    assert guest.call("recvfrom", second, at, 16, 0, 0, 0) == 5
    assert guest.memory.read(at, 5) == b"hello"
    assert guest.call("shutdown", second, 2) == 0
    assert guest.call("sendto", first, at, 1, 0x4000, 0, 0) == -errno.EPIPE
    assert guest.call("sendto", first, UNMAPPED, 1, 0x4000, 0, 0) == -errno.EFAULT
    os.close(first)
    os.close(second)


def test_a_tcp_server_and_client(guest: Guest) -> None:
    server, client = guest.call("socket", INET, STREAM, 0), guest.call("socket", INET, STREAM, 0)
    loopback = struct.pack("<H", INET) + struct.pack(">H", 0) + bytes([127, 0, 0, 1]) + bytes(8)
    name, size = guest.space(16), guest.put(struct.pack("<i", 16))
    one = guest.put(struct.pack("<i", 1))
    assert guest.call("setsockopt", server, socket.SOL_SOCKET, socket.SO_REUSEADDR, one, 4) == 0
    assert guest.call("bind", server, guest.put(loopback), 16) == 0
    assert guest.call("listen", server, 1) == 0
    assert guest.call("getsockname", server, name, size) == 0
    assert guest.memory.read(name + 4, 4) == bytes([127, 0, 0, 1])
    assert guest.call("connect", client, name, 16) == 0
    peer, room = guest.space(16), guest.put(struct.pack("<i", 4))
    accepted = guest.call("accept4", server, peer, room, 0)
    assert accepted > 0
    assert guest.memory.read(peer, 16) == struct.pack("<H", INET) + guest.memory.read(peer + 2, 2) + bytes(12)
    assert guest.memory.read(room, 4) == struct.pack("<i", 16)
    error = guest.space(4)
    assert guest.call("getsockopt", client, socket.SOL_SOCKET, socket.SO_TYPE, error, guest.put(b"\4\0\0\0")) == 0
    assert guest.memory.read(error, 4) == struct.pack("<i", STREAM)
    assert guest.call("getpeername", client, peer, size) == 0
    for fd in (server, client, accepted):
        os.close(fd)


def message(guest: Guest, data: int, size: int, control: int = 0, control_size: int = 0) -> int:
    iov = guest.put(struct.pack("<QQ", data, size))
    return guest.put(struct.pack("<QI4xQQQQi4x", 0, 0, iov, 1, control, control_size, 0))


def test_messages_carry_descriptors(guest: Guest) -> None:
    first, second = pair(guest)
    passed = os.open("passed", os.O_RDWR | os.O_CREAT)
    os.write(passed, b"contents")
    rights = guest.put(struct.pack("<Qiii4x", 20, socket.SOL_SOCKET, socket.SCM_RIGHTS, passed))
    assert guest.call("sendmsg", first, message(guest, guest.put(b"data"), 4, rights, 24), 0) == 4
    at, control = guest.space(16), guest.space(64)
    header = message(guest, at, 16, control, 64)
    assert guest.call("recvmsg", second, header, 0) == 4
    assert guest.memory.read(at, 4) == b"data"
    assert struct.unpack_from("<Q", guest.memory.read(header + 40, 8))[0] >= 20
    length, _, kind, received = struct.unpack("<Qiii", guest.memory.read(control, 20))
    assert (length, kind) == (20, socket.SCM_RIGHTS)
    assert os.pread(received, 8, 0) == b"contents"
    assert guest.call("recvmsg", second, UNMAPPED, 0) == -errno.EFAULT
    for fd in (first, second, passed, received):
        os.close(fd)


def test_the_host_name_service_is_not_asked(guest: Guest) -> None:
    fd = guest.call("socket", UNIX, STREAM, 0)
    address = struct.pack("<H", UNIX) + b"/var/run/nscd/socket".ljust(108, b"\0")
    assert guest.call("connect", fd, guest.put(address), 110) == -errno.ENOENT
    assert guest.call("connect", fd, guest.put(address), 1000) == -errno.EINVAL
    os.close(fd)


def test_several_messages_in_one_call(guest: Guest) -> None:
    pair = guest.space(8)
    assert guest.call("socketpair", UNIX, socket.SOCK_DGRAM, 0, pair) == 0
    first, second = struct.unpack("<ii", guest.memory.read(pair, 8))
    texts = (b"one", b"three")
    headers = b"".join(
        guest.memory.read(message(guest, guest.put(text), len(text), 0, 0), 56) + bytes(8) for text in texts
    )
    out = guest.put(headers)
    assert guest.call("sendmmsg", first, out, 2, 0) == 2
    assert [int.from_bytes(guest.memory.read(out + at, 4), "little") for at in (56, 120)] == [3, 5]
    places = [guest.space(16) for _ in range(3)]
    array = guest.put(b"".join(guest.memory.read(message(guest, at, 16, 0, 0), 56) + bytes(8) for at in places))
    assert guest.call("recvmmsg", second, array, 3, 0x10000, 0) == 2  # MSG_WAITFORONE
    assert [guest.memory.read_cstring(at) for at in places[:2]] == list(texts)
    assert guest.call("recvmmsg", second, array, 3, 0x40, 0) == -errno.EAGAIN
    assert guest.call("sendmmsg", first, UNMAPPED, 1, 0) == -errno.EFAULT
    for fd in (first, second):
        os.close(fd)
