"""Two hundred planted secrets are in no file, record, card, plan, process list or environment but where they belong."""

from __future__ import annotations

import json
import os
import stat
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters import journal as journal_module
from orchestrator.adapters import process, state
from orchestrator.adapters.events import EventLog
from orchestrator.adapters.journal import Journal
from orchestrator.adapters.log import RunLog
from orchestrator.adapters.masking import MASK, Masker
from orchestrator.adapters.state import StateFolder
from orchestrator.cli import run
from orchestrator.cli.masked import MaskedEvents, MaskedJournal
from orchestrator.engine.terms import Card
from orchestrator.model.errors import StateError
from orchestrator.report.card import card
from orchestrator.report.paint import Paint
from tests.proof import planted, tiny
from tests.proof.offline import CREDENTIALS

PLANTED = planted.secrets()
SPEAKER = """
import sys, time
for line in open(sys.argv[1], "rb").read().splitlines(keepends=True):
    for stream in (sys.stdout.buffer, sys.stderr.buffer):
        for at in range(0, len(line), 7):
            stream.write(line[at:at + 7]); stream.flush()
sys.exit(1)
"""


@pytest.fixture(scope="module")
def masker() -> Masker:
    found = Masker()
    for secret in PLANTED:
        found.add(secret)
    return found


def shown() -> str:
    """All secrets in all forms, as a program may print them."""
    return "\n".join(text for secret in PLANTED for _, text in planted.forms(secret)) + "\n"


def test_the_proof_can_fail() -> None:
    assert len(PLANTED) == len(set(PLANTED)) == planted.COUNT
    assert len(planted.leaks(shown(), PLANTED)) == planted.COUNT


@pytest.mark.parametrize("form", [name for name, _ in planted.forms("x")])
def test_each_form_of_each_secret_is_masked(form: str, masker: Masker) -> None:
    for secret in PLANTED:
        text = dict(planted.forms(secret))[form]
        assert not planted.leaks(masker.mask(f"before {text} after"), [secret]), form


def test_what_a_program_prints_is_masked_in_files_and_in_its_tail(tmp_path: Path, masker: Masker) -> None:
    """Written seven bytes at a time, so that every secret is split over writes."""
    (tmp_path / "said").write_text(shown())
    (tmp_path / "speaker.py").write_text(SPEAKER)
    out, err = tmp_path / "out", tmp_path / "err"
    ended = process.run((sys.executable, "speaker.py", "said"), env={"PATH": os.environ["PATH"]}, cwd=tmp_path, within=60.0, masker=masker, stdout=out, stderr=err)
    assert ended.rc == 1 and MASK in ended.tail
    for text in (out.read_text(), err.read_text(), ended.tail):
        assert planted.leaks(text, PLANTED) == []
    assert len(out.read_text().splitlines()) > planted.COUNT * 10


def test_records_events_logs_cards_and_tracebacks_hold_none(tmp_path: Path, masker: Masker) -> None:
    journal = MaskedJournal(Journal(tmp_path / "journal"), masker)
    log = RunLog(tmp_path / "log.ndjson", run="r", mask=masker.mask)
    events = EventLog(tmp_path / "events.ndjson", run="r", site="s", listeners=(log.event,))
    told = MaskedEvents(events, masker)
    found: list[str] = []
    for number, secret in enumerate(PLANTED):
        forms = [text for _, text in planted.forms(secret)]
        for text in (forms[number % len(forms)], forms[(number * 5 + 3) % len(forms)]):  # each form with many secrets, each secret in two
            told_card = Card("p", "p/s", None, f"wanted {text}", f"found {text}", "", 1, (text,), (text,), "runs/r").to_json()
            data: dict[str, Any] = {"text": text, "list": [text, {"deep": (text,)}], "card": told_card}
            record = journal.append("step.failed", run="r", step="p/s", data=data, durable=False)
            told.emit("step.failed", step="p/s", data=data)
            found.append(card(record["data"]["card"], Paint(False)))
        try:
            raise StateError(f"could not use {secret}")
        except StateError as error:
            log.logger.error("failed", exc_info=error)
            found.append(masker.mask("".join(traceback.format_exception(error))))
    events.close()
    log.close()
    for text in (*found, *(path.read_text() for path in tmp_path.rglob("*.ndjson"))):
        assert planted.leaks(text, PLANTED) == []
    assert len((tmp_path / "log.ndjson").read_text().splitlines()) > planted.COUNT


LEAKY = """
echo "$1: $TOKEN" ; echo "$TOKEN" | base64 -w0 >&2 ; echo "https://u:$TOKEN@host/" >&2
touch "$1.begun"; until [ -e "$1.enough" ]; do sleep 0.05; done
[ -e once ] || { touch once; echo "error: bad token $TOKEN" >&2; exit 1; }
touch "$1"
"""
TOKEN = "run-token/with+signs&all=" + "Q7w9" * 4


