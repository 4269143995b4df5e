"""Small parts of the lab's world: record, agenda, clock, disks, factory, dump, site copy."""

from __future__ import annotations

import asyncio
import base64
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory import load
from lab import dump, etcdfile, factory, hardware, sitecopy
from lab.agenda import Agenda
from lab.build import build
from lab.clock import Clock
from lab.record import Record
from lab.talos import goyaml, secrets
from lab.talos.loader import load_all

SITES = Path(__file__).parents[2] / "inventory" / "sites"


class Noon:
    """A clock that stands."""

    def now(self) -> datetime:
        return datetime(2026, 1, 5, 12, tzinfo=UTC)


def note(record: Record, what: str, *, mutates: bool) -> None:
    record.add(actor="helm", via="cli", what=what, argv=["helm", what], mutates=mutates, ok=True)


def test_writes_are_never_dropped_and_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "record.ndjson"
    record = Record(Noon(), path, reads=2)
    for i in range(5):
        note(record, f"read {i}", mutates=False)
        note(record, f"write {i}", mutates=True)
    assert [e.what for e in record.entries()] == ["write 0", "write 1", "write 2", "read 3", "write 3", "read 4", "write 4"]
    record.close()
    again = Record(Noon(), path)
    assert [e.what for e in again.writes()] == [f"write {i}" for i in range(5)]
    note(again, "write 5", mutates=True)
    assert again.writes()[-1].seq == 11


def test_an_entry_has_argv_or_request() -> None:
    record = Record(Noon())
    entry = record.add(actor="git", via="git", what="push", request="refs/heads/main", mutates=True, ok=False)
    assert entry.public() == {
        "at": "2026-01-05T12:00:00.000Z", "actor": "git", "via": "git", "what": "push", "request": "refs/heads/main",
        "mutates": True, "ok": False,
    }  # fmt: skip


def test_a_resumed_world_does_not_draw_again_what_it_has_drawn(tmp_path: Path) -> None:
    """Else a new pod gets the UID of one that was there before, and a reboot the boot id that the machine has."""
    site = load(SITES / "single-node" / "site.yaml")

    def draws(elapsed: float) -> list[object]:
        world, _ = build(tmp_path, site, speed=1.0, elapsed=elapsed)
        (cluster,) = world.clusters.values()
        return [world.random_for("git").random(), cluster.seed, next(iter(world.machines.values())).state.boot_id]

    assert draws(0.0) == draws(0.0)
    assert not set(draws(0.0)) & set(draws(60.0)) and not set(draws(60.0)) & set(draws(61.0))


def test_an_agenda_keeps_what_is_left_over_a_stop() -> None:
    async def scene() -> None:
        clock = Clock(10_000.0)
        rung: list[str] = []
        agenda = Agenda(clock, rung.append)
        agenda.set("later", 1e9)
        agenda.set("soon", 10.0)
        assert agenda.snapshot() == {"later": 1e9, "soon": 10.0}
        agenda.start()
        while not rung:
            await asyncio.sleep(0)
        assert rung == ["soon"]
        agenda.stop()
        left = agenda.snapshot()
        assert list(left) == ["later"]
        assert 0 < left["later"] <= 1e9
        other = Agenda(clock, rung.append)
        other.restore(left)
        assert "later" in other

    asyncio.run(scene())


def test_a_race_does_not_end_while_the_clock_is_held() -> None:
    async def scene() -> None:
        clock = Clock(1e6)
        clock.race_floor = 0.0
        ended: list[bool] = []
        with clock.hold():
            clock.race(1.0, lambda: ended.append(True))
            for _ in range(50):
                await asyncio.sleep(0)
            assert not ended
        for _ in range(2000):
            if ended:
                break
            await asyncio.sleep(0)
        assert ended == [True]

    asyncio.run(scene())


def test_a_race_lasts_at_least_30_s_of_the_wall() -> None:
    async def scene() -> None:
        race = Clock(1000.0).race(5.0, lambda: None)
        assert race.remaining > 29_000.0
        race.cancel()

    asyncio.run(scene())


@pytest.mark.parametrize("site", sorted(p.name for p in SITES.iterdir() if (p / "site.yaml").is_file()))
def test_every_sites_disks_satisfy_their_selectors(site: str) -> None:
    for node in load(SITES / site / "site.yaml").nodes:
        disks = hardware.disks_of(node, random.Random(1))
        for selector in (node.install_disk, *node.data_disks):
            wanted = {k: v for k, v in selector.model_dump(mode="json").items() if v is not None}
            assert hardware.choose_disk(disks, {"diskSelector": wanted}) is not None


def test_the_selector_wins_over_the_path_and_media_is_never_chosen() -> None:
    node = load(SITES / "ten-weeks" / "site.yaml").nodes[0]
    disks = hardware.disks_of(node, random.Random(1))
    by_both = hardware.choose_disk(disks, {"disk": "/dev/nvme0n1", "diskSelector": {"serial": "S6XXDATA01"}})
    assert by_both is not None and by_both.serial == "S6XXDATA01"
    assert hardware.choose_disk(disks, {"disk": "/dev/sr0"}) is None
    assert hardware.choose_disk(disks, {"diskSelector": {"serial": "nope"}}) is None


@pytest.mark.parametrize(
    ("condition", "size", "fits"),
    [("<= 512GB", 512 * 10**9, True), ("< 512GB", 512 * 10**9, False), (">= 1TiB", 2**40, True), ("100GB", 10**11, True)],
)
def test_size_conditions(condition: str, size: int, fits: bool) -> None:
    assert hardware.size_matches(condition, size) is fits


