"""The real command as a program: help, exit codes, where text goes, twins in the environment, completion, Ctrl-C."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.lock import Lock
from orchestrator.cli import COMMANDS, hoisted, run
from tests.proof import tiny
from tests.proof.offline import bootstrap, environment, write

HEAVY = ("kubernetes", "paramiko", "structlog", "pydantic", "rich", "yaml", "tenacity", "cryptography", "asyncio", "inventory", "phases")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("site"))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return write(tmp_path / "site")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "lab"])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"Usage: bootstrap {name}") and said.err == ""


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = f"import sys; from orchestrator.cli import run; code = run(['--help']); print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr); sys.exit(code)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["upp"], 64, "did you mean up?"),
        (["plan", "--what"], 64, "No such option"),
        (["plan", "--phase", "netwrok"], 64, "did you mean network?"),
        (["plan", "--step", "talos/etcd-bootstrp"], 64, "did you mean talos"),
        (["plan", "--week", "11"], 64, "11"),
        (["plan", "--cluster", "lonly"], 64, "did you mean lonely?"),
        (["plan", "--skip", "gitops"], 64, "wants a reason"),
        (["up", "no-such-plan.json"], 64, "no saved plan"),
        (["approve", "preflight/tools", "--reason", "x"], 64, ""),
        (["resume"], 64, "no run to resume"),
        (["kubeconfig", "lonly"], 64, "did you mean lonely?"),
        (["kubeconfig", "lonely"], 4, "no kubeconfig for lonely"),
        (["doctor"], 4, ""),
        (["plan", "--detailed-exitcode"], 2, ""),
        (["plan"], 0, ""),
        (["verify"], 0, ""),
        (["status"], 0, ""),
        (["validate"], 0, ""),
        (["schema"], 0, ""),
        (["version"], 0, ""),
        (["history"], 0, ""),
    ],
)
def test_exit_codes_of_what_changes_nothing(site: Path, args: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    before = sorted(path for path in site.rglob("*") if "journal" in path.parts or "runs" in path.parts)
    assert run(["-C", str(site), *args]) == code
    err = capsys.readouterr().err
    assert said in err
    assert ("error: " in err) == (code not in (0, 2) and args != ["doctor"])
    assert "Traceback" not in err and "bug:" not in err
    if args[0] != "approve":
        assert before == sorted(path for path in site.rglob("*") if "journal" in path.parts or "runs" in path.parts)


def test_a_folder_without_a_site_and_a_broken_one_are_3(own: Path, tmp_path: Path) -> None:
    done = bootstrap("-C", tmp_path, "plan")
    assert done.returncode == 3 and "bootstrap init" in done.stderr
    (own / "site.yaml").write_text((own / "site.yaml").read_text().replace("schema: 1", "schema: 1\nnodez: []"))
    done = bootstrap("-C", own, "up", "--yes")
    assert done.returncode == 3 and "nodez" in done.stderr and "nodes" in done.stderr
    assert not (own / ".bootstrap").exists()


def test_a_phase_whose_needs_are_not_done_is_4_and_says_what_to_run_first(own: Path) -> None:
    done = bootstrap("-C", own, "up", "--yes", "--phase", "network@lonely")
    assert done.returncode == 4 and "run preflight first" in done.stderr and "hint: bootstrap up --phase preflight" in done.stderr


def test_a_failed_precondition_is_4_with_its_card_and_status_keeps_it(own: Path) -> None:
    done = bootstrap("-C", own, "up", "--yes")
    assert done.returncode == 4 and "wanted" in done.stderr and "found" in done.stderr and done.stdout == ""
    card = json.loads(bootstrap("-C", own, "status", "-o", "json").stdout)["failure"]
    assert card["phase"] == "preflight" and card["next"] and card["asked"] >= 1
    assert (own / ".bootstrap" / card["evidence"]).is_dir()


def test_nobody_to_ask_is_7_and_nothing_is_written_down(own: Path) -> None:
    done = bootstrap("-C", own, "up")
    assert done.returncode == 7 and "--yes" in done.stderr
    assert not list((own / ".bootstrap" / "journal").glob("*.ndjson"))


def test_a_held_lock_is_8_and_says_who_has_it(own: Path) -> None:
    (own / ".bootstrap").mkdir(mode=0o700)
    lock = Lock.take(own / ".bootstrap", command="bootstrap up --phase talos")
    try:
        done = bootstrap("-C", own, "up", "--yes")
        assert done.returncode == 8 and "bootstrap up --phase talos" in done.stderr and "sign of life" in done.stderr
        assert bootstrap("-C", own, "unlock").returncode == 8
    finally:
        lock.release()
    assert bootstrap("-C", own, "unlock").returncode == 0


def test_a_plan_whose_site_moved_is_9(own: Path) -> None:
    plan = own / "plan.json"
    assert bootstrap("-C", own, "plan", "--out", plan).returncode == 0
    (own / "site.yaml").write_text((own / "site.yaml").read_text().replace("poll: 0.05", "poll: 0.06"))
    done = bootstrap("-C", own, "up", plan)
    assert done.returncode == 9 and "site was changed" in done.stderr


def test_a_state_folder_that_cannot_be_used_is_11(own: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (own / ".bootstrap").symlink_to(elsewhere)
    done = bootstrap("-C", own, "up", "--yes")
    assert done.returncode == 11 and "symbolic link" in done.stderr and not list(elsewhere.iterdir())


def test_a_damaged_journal_is_11(own: Path) -> None:
    assert bootstrap("-C", own, "up", "--yes").returncode == 4
    file = own / ".bootstrap" / "journal" / "000001.ndjson"
    file.write_bytes(file.read_bytes().replace(b"run.started", b"run.startet"))
    for args in (["up", "--yes"], ["status"], ["history", "--verify"], ["plan"]):
        done = bootstrap("-C", own, *args)
        assert done.returncode == 11 and "line 2" in done.stderr, (args, done.stderr)


def test_the_site_is_found_where_it_is_said_to_be(site: Path, tmp_path: Path) -> None:
    assert bootstrap("validate", cwd=site).returncode == 0
    assert bootstrap("-C", site, "validate", cwd=tmp_path).returncode == 0
    assert bootstrap("validate", cwd=tmp_path, env=environment(BOOTSTRAP_DIR=str(site))).returncode == 0
    assert bootstrap("--site", site / "site.yaml", "validate", cwd=tmp_path).returncode == 0
    assert bootstrap("validate", cwd=tmp_path, env=environment(BOOTSTRAP_SITE=str(site / "site.yaml"))).returncode == 0


def test_options_have_twins_in_the_environment(site: Path) -> None:
    done = bootstrap("-C", site, "version", env=environment(BOOTSTRAP_OUTPUT="json"))
    assert json.loads(done.stdout)["version"]
    done = bootstrap("-C", site, "plan", env=environment(BOOTSTRAP_PHASE="netwrok"))
    assert done.returncode == 64 and "network" in done.stderr
    assert bootstrap("-C", site, "plan", "--phase", "preflight", env=environment(BOOTSTRAP_QUIET="1")).stderr == ""


def test_data_is_on_stdout_alone_and_parses(site: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    for args in (["plan", "-o", "json"], ["status", "-o", "json"], ["verify", "-o", "json"], ["doctor", "-o", "json"], ["validate", "-o", "json"], ["schema"]):
        run(["-C", str(site), *args])
        assert isinstance(json.loads(capfd.readouterr().out), dict), args


@pytest.mark.parametrize("switch", [["--no-color"], []])
def test_no_color_means_no_escape(site: Path, switch: list[str]) -> None:
    done = bootstrap("-C", site, *switch, "plan", env=environment(NO_COLOR="1", TERM="xterm-256color", FORCE_COLOR="1"))
    assert "\x1b" not in done.stdout + done.stderr


def test_how_to_speak_can_be_said_behind_the_command() -> None:
    assert hoisted(["plan", "-v", "--phase", "x"]) == ["-v", "plan", "--phase", "x"]
    assert hoisted(["lab", "start", "-v"]) == ["lab", "start", "-v"]
    assert hoisted(["plan", "--", "-v"]) == ["plan", "--", "-v"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_valid_and_completes(shell: str, tmp_path: Path) -> None:
    script = bootstrap("completion", shell).stdout
    assert "_BOOTSTRAP_COMPLETE" in script
    where = shutil.which(shell)
    if where is None:
        pytest.skip(f"{shell} is not installed here: its script is printed, not parsed")
    (tmp_path / "script").write_text(script)
    subprocess.run([where, "-n", str(tmp_path / "script")], check=True, timeout=20)


def test_completion_names_commands_and_options() -> None:
    env = environment(_BOOTSTRAP_COMPLETE="bash_complete", COMP_WORDS="bootstrap pl", COMP_CWORD="1")
    assert "plan" in bootstrap(env=env).stdout


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Path]:
    yield tiny.write(tmp_path / "site", tiny.row("a", "echo begun > begun; sleep 1; touch a"), tiny.row("b", "touch b"))


def test_one_ctrl_c_stops_at_the_next_safe_point_and_loses_nothing(slow: Path) -> None:
    child = tiny.spawn(slow, "up", "--yes")
    tiny.until((slow / "begun").exists, "the first command")
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130 and "next safe point" in err, err
    assert (slow / "a").exists() and not (slow / "b").exists()
    assert tiny.run(slow, "up", "--yes")[0] == 0
    ended = [json.loads(line)["kind"] for line in (slow / ".bootstrap/journal/000001.ndjson").read_text().splitlines()]
    assert ended.count("action.started") == ended.count("action.ended") == 2


def test_status_tells_a_run_that_goes_on_from_one_that_was_killed(tmp_path: Path) -> None:
    def told(*more: str) -> str:
        return tiny.run(folder, "status", *more)[1]

    folder = tiny.write(tmp_path / "site", tiny.row("a", "echo begun > begun; until [ -e enough ]; do sleep 0.05; done; touch a"))
    child = tiny.spawn(folder, "up", "--yes")
    tiny.until((folder / "begun").exists, "the command")
    assert json.loads(told("-o", "json"))["run"]["state"] == "running"
    child.kill()
    child.communicate(timeout=30)
    run = json.loads(told("-o", "json"))["run"]
    assert (run["state"], run["exit_code"], run["ended_at"]) == ("lost", None, None) and run["seconds"] < 30
    assert "ended without a word" in told() and "bootstrap resume" in told()
    (folder / "enough").touch()
    assert tiny.run(folder, "resume", "--yes")[0] == 0
    assert json.loads(told("-o", "json"))["run"]["state"] == "done"


def test_a_second_ctrl_c_ends_the_children_and_journals_it(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "site", tiny.row("a", "echo $$ > begun; sleep 600; touch a"))
    child = tiny.spawn(folder, "up", "--yes")
    tiny.until(lambda: (folder / "begun").exists() and (folder / "begun").read_text().strip() != "", "the first command")
    grandchild = int((folder / "begun").read_text())
    child.send_signal(signal.SIGINT)
    assert child.stderr is not None  # it is a pipe
    assert any("next safe point" in line for line in child.stderr)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130, err
    assert not Path(f"/proc/{grandchild}").exists()
    records = [json.loads(line) for line in (folder / ".bootstrap/journal/000001.ndjson").read_text().splitlines()]
    assert [r["data"]["stopped"] for r in records if r["kind"] == "action.ended"] == [True]
    assert records[-1]["kind"] == "run.stopped"
    assert not (folder / ".bootstrap/lock").exists()


def test_sigterm_is_143(slow: Path) -> None:
    child = tiny.spawn(slow, "up", "--yes")
    tiny.until((slow / "begun").exists, "the first command")
    child.terminate()
    child.communicate(timeout=30)
    assert child.returncode == 143
