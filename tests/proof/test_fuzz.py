"""Hostile input: a seeded sample of `make fuzz`, and what is too big or too odd for it."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

import inventory
from orchestrator.adapters.git import Repository
from orchestrator.adapters.masking import Masker, inert
from orchestrator.cli import run
from orchestrator.engine.plan import Plan
from orchestrator.model import setlines
from orchestrator.model.errors import BootstrapError
from orchestrator.model.query import KubeGet
from orchestrator.report.card import card
from orchestrator.report.paint import Paint
from tests.proof import fuzz, hostile, tiny
from tests.proof.offline import bootstrap, write


def test_a_seeded_sample_finds_nothing(counted: Callable[[str], None]) -> None:
    fuzz.SEEN.clear()
    fuzz.FAILED.clear()
    fuzz.every_check(part=24)
    fuzz.run(1200, 5)
    counted("fuzz: " + ", ".join(f"{count} {name}" for name, count in fuzz.SEEN.items()))
    assert fuzz.FAILED == {}
    assert fuzz.SEEN["judgements"] > 3000 and fuzz.SEEN["checks"] > 800


def test_every_action_of_every_example_can_be_shown() -> None:
    fuzz.rendered()


def test_the_proof_can_fail() -> None:
    """A judge that trusts, and one that never ends, are found."""
    name, check = next((name, check) for (_, name), check in fuzz.checks().items() if isinstance(check.ask[0], KubeGet))
    from dataclasses import replace

    with pytest.raises(AttributeError):
        fuzz.fixed(name, replace(check, judge=lambda answers: answers[0].body.get("x")))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(fuzz.Hang):
        patch.setattr(fuzz, "SLOW", 0.05)
        fuzz.judged(name, replace(check, judge=_endless), (hostile.Answer(body={}),))


def _endless(answers: tuple[hostile.Answer, ...]) -> None:  # type: ignore[return]
    while True:
        pass


@pytest.mark.parametrize("text", [" " * 200_000, "\n" * 200_000, "set a" + " " * 200_000 + "b", "\n 1" * 50_000, '"' * 200_000, "# " * 100_000])
def test_the_gateways_answers_are_read_in_one_go(text: str) -> None:
    started = time.process_time()
    setlines.current_lines(text)
    setlines.awaits_confirmation(text)
    setlines.missing(("set a b",), ("set k",), text)
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize("text", ["-----BEGIN PRIVATE KEY-----\n" * 5000, "://a:" * 50_000, "token: " * 30_000, "eyJ" * 50_000, "a" * 400_000, '"token": "' + "\\" * 200_000, "authorization:" + " " * 200_000, "\x1b]" * 100_000, "\x1b[" + "0;" * 100_000])
def test_masking_and_showing_take_a_long_text_in_one_go(text: str) -> None:
    masker = Masker()
    masker.add("a-secret-of-the-site")
    started = time.process_time()
    assert "\x1b" not in inert(masker.mask(text))
    assert time.process_time() - started < 3.0


def test_a_huge_site_a_huge_plan_and_a_huge_journal_are_refused_soon_and_small(tmp_path: Path) -> None:
    folder = write(tmp_path / "site")
    with (folder / "site.yaml").open("ab") as file:
        file.truncate(100 << 20)
    with (tmp_path / "plan.json").open("wb") as file:
        file.truncate(300 << 20)
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(inventory.SiteErrors):
        inventory.load(folder / "site.yaml")
    assert run(["-C", str(write(tmp_path / "good")), "up", str(tmp_path / "plan.json")]) in (9, 64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.process_time() - started < 20.0 and peak < 350 << 20, peak >> 20


@pytest.mark.parametrize("raw", [b"\xff\xfe" + "schema: 1".encode("utf-16-le"), "schema: 1\nname: ä".encode("latin-1"), b"schema: 1\n\0", b"", b"\xef\xbb\xbfschema: 1"])
def test_other_encodings_are_one_clear_error(tmp_path: Path, raw: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "site.yaml").write_bytes(raw)
    assert run(["-C", str(tmp_path), "validate"]) == 3
    err = capsys.readouterr().err
    assert "site.yaml:1" in err or "site.yaml:2" in err, err
    assert "Traceback" not in err


def test_escape_sequences_of_a_program_are_shown_inert_on_a_card_and_in_the_files(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "site", tiny.row("a", r"printf '\033[2J\033]0;pwned\007 \033[31mred\n' >&2; exit 1", within=0, deadline=5))
    code, out, err = tiny.run(folder, "up", "--yes")
    assert code == 5 and "pwned" in err and "\x1b" not in out + err
    code, out, err = tiny.run(folder, "status")
    assert "\x1b" not in out + err
    assert "\x1b" not in (folder / ".bootstrap/journal/000001.ndjson").read_text()
    assert "\x1b" not in tiny.run(folder, "history")[1]


def test_a_card_keeps_its_shape_whatever_it_quotes() -> None:
    for nasty in hostile.NASTY:
        data = {"step": "p/s", "wanted": nasty, "found": nasty, "since": "", "asked": 3, "causes": [nasty], "next": [nasty], "evidence": "runs/r"}
        assert inert(card(data, Paint(False))).startswith("✗ p/s")


@pytest.mark.parametrize("value", ["-o", "--yes", "--phase=x", "../../etc", "/etc/passwd", "a\0b", "a\nb", "\x1b[2J", "", "x" * 10_000, "$(reboot)", "'; rm -rf /"])
def test_selections_that_look_like_options_or_paths_are_unknown_names(tmp_path_factory: pytest.TempPathFactory, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path_factory.mktemp("site"))
    for option in ("--phase", "--step", "--from", "--until", "--cluster"):
        assert run(["-C", str(folder), "plan", f"{option}={value}"]) == 64, option
        err = capsys.readouterr().err
        assert err.startswith("error: ") and "\x1b" not in err and len(err) < 30_000
    assert not (folder / ".bootstrap" / "journal").exists()


def test_names_of_the_site_that_look_like_options_or_paths_are_refused(tmp_path: Path) -> None:
    text = (write(tmp_path / "good") / "site.yaml").read_text()
    for number, value in enumerate(["-x", "--context", "../x", "a/b", ".", "..", "a b", "A\\u0000", "$(x)", "~"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "site.yaml").write_text(text.replace("lonely", json.dumps(value)[1:-1]))
        assert run(["-C", str(folder), "validate"]) == 3, value


def test_a_saved_plan_of_another_kind_is_one_clear_error(tmp_path: Path) -> None:
    folder = write(tmp_path / "site")
    for number, text in enumerate(["", "{}", "[]", '{"schema": 99}', '{"schema": "1"}', '{"schema": 1}', "\0", "[" * 100_000, "\x1b[2J"]):
        file = tmp_path / f"plan-{number}.json"
        file.write_text(text)
        assert run(["-C", str(folder), "up", str(file)]) in (9, 64), text[:20]
    (tmp_path / "folder").mkdir()
    assert bootstrap("-C", folder, "up", tmp_path / "folder").returncode == 64


def test_a_plan_that_was_read_is_the_plan_that_was_written() -> None:
    text = fuzz.saved_plan()
    assert Plan.parse(text).text() == text
    with pytest.raises(BootstrapError):
        Plan.parse(text[:-3])
    assert Repository is not None