def leaky(folder: Path, *, enough: bool) -> Path:
    """A site whose one step prints its secret, fails first, then succeeds; and a second step that needs no secret."""
    tiny.write(folder, tiny.row("a", LEAKY, env={"TOKEN": "env:PLANTED_TOKEN"}), tiny.row("b", "env > b.environ; touch b"))
    rows = json.loads((folder / "tiny.json").read_text())
    rows[0]["steps"][0]["argv"] = ["sh", "-c", LEAKY, "leaky", "a"]
    (folder / "tiny.json").write_text(json.dumps(rows))
    if enough:
        (folder / "a.enough").touch()
    return folder


def test_a_secret_is_in_the_environment_of_the_one_child_that_needs_it_and_nowhere_else(tmp_path: Path) -> None:
    folder = leaky(tmp_path / "site", enough=False)
    child = tiny.spawn(folder, "up", "--yes", env={"PLANTED_TOKEN": TOKEN})
    tiny.until((folder / "a.begun").exists, "the step's command")
    having, lines = [], []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environ, line = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
            session = os.getsid(int(entry.name))
        except (OSError, ProcessLookupError):
            continue
        lines.append(line.decode(errors="replace"))
        if f"TOKEN={TOKEN}".encode() in environ.split(b"\0"):
            having.append(int(entry.name))
        elif TOKEN.encode() in environ:
            assert session == child.pid, f"{entry.name} has the secret under another name"  # the command itself: its operator gave it there
    assert having and all(os.getsid(pid) != child.pid for pid in having)
    assert not any(TOKEN in line for line in lines)
    (folder / "a.enough").touch()
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert "PLANTED_TOKEN" not in (folder / "b.environ").read_text() and TOKEN not in (folder / "b.environ").read_text()
    assert planted.leaks(out + err, [TOKEN]) == []
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert [path for path in files if planted.leaks(path.read_text(errors="replace"), [TOKEN])] == []
    kept = "".join(path.read_text(errors="replace") for path in (folder / ".bootstrap").rglob("*") if path.is_file())
    assert kept.count(MASK) > 5


def test_no_plan_history_status_or_verification_shows_a_secret(tmp_path: Path) -> None:
    folder = leaky(tmp_path / "site", enough=True)
    env = {"PLANTED_TOKEN": TOKEN, **{f"S{n}": secret for n, secret in enumerate(PLANTED[:20]) if "\0" not in secret}}
    said = ""
    for args in (["plan", "--out", str(folder / "plan.json")], ["plan", "-o", "json"], ["up", str(folder / "plan.json")], ["status", "-o", "json"], ["history"], ["history", "-o", "ndjson"], ["verify"], ["up", "--yes", "-v"]):
        code, out, err = tiny.run(folder, *args, env=env)
        assert code == 0, (args, err)
        said += out + err
    said += (folder / "plan.json").read_text()
    assert planted.leaks(said, [TOKEN, *PLANTED[:20]]) == []


def test_everything_that_is_kept_is_private_whatever_the_umask(tmp_path: Path) -> None:
    folder = leaky(tmp_path / "site", enough=True)
    before = os.umask(0)
    try:
        assert tiny.run(folder, "plan", "--out", str(folder / "plan.json"), env={"PLANTED_TOKEN": TOKEN})[0] == 0
        assert tiny.run(folder, "up", "--yes", env={"PLANTED_TOKEN": TOKEN})[0] == 0
    finally:
        os.umask(before)
    kept = [folder / ".bootstrap", folder / "plan.json", *(folder / ".bootstrap").rglob("*")]
    modes = {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in kept}
    wrong = {name: oct(mode) for name, mode in modes.items() if mode != (0o700 if (folder / name).is_dir() else 0o600)}
    assert wrong == {}
    assert len(modes) > 10


