"""Where jumps went, by page: looked at once for a while."""

import pytest

from vmjit.engine import jumps as jumps_module
from vmjit.engine.jumps import Jumps


class Noting:
    """In place of Native."""

    def __init__(self) -> None:
        self.noted = [(0x2004, 0x3000), (0x1008, 0x2000), (0x1004, 0x5000)]

    def jumps(self) -> list[tuple[int, int]]:
        return list(self.noted)


def test_jumps_are_found_by_page_in_order() -> None:
    jumps = Jumps(Noting(), always_fresh=True)  # type: ignore[arg-type]
    assert jumps.by_page() == {1: [(0x1004, 0x5000), (0x1008, 0x2000)], 2: [(0x2004, 0x3000)]}


@pytest.mark.parametrize("always_fresh", [True, False])
def test_new_jumps_are_seen_after_a_while(always_fresh: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    native = Noting()
    now = [100.0]
    monkeypatch.setattr(jumps_module.time, "monotonic", lambda: now[0])
    jumps = Jumps(native, always_fresh=always_fresh)  # type: ignore[arg-type]
    jumps.by_page()
    native.noted.append((0x7000, 0x8000))
    assert (7 in jumps.by_page()) == always_fresh
    now[0] += jumps_module.OLD_SECONDS + 0.1
    assert 7 in jumps.by_page()