@given(st.sampled_from(("<", "<=", ">", ">=", "==")), st.integers(1, 4000))
def test_a_made_disk_satisfies_any_condition(operator: str, gigabytes: int) -> None:
    condition = f"{operator} {gigabytes}GB"
    assert hardware.size_matches(condition, hardware.size_for(condition, 512_110_190_592))


@pytest.mark.parametrize(("size", "text"), [(512_110_190_592, "512 GB"), (2_000_398_934_016, "2.0 TB"), (78_073_856, "78 MB"), (7, "7 B")])
def test_sizes_as_talos_prints_them(size: int, text: str) -> None:
    assert hardware.pretty(size) == text


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("customization: {}\n", "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"),
        (
            "customization:\n  extraKernelArgs: [net.ifnames=0]\n  systemExtensions:\n    officialExtensions: [siderolabs/gvisor, siderolabs/intel-ucode]\n",
            "b8e8fbbe1b520989e6c52c8dc8303070cb42095997e76e812fa8892393e1d176",
        ),
        (
            "customization: {systemExtensions: {officialExtensions: [siderolabs/iscsi-tools, siderolabs/util-linux-tools]}}",
            "613e1592b2da41ae5e265e8789429f22e121aab91cb4deb6bc3c0b6262961245",
        ),
    ],
)
def test_schematic_ids_are_the_factorys(text: str, number: str) -> None:
    """Source: foundation.md 2, ids that Sidero documents."""
    assert factory.schematic_id(text) == number


def test_a_schematic_with_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValueError, match="field customisation not found"):
        factory.canonical("customisation: {}")


@given(
    st.recursive(
        st.one_of(st.booleans(), st.integers(-5, 5), st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=8)),
        lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), inner, min_size=1, max_size=3),
        max_leaves=8,
    )
)
def test_what_is_written_as_yaml_reads_back(value: object) -> None:
    assert load_all(goyaml.dump({"k": value})) == [{"k": value}]


def test_a_snapshot_file_tells_when_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "db"
    store = {"version": 7, "objects": [{"object": {}}]}
    info = etcdfile.write(path, store)
    assert (info.revision, info.keys, info.size) == (7, 1, path.stat().st_size)
    assert etcdfile.read(path) == store
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="hash mismatch"):
        etcdfile.read(path)


def test_placeholders_are_consistent_and_children_do_not_meet() -> None:
    names = dump.Names()
    assert names.name("abcde", "pod:x", within=True) == "<pod:x>"
    assert names.name("fghij", "pod:x", within=True) == "<pod:x:2>"
    assert names.name("abcde", "other") == "<pod:x>"
    assert names.in_text("on fghij and abcde-1") == "on <pod:x:2> and <pod:x>-1"
    one, other = names.child(), names.child()
    assert one.name("new", "a") == other.name("newer", "a") == "<a>"


def test_certificates_and_times_are_placeholders() -> None:
    names = dump.Names()
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    shown = dump._plain({"a": pem, "b": base64.b64encode(pem.encode()).decode(), "c": "at 2026-01-02T03:04:05Z"}, names)
    assert shown == {"a": "<pem>\n", "b": "<base64 <pem>>", "c": "at <time>"}


def test_trust_is_decided_as_tls_does() -> None:
    bundle, other = secrets.new_bundle(), secrets.new_bundle()
    context = secrets.client_config("infra", bundle)["contexts"]["infra"]
    ca = secrets.unb64(bundle["certs"]["os"]["crt"])
    assert secrets.roles(secrets.check_trust(context, ca)) == ["os:admin"]
    with pytest.raises(secrets.TrustError, match=r'unknown authority"$'):
        secrets.check_trust(context, None)
    with pytest.raises(secrets.TrustError, match="Ed25519 verification failure"):
        secrets.check_trust(context, secrets.unb64(other["certs"]["os"]["crt"]))
    pair = secrets.Pair(ca, secrets.unb64(bundle["certs"]["os"]["key"]))
    late = {**context, **secrets.issue_client(pair, ["os:admin"], days=-1).encoded()}
    with pytest.raises(secrets.TrustError, match="expired certificate"):
        secrets.check_trust(late, ca)


@pytest.mark.parametrize("site", sorted(p.name for p in SITES.iterdir() if (p / "site.yaml").is_file()))
def test_the_copy_of_a_site_differs_in_nothing_but_what_is_said(site: str, tmp_path: Path) -> None:
    original = load(SITES / site / "site.yaml")
    over_ssh = original.git.url.startswith("ssh://")
    changed = sitecopy.addresses(
        original,
        factory="http://127.0.0.1:1",
        apis={c.name: f"https://127.0.0.1:{2000 + i}" for i, c in enumerate(original.clusters)},
        gateway_port=3,
        git_url="ssh://git@127.0.0.1:4/o/r.git" if over_ssh else "http://127.0.0.1:4/o/r.git",
        store="http://127.0.0.1:5",
    )
    (tmp_path / "site.yaml").write_text(sitecopy.text(original, changed))
    copy = load(tmp_path / "site.yaml")
    before, after = original.model_dump(mode="json"), copy.model_dump(mode="json")
    assert set(_different(before, after)) <= set(changed)


def _different(one: object, other: object, path: str = "") -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        return [p for k in one for p in _different(one[k], other[k], f"{path}.{k}".lstrip("."))]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [p for i, v in enumerate(one) for p in _different(v, other[i], f"{path}.{i}")]
    return [] if one == other else [path]