def test_an_error_that_quotes_a_secret_is_masked_where_it_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is raised, by an adapter or as a bug: what the operator sees went through the masker."""
    from orchestrator.adapters.reader import SiteReader
    from tests.proof.offline import write

    folder = write(tmp_path / "site", "ten-weeks")
    secret = CREDENTIALS.git_token + "-and-more"
    for name, value in {"GITHUB_TOKEN": secret, "GATEWAY_PASSWORD": "gateway-pass-word", "S3_ACCESS_KEY": "an-access-key", "S3_SECRET_KEY": "a-secret-key"}.items():
        monkeypatch.setenv(name, value)
    for error in (StateError(f"refused: {secret}", hint=f"try {secret}"), RuntimeError(secret), OSError(5, secret)):

        def broken(self: object, query: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(SiteReader, "ask", broken)
        for args in (["plan"], ["-v", "plan"], ["verify"], ["doctor"]):
            assert run(["-C", str(folder), *args]) == getattr(error, "exit_code", 11 if isinstance(error, OSError) else 1)
            said = capsys.readouterr()
            assert planted.leaks(said.out + said.err, [secret]) == [], (args, error)


class TestStateFolder:
    """Who else may have had a hand in it."""

    @pytest.mark.parametrize("part", [".", "journal", "runs", "clusters", "lock"])
    def test_a_link_in_its_place_is_refused(self, tmp_path: Path, part: str) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        home = tmp_path / "site"
        home.mkdir()
        (home / ".bootstrap").symlink_to(elsewhere) if part == "." else (home / ".bootstrap").mkdir()
        if part != ".":
            (home / ".bootstrap" / part).symlink_to(elsewhere)
        with pytest.raises(StateError, match="symbolic link"):
            StateFolder(home).prepare()
        assert list(elsewhere.iterdir()) == []

    def test_somebody_elses_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / ".bootstrap").mkdir()
        monkeypatch.setattr(state.os, "geteuid", lambda: os.getuid() + 1)
        with pytest.raises(StateError, match="belongs to user"):
            StateFolder(tmp_path).prepare()

    def test_a_file_in_its_place_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / ".bootstrap").write_text("")
        with pytest.raises(StateError, match="no folder"):
            StateFolder(tmp_path).prepare()

    def test_one_that_others_could_read_is_closed(self, tmp_path: Path) -> None:
        (tmp_path / ".bootstrap").mkdir()
        (tmp_path / ".bootstrap").chmod(0o777)
        StateFolder(tmp_path).prepare()
        assert stat.S_IMODE((tmp_path / ".bootstrap").stat().st_mode) == 0o700


class TestHistory:
    """`history --verify` as the operator runs it."""

    @pytest.fixture
    def site(self, tmp_path: Path) -> Path:
        folder = tiny.write(tmp_path / "site", tiny.row("a", "touch a"), tiny.row("b", "touch b"))
        assert tiny.run(folder, "up", "--yes")[0] == 0
        return folder

    def test_every_kind_of_tampering_is_found(self, site: Path, capsys: pytest.CaptureFixture[str], counted: Callable[[str], None]) -> None:
        file = site / ".bootstrap/journal/000001.ndjson"
        lines = file.read_bytes().splitlines(keepends=True)
        assert len(lines) > 10 and run(["-C", str(site), "history", "--verify"]) == 0
        forged = json.loads(lines[-1])
        ways = {
            **{f"changed {n}": [*lines[:n], lines[n].replace(b'"at":"20', b'"at":"19'), *lines[n + 1 :]] for n in range(len(lines))},
            **{f"dropped {n}": lines[:n] + lines[n + 1 :] for n in range(len(lines))},
            **{f"swapped {n}": [*lines[:n], lines[n + 1], lines[n], *lines[n + 2 :]] for n in range(len(lines) - 1)},
            **{f"cut at {n}": lines[:n] for n in range(len(lines))},
            "doubled": [*lines, lines[-1]],
            "appended": [*lines, journal_module.line_of({**forged, "seq": len(lines) + 1, "prev": forged["hash"]})[0]],
        }
        for way, changed in ways.items():
            file.write_bytes(b"".join(changed))
            assert run(["-C", str(site), "history", "--verify"]) == 11, way
            assert "does not verify" in capsys.readouterr().err
        counted(f"journal: {len(ways)} ways of tampering, all found")

    def test_chain_and_anchor_rewritten_alike_are_not_found_here(self, site: Path) -> None:
        """What is not promised, said by a test: whoever rewrites all files of the state folder can make up a history."""
        folder = site / ".bootstrap/journal"
        lines, prev = [], ""
        for line in (folder / "000001.ndjson").read_bytes().splitlines():
            made, prev = journal_module.line_of({**json.loads(line), "at": "2020-01-01T00:00:00.000Z", "prev": prev})
            lines.append(made)
        (folder / "000001.ndjson").write_bytes(b"".join(lines))
        (folder / "anchor").write_bytes(journal_module._anchor_slot(len(lines), prev, len(lines)) * 2)
        assert run(["-C", str(site), "history", "--verify"]) == 0


def test_a_secret_that_was_typed_is_kept_nowhere(tmp_path: Path) -> None:
    """`command` and `reason` in journal and lock are what the operator typed, masked."""
    folder = leaky(tmp_path / "site", enough=False)
    child = tiny.spawn(folder, "up", "--yes", "--skip", "only/b", "--reason", f"because {CREDENTIALS.git_token}", env={"PLANTED_TOKEN": TOKEN})
    tiny.until((folder / "a.begun").exists, "the step's command")
    kept = (folder / ".bootstrap/lock").read_text()
    (folder / "a.enough").touch()
    _, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    kept += err + "".join(path.read_text(errors="replace") for path in (folder / ".bootstrap").rglob("*") if path.is_file())
    assert planted.leaks(kept, [CREDENTIALS.git_token]) == [] and "because ***" in kept
