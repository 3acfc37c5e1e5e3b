"""Discovery from files, over HTTP, and by names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.scrape.discovery.support import Reply, Request, around, http_server, running
from vedette.scrape.discovery.dns import DnsTargets
from vedette.scrape.discovery.files import FileTargets
from vedette.scrape.discovery.groups import TargetGroup, changed, group_of, read_groups
from vedette.scrape.discovery.http import HttpTargets
from vedette.scrape.discovery.settings import DnsDiscovery, FileDiscovery, HttpDiscovery

GROUPS = [{"targets": ["a:1", "b:2"], "labels": {"env": "prod"}}, {"targets": ["c:3"]}]


def replace_file(path: Path, content: str) -> None:
    """Write a file as deployments do: beside it, then renamed over it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(content)
    fresh.replace(path)


# ---- groups


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_groups_are_read_from_both_forms(form: str) -> None:
    """JSON and YAML give the same groups, with the further labels."""
    text = json.dumps(GROUPS)
    assert read_groups(text.encode(), "f", {"__meta_filepath": "f"}, form) == [
        group_of("f:0", ["a:1", "b:2"], {"env": "prod", "__meta_filepath": "f"}),
        group_of("f:1", ["c:3"], {"__meta_filepath": "f"}),
    ]


def test_labels_of_yaml_stay_text() -> None:
    """``yes`` and ``1.0`` are texts, as labels are."""
    (group,) = read_groups(b"- {targets: ['a:1'], labels: {x: yes, y: 1.0}}", "f", {}, "yaml")
    assert dict(group.labels) == {"x": "yes", "y": "1.0"}


@pytest.mark.parametrize(
    ("text", "form", "words"),
    [
        ("{", "json", "not JSON"),
        ("[", "yaml", "not YAML"),
        ("{}", "json", "must be a list"),
        ("[1]", "json", "group 1 must be a mapping"),
        ('[{"target": []}]', "json", 'unknown key "target"'),
        ('[{"targets": "a:1"}]', "json", "list of texts"),
        ('[{"targets": [], "labels": [1]}]', "json", "must be a mapping"),
        ('[{"targets": [], "labels": {"a": 1}}]', "json", "must be texts"),
        ("- &a {targets: []}\n- *a", "yaml", "aliases"),
    ],
)
def test_what_are_no_groups(text: str, form: str, words: str) -> None:
    """The message says what is wrong where."""
    with pytest.raises(ValueError, match=words):
        read_groups(text.encode(), "f", {}, form)


@given(st.binary(max_size=200), st.sampled_from(["json", "yaml"]))
def test_any_content_is_read_or_refused(content: bytes, form: str) -> None:
    """Nothing but ``ValueError`` comes of content that is no list of groups."""
    try:
        read_groups(content, "f", {}, form)
    except ValueError:
        return


groups = st.lists(
    st.builds(
        lambda source, address: group_of(source, [address], {}),
        st.sampled_from("abcd"),
        st.sampled_from(["x:1", "y:1"]),
    ),
    unique_by=lambda group: group.source,
)


@given(groups, groups)
def test_changes_lead_from_one_state_to_the_other(
    before: list[TargetGroup], after: list[TargetGroup]
) -> None:
    """Whoever applies what is published holds what was found, and nothing is told twice."""
    held = {group.source: group for group in before}
    news = changed(held, after)
    assert all(held.get(group.source) != group for group in news)
    for group in news:
        held[group.source] = group
        if not group.targets:
            del held[group.source]
    assert held == {group.source: group for group in after}


# ---- files


async def test_files_are_followed(tmp_path: Path) -> None:
    """New, changed and removed files show; one that is damaged keeps its targets."""
    first, second = tmp_path / "a.json", tmp_path / "b.yml"
    first.write_text(json.dumps(GROUPS))
    surroundings = around()
    settings = FileDiscovery((f"{tmp_path}/*.json", f"{tmp_path}/*.yml"))
    async with running(FileTargets(settings, surroundings)) as seen:
        await seen.until(lambda: seen.addresses() == ["a:1", "b:2", "c:3"])
        labels = dict(seen.groups[f"{first}:0"].labels)
        assert labels == {"env": "prod", "__meta_filepath": str(first)}
        second.write_text("- targets: [d:4]\n")
        await seen.until(lambda: seen.addresses() == ["a:1", "b:2", "c:3", "d:4"])
        replace_file(first, '[{"targets": ["e:5"]}]')
        await seen.until(lambda: seen.addresses() == ["d:4", "e:5"])
        replace_file(first, "[")
        second.unlink()
        await seen.until(lambda: seen.addresses() == ["e:5"])
        assert surroundings.stats.failures["file_sd", "file"] >= 1
        replace_file(first, "[]")
        await seen.until(lambda: not seen.groups)


