"""Events and the log: shape, order, a slow or failing listener, a bound."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from orchestrator.adapters.events import EventLog
from orchestrator.adapters.log import RunLog


def test_the_first_line_names_run_and_site_and_listeners_get_the_rest_in_order(tmp_path: Path) -> None:
    heard: list[str] = []
    log = EventLog(tmp_path / "events.ndjson", run="r", site="s", listeners=[lambda event: heard.append(event["kind"])])
    for n in range(50):
        log.emit(f"step.{n}", phase="a", step="a/b", data={"n": n})
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "events.ndjson").read_text().splitlines()]
    assert lines[0]["schema"] == 1 and lines[0]["site"] == "s"
    assert list(lines[1]) == ["at", "run", "phase", "step", "node", "attempt", "kind", "data"]
    assert heard == [f"step.{n}" for n in range(50)] == [line["kind"] for line in lines[1:]]
    assert (tmp_path / "events.ndjson").stat().st_mode & 0o777 == 0o600


def test_a_listener_that_hangs_or_fails_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()

    def hangs(event: object) -> None:
        free.wait(10)
        raise RuntimeError

    monkeypatch.setattr("orchestrator.adapters.events.MOST_WAITING", 10)
    log = EventLog(tmp_path / "events.ndjson", run="r", site="s", listeners=[hangs])
    for n in range(100):
        log.emit("step.done", data={"n": n})
    free.set()
    log.close()
    assert len((tmp_path / "events.ndjson").read_text().splitlines()) == 101


def test_a_long_run_keeps_what_counts(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.ndjson", run="r", site="s", most_bytes=2000)
    for _ in range(100):
        log.emit("check.asked")
    log.emit("step.done")
    log.close()
    lines = (tmp_path / "events.ndjson").read_text().splitlines()
    assert len(lines) < 40 and "step.done" in lines[-1]


def test_the_log_is_masked_and_private(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "log.ndjson", run="r", mask=lambda line: line.replace("hunter2", "***"))
    log.event({"kind": "step.done", "phase": "a", "data": {"reason": "hunter2", "kind": "x", "event": "y", "action": {}}})
    try:
        raise ValueError("hunter2")
    except ValueError:
        log.logger.exception("failed")
    log.close()
    text = (tmp_path / "log.ndjson").read_text()
    assert "hunter2" not in text and [json.loads(line)["event"] for line in text.splitlines()] == ["step.done", "failed"]
    assert (tmp_path / "log.ndjson").stat().st_mode & 0o777 == 0o600
