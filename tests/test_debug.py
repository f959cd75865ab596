"""Settings: where they come from, what is refused, what they select, and where dumps go."""

from pathlib import Path

import pytest

from vmjit.debug import CATEGORIES, VARIABLES, Settings
from vmjit.errors import SettingsError, VmjitError

NOTHING = {"HOME": "/home/u"}


def settings(**variables: str) -> Settings:
    return Settings.from_environment(NOTHING | {f"VMJIT_{name}": text for name, text in variables.items()})


def test_defaults() -> None:
    made = settings()
    assert made.categories == frozenset() and made.log is None and made.passes is None
    assert not made.verify and not made.check
    assert made.selects(0) and not any(made.wants(category) for category in CATEGORIES)


def test_frozen() -> None:
    with pytest.raises(AttributeError, match="frozen"):
        settings().check = True


def test_all_variables() -> None:
    made = settings(
        DUMP="ir, exit",
        FILTER="0x10-0x20",
        LOG="/l",
        VERIFY="1",
        CHECK="yes",
        PASSES="fold,dead",
        CACHE_DIR="/c",
        SLOW_CALLS="1",
    )
    assert made.slow_calls
    assert made.categories == {"ir", "exit"} and made.ranges == ((0x10, 0x20),)
    assert (made.log, made.verify, made.check, made.passes, made.cache_dir) == (
        "/l",
        True,
        True,
        ("fold", "dead"),
        "/c",
    )
    assert "passes=('fold', 'dead')" in repr(made)


def test_arguments_override() -> None:
    environment = {"VMJIT_DUMP": "ir", "VMJIT_CHECK": "1", "VMJIT_CACHE_DIR": "/c", "VMJIT_LOG": "/l"}
    made = Settings.from_environment(environment, dump="llvm", check=False, cache_dir="", log="")
    assert (made.categories, made.check, made.cache_dir, made.log) == ({"llvm"}, False, None, None)
    assert Settings.from_environment(environment).categories == {"ir"}


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMJIT_DUMP", "time")
    assert Settings.from_environment().wants("time")


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"DUMP": "walk"}, "no dump category is named 'walk'; there are decode, ir, ir.<pass>, llvm"),
        ({"DUMP": "ir,"}, None),
        ({"DUMP": "ir."}, "'ir.'"),
        ({"DUMP": "ir.<pass>"}, "'ir.<pass>'"),
        ({"DUMP": "IR"}, "'IR'"),
        ({"VERIFY": "2"}, "VMJIT_VERIFY=2: neither 0 nor 1"),
        ({"CHECK": "maybe"}, "VMJIT_CHECK=maybe"),
        ({"FILTER": "0x20-0x10"}, "'0x20-0x10' is no address and no range"),
        ({"FILTER": "0x10-"}, "'0x10-'"),
        ({"FILTER": "10x"}, "'10x'"),
    ],
)
def test_refused(variables: dict[str, str], says: str | None) -> None:
    if says is None:
        settings(**variables)
        return
    with pytest.raises(SettingsError) as caught:
        settings(**variables)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert isinstance(caught.value, VmjitError)


def test_wants_passes() -> None:
    assert settings(DUMP="ir").wants("ir") and not settings(DUMP="ir").wants("ir.fold")
    one, each = settings(DUMP="ir.fold"), settings(DUMP="ir.*")
    assert one.wants("ir.fold") and not one.wants("ir.dead") and not one.wants("ir")
    assert each.wants("ir.fold") and each.wants("ir.dead") and not each.wants("ir") and not each.wants("llvm")


def test_selects_ranges() -> None:
    made = settings(FILTER="0x100-0x200, 768 ,0x400")
    assert [pc for pc in (0xFF, 0x100, 0x1FF, 0x200, 768, 769, 0x400) if made.selects(pc)] == [0x100, 0x1FF, 768, 0x400]


def test_selects_symbols() -> None:
    made = settings(FILTER="main,0x10")
    assert made.selects(0x10) and not made.selects(0x100)
    known = made.with_symbols(lambda name: (0x100, 0x120) if name == "main" else None)
    assert known.selects(0x10) and known.selects(0x11F) and not known.selects(0x120)
    assert made.names == {"main"} and not known.names
    with pytest.raises(SettingsError, match="no symbol is named 'main'"):
        made.with_symbols(lambda name: None)


def test_dump_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    made = settings(DUMP="exit")
    made.dump("exit", "one line")
    made.dump("exit", "two\nlines\n")
    made.dump("ir", "not wanted")
    assert capsys.readouterr() == ("", "one line\ntwo\nlines\n")


def test_unwanted_text_is_not_made() -> None:
    class Text:
        def __str__(self) -> str:
            raise AssertionError

    settings(DUMP="exit").dump("ir", Text())


def test_dump_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    made = settings(DUMP="exit", LOG="log")
    monkeypatch.chdir("/")
    made.dump("exit", "one")
    made.dump("exit", "two \udc80")
    assert (tmp_path / "log").read_text() == "one\ntwo \\udc80\n"
    assert capsys.readouterr() == ("", "")


def test_log_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot write the log .*: Is a directory"):
        settings(DUMP="exit", LOG=str(tmp_path)).dump("exit", "text")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "/home/u/.cache/vmjit"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/vmjit"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/u/.cache/vmjit"),
        ({"XDG_CACHE_HOME": ""}, "/home/u/.cache/vmjit"),
        ({"VMJIT_CACHE_DIR": "/c", "XDG_CACHE_HOME": "/x"}, "/c"),
        ({"VMJIT_CACHE_DIR": ""}, None),
    ],
)
def test_cache_dir(variables: dict[str, str], expected: str | None) -> None:
    assert Settings.from_environment(NOTHING | variables).cache_dir == expected


def test_every_variable_is_read() -> None:
    """A row of the table that nothing reads would be a promise that is not kept."""
    seen = set()

    class Environment(dict[str, str]):
        def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
            seen.add(name)
            return default

        def __contains__(self, name: object) -> bool:
            seen.add(str(name))
            return False

    Settings.from_environment(Environment())
    assert {name for name in seen if name.startswith("VMJIT_")} == set(VARIABLES) - {"VMJIT_TRACEBACK"}