# ---- HTTP


async def test_an_address_is_asked_again_and_again() -> None:
    """The answer replaces the one before; failures keep it and are counted by their reason."""
    answers = [
        Reply(body=json.dumps(GROUPS).encode()),
        Reply(500),
        Reply(body=b"[]", kind="text/html"),
        Reply(body=b"{}"),
        Reply(body=b'[{"targets": ["z:1"]}]'),
    ]
    asked: list[Request] = []

    async def serve(request: Request) -> Reply:
        asked.append(request)
        return answers[min(len(asked), len(answers)) - 1]

    surroundings = around()
    async with http_server(serve) as address:
        settings = HttpDiscovery(f"http://{address}/t", refresh_ms=20_000)
        async with running(HttpTargets(settings, surroundings)) as seen:
            await seen.until(lambda: seen.addresses() == ["a:1", "b:2", "c:3"])
            await seen.until(lambda: seen.addresses() == ["z:1"])
            assert seen.times == 2
    failures = surroundings.stats.failures
    assert failures["http_sd", "status"] == 1
    assert failures["http_sd", "content"] == 2
    assert asked[0].headers["x-prometheus-refresh-interval-seconds"] == "20"
    assert dict(next(iter(seen.groups.values())).labels) == {"__meta_url": f"http://{address}/t"}


async def test_an_address_that_cannot_be_reached_is_counted() -> None:
    """Nobody there is a failure like others."""

    async def serve(_: Request) -> Reply:
        return Reply()

    async with http_server(serve) as address:
        pass
    surroundings = around()
    discovery = HttpTargets(HttpDiscovery(f"http://{address}/"), surroundings)
    with pytest.raises(Exception, match="the request failed"):
        await discovery.ask()


# ---- names

ZONE = {
    ("_m._tcp.x.", "SRV"): ["10 5 9100 h1.x.", "10 5 9200 h2.x."],
    ("h.x.", "A"): ["10.0.0.1", "10.0.0.2"],
    ("h.x.", "AAAA"): ["fd00::1"],
    ("x.", "MX"): ["10 mail.x."],
    ("x.", "NS"): ["ns1.x."],
}


class NameServer(asyncio.DatagramProtocol):
    """Answers from ``ZONE``; names under ``broken.`` fail, others do not exist."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        answer = dns.message.make_response(query)
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        records = ZONE.get((name, kind))
        if records:
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *records))
        else:
            broken = name.startswith("broken.")
            answer.set_rcode(dns.rcode.SERVFAIL if broken else dns.rcode.NXDOMAIN)
        self.transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def name_server() -> AsyncIterator[dns.asyncresolver.Resolver]:
    """Run a name server on loopback; yield a resolver that asks it."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(NameServer, ("127.0.0.1", 0))
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = transport.get_extra_info("sockname")[1]
    try:
        yield resolver
    finally:
        transport.close()


@pytest.mark.parametrize(
    ("name", "kind", "addresses", "extra"),
    [
        ("_m._tcp.x", "SRV", ["h1.x:9100", "h2.x:9200"], ("srv_record_target", "h1.x.")),
        ("h.x", "A", ["10.0.0.1:80", "10.0.0.2:80"], None),
        ("h.x", "AAAA", ["[fd00::1]:80"], None),
        ("x", "MX", ["mail.x:80"], ("mx_record_target", "mail.x.")),
        ("x", "NS", ["ns1.x:80"], ("ns_record_target", "ns1.x.")),
    ],
)
async def test_names_are_looked_up(
    name: str, kind: str, addresses: list[str], extra: tuple[str, str] | None
) -> None:
    """Each type of record gives addresses and the labels that Prometheus gives."""
    async with name_server() as resolver:
        settings = DnsDiscovery((name,), kind, 80)
        async with running(DnsTargets(settings, around(), resolver)) as seen:
            await seen.until(lambda: seen.addresses() == addresses)
            labels = dict(seen.groups[name].targets[0])
            assert labels["__meta_dns_name"] == name
            if extra:
                assert labels[f"__meta_dns_{extra[0]}"] == extra[1]


async def test_names_that_fail_keep_their_targets_and_names_that_are_gone_lose_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server's failure is counted; that a name does not exist is an answer."""
    surroundings = around()
    async with name_server() as resolver:
        settings = DnsDiscovery(("h.x", "broken.x"), "A", 80)
        async with running(DnsTargets(settings, surroundings, resolver)) as seen:
            await seen.until(lambda: len(seen.addresses()) == 2)
            monkeypatch.delitem(ZONE, ("h.x.", "A"))
            await seen.until(lambda: not seen.groups)
    assert surroundings.stats.failures["dns_sd", "lookup"] >= 1
