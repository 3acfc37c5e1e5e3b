"""prometheus.yml: read as it is, with a place for everything that is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.config.errors import ConfigError
from vedette.config.prometheus import (
    expanded,
    load_prometheus,
    read_prometheus,
    with_prometheus,
)
from vedette.config.settings import Settings
from vedette.forward.settings import Destination, short_name
from vedette.kit.http_settings import (
    HttpSettings,
    OAuth2,
    ProxySettings,
    SecretSource,
    TlsSettings,
)
from vedette.kit.relabel import Action, RelabelRule
from vedette.kit.secrets import Secret
from vedette.kit.yamlpos import Fault
from vedette.scrape.discovery.groups import group_of
from vedette.scrape.discovery.settings import (
    DnsDiscovery,
    FileDiscovery,
    HttpDiscovery,
    KubernetesDiscovery,
    KubernetesSelector,
    StaticDiscovery,
)
from vedette.scrape.formats import ScrapeProtocol
from vedette.scrape.settings import ScrapeJob, ScrapeSettings
from vedette.scrape.targets import TargetMaker

EVERYTHING = """
global:
  scrape_interval: 30s
  scrape_timeout: 5s
  evaluation_interval: 20s
  external_labels: {cluster: "${CLUSTER}-1"}
  sample_limit: 100
  scrape_protocols: [PrometheusText0.0.4]
runtime: {gogc: 75}
rule_files: [rules/*.yml]
alerting:
  alert_relabel_configs: [{regex: a, action: labeldrop}]
  alertmanagers: [{static_configs: [{targets: [am:9093]}]}]
remote_read: [{url: http://r/}]
storage: {tsdb: {out_of_order_time_window: 10m}}
remote_write:
- url: http://w/api/v1/write
  name: w
  bearer_token: t
  queue_config: {max_samples_per_send: 5, batch_send_deadline: 1s}
- url: http://x/
  protobuf_message: io.prometheus.write.v2.Request
  remote_timeout: 3s
  send_exemplars: true
  send_native_histograms: true
  headers: {X-Scope-OrgID: t}
  write_relabel_configs: [{regex: a, action: labeldrop}]
  tls_config: {ca_file: ca.pem}
  proxy_url: http://proxy:3128
  oauth2: {client_id: c, client_secret: s, token_url: http://t/}
  metadata_config: {send: false, send_interval: 2m, max_samples_per_send: 10}
  queue_config:
    {capacity: 1, min_shards: 1, max_shards: 9, min_backoff: 1s, max_backoff: 2s,
     retry_on_http_429: false, sample_age_limit: 1h}
- url: http://x/
- url: http://y/
  sigv4: {region: r}
scrape_configs:
- job_name: all
  honor_labels: true
  honor_timestamps: false
  track_timestamps_staleness: true
  params: {module: [http, dns]}
  scrape_interval: 10s
  scrape_timeout: 4s
  scrape_protocols: [PrometheusProto, OpenMetricsText1.0.0]
  fallback_scrape_protocol: PrometheusText0.0.4
  scrape_native_histograms: true
  always_scrape_classic_histograms: true
  convert_classic_histograms_to_nhcb: true
  metrics_path: /m
  scheme: https
  enable_compression: false
  body_size_limit: 10MB
  sample_limit: 7
  label_limit: 8
  label_name_length_limit: 9
  label_value_length_limit: 10
  target_limit: 11
  keep_dropped_targets: 12
  metric_name_escaping_scheme: dots
  basic_auth: {username: u, password: p}
  tls_config: {ca_file: ca.pem, insecure_skip_verify: true, server_name: s}
  proxy_url: http://proxy:3128
  follow_redirects: false
  enable_http2: true
  http_headers: {X-A: {values: [b]}}
  relabel_configs: [{source_labels: [a], regex: b, action: keep}]
  metric_relabel_configs: [{target_label: x, replacement: y}]
  static_configs: [{targets: ['h:1', '[::1]:2'], labels: {env: prod}}]
  file_sd_configs: [{files: ['sd/*.yml'], refresh_interval: 1m}]
  http_sd_configs: [{url: 'http://sd/', refresh_interval: 2m}]
  dns_sd_configs: [{names: [a.b], type: A, port: 80, refresh_interval: 3s}]
  kubernetes_sd_configs:
  - role: pod
    api_server: https://k8s:6443/
    authorization: {credentials_file: token}
    namespaces: {names: [a], own_namespace: true}
    selectors: [{role: pod, label: app=x, field: spec.nodeName=n}]
    attach_metadata: {node: true, namespace: true, job: true}
- job_name: default
  consul_sd_configs: [{server: 'c:1'}]
"""


def read(text: str, folder: Path = Path("/etc/p")) -> tuple[ScrapeJob, ...]:
    """Return the jobs in ``text``, which must have no fault."""
    faults: list[Fault] = []
    found = read_prometheus(text, str(folder / "p.yml"), faults)
    assert faults == []
    return found.jobs


def test_every_key_of_a_job_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that says everything has settings that say the same."""
    monkeypatch.setenv("CLUSTER", "north")
    job, default = read(EVERYTHING)
    assert (job.job, job.interval_ms, job.timeout_ms) == ("all", 10_000, 4_000)
    assert (job.path, job.scheme, job.compression) == ("/m", "https", False)
    assert job.params == (("module", "http"), ("module", "dns"))
    assert (job.honor_labels, job.honor_timestamps, job.track_stale_timestamps) == (
        True,
        False,
        True,
    )
    limits = job.limits
    assert (limits.body_bytes, limits.kept_samples, limits.labels) == (10 << 20, 7, 8)
    assert (limits.name_length, limits.value_length, limits.strict) == (9, 10, True)
    assert (job.target_limit, job.keep_dropped) == (11, 12)
    formats = job.formats
    assert formats.protocols == (ScrapeProtocol.PROTO, ScrapeProtocol.OPENMETRICS_1_0_0)
    assert formats.fallback is ScrapeProtocol.TEXT_0_0_4
    assert formats.escaping == "dots"
    assert formats.native_histograms
    assert formats.classic_histograms
    assert formats.convert_classic
    http = job.http
    assert http.basic_auth is not None
    assert http.basic_auth.password == SecretSource(Secret("p"))
    assert http.tls.ca_file == "/etc/p/ca.pem"
    assert (http.tls.server_name, http.tls.insecure_skip_verify) == ("s", True)
    assert http.proxy.url == Secret("http://proxy:3128")
    assert not http.follow_redirects
    assert http.headers == (("X-A", (SecretSource(Secret("b")),)),)
    assert job.relabel == (RelabelRule(Action.KEEP, ("a",), regex="b"),)
    assert job.metric_relabel == (RelabelRule(target_label="x", replacement="y"),)
    assert default.http == HttpSettings()
    assert (default.interval_ms, default.timeout_ms) == (30_000, 5_000)
    assert default.formats.protocols == (ScrapeProtocol.TEXT_0_0_4,)
    assert default.limits.kept_samples == 100


def test_targets_of_a_prober_are_addresses_of_others() -> None:
    """With relabel_configs a target may be a whole address, as for the blackbox exporter."""
    (job,) = read(
        """
scrape_configs:
- job_name: probe
  metrics_path: /probe
  params: {module: [http_2xx]}
  static_configs: [{targets: ['https://a.example/x']}]
  relabel_configs:
  - {source_labels: [__address__], target_label: __param_target}
  - {source_labels: [__param_target], target_label: instance}
  - {target_label: __address__, replacement: '127.0.0.1:9115'}
"""
    )
    (static,) = job.discovery
    assert isinstance(static, StaticDiscovery)
    ((target,), dropped, faults) = TargetMaker(job, True).make(static.groups[0])
    assert (dropped, faults) == ([], [])
    assert target.url == (
        "http://127.0.0.1:9115/probe?module=http_2xx&target=https%3A%2F%2Fa.example%2Fx"
    )
    assert target.labels.get("instance") == "https://a.example/x"


def test_names_of_before_prometheus_3() -> None:
    """The scheme of ``global`` holds unless a job says otherwise; it also asks for escaping."""
    first, second = read(
        "global: {metric_name_validation_scheme: legacy}\n"
        "scrape_configs: [{job_name: a}, {job_name: b, metric_name_validation_scheme: utf8}]"
    )
    assert (first.legacy_names, first.formats.escaping) == (True, "underscores")
    assert not second.legacy_names


def test_every_discovery_is_read() -> None:
    """Each mechanism becomes settings of its own, files looked up beside the configuration."""
    job, default = read(EVERYTHING)
    static, files, http, dns, kubernetes = job.discovery
    assert static == StaticDiscovery((group_of("0", ["h:1", "[::1]:2"], {"env": "prod"}),))
    assert files == FileDiscovery(("/etc/p/sd/*.yml",), 60_000)
    assert http == HttpDiscovery("http://sd/", refresh_ms=120_000)
    assert dns == DnsDiscovery(("a.b",), "A", 80, 3_000)
    assert isinstance(kubernetes, KubernetesDiscovery)
    assert kubernetes.api_server == "https://k8s:6443"
    assert kubernetes.namespaces == ("a",)
    assert kubernetes.own_namespace
    assert kubernetes.selectors == (KubernetesSelector("pod", "app=x", "spec.nodeName=n"),)
    assert kubernetes.attach_node
    assert kubernetes.http.authorization is not None
    assert kubernetes.http.authorization.credentials.file == "/etc/p/token"
    assert default.discovery == (StaticDiscovery(()),)


def test_the_rest_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules and remote writes are used; what is not done is named with its place."""
    monkeypatch.setenv("CLUSTER", "north")
    found = read_prometheus(EVERYTHING, "/etc/p/p.yml", [])
    assert found.rule_files == ("/etc/p/rules/*.yml",)
    assert found.evaluation_interval_ms == 20_000
    destination = found.remote_write[0]
    assert (destination.name, destination.url) == ("w", Secret("http://w/api/v1/write"))
    assert destination.external_labels == (("cluster", "north-1"),)
    assert (destination.samples_per_request, destination.deadline_ms) == (5, 1_000)
    said = "\n".join(found.warnings)
    for words in (
        "remote_read",
        "storage",
        "runtime",
        "Alertmanager",
        "consul_sd",
        "sigv4",
    ):
        assert words in said
    assert "external_labels" not in said
    assert re.search(r"/etc/p/p.yml:\d+:\d+: .* y is left out: sigv4", said)


def test_every_key_of_remote_write_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting of an entry arrives; entries without a name may have the same address."""
    monkeypatch.setenv("CLUSTER", "north")
    _, full, again = read_prometheus(EVERYTHING, "/etc/p/p.yml", []).remote_write
    assert (full.name, again.name) == (short_name(full.url), f"{full.name}-2")
    assert full == Destination(
        name=full.name,
        url=Secret("http://x/"),
        version=2,
        http=HttpSettings(
            oauth2=OAuth2("c", SecretSource(Secret("s")), "http://t/"),
            tls=TlsSettings(ca_file="/etc/p/ca.pem"),
            proxy=ProxySettings(Secret("http://proxy:3128")),
            follow_redirects=False,
            headers=(("X-Scope-OrgID", (SecretSource(Secret("t")),)),),
        ),
        external_labels=(("cluster", "north-1"),),
        relabel=(RelabelRule(Action.LABELDROP, regex="a"),),
        timeout_ms=3_000,
        shards=9,
        min_backoff_ms=1_000,
        max_backoff_ms=2_000,
        retry_429=False,
        max_age_ms=3_600_000,
        send_exemplars=True,
        send_metadata=False,
        metadata_ms=120_000,
    )
    assert again.version == 1
    assert not again.send_histograms


def test_remote_write_with_a_password() -> None:
    """User and password are used."""
    text = "remote_write: [{url: http://w/, basic_auth: {username: u, password: p}}]"
    faults: list[Fault] = []
    found = read_prometheus(text, "p.yml", faults)
    assert (faults, found.warnings) == ([], ())
    basic = found.remote_write[0].http.basic_auth
    assert basic is not None
    assert (basic.username.read(), basic.password.read()) == ("u", "p")


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("globl: {}", "p.yml:1:1", 'did you mean "global"'),
        ("scrape_configs: [{job_name: a, interval: 5s}]", "p.yml:1:32", 'unknown key "interval"'),
        ("scrape_configs: [{scheme: http}]", "p.yml:1:18", 'lacks "job_name"'),
        ("scrape_configs: [{job_name: a}, {job_name: a}]", "p.yml:1:", "a second time"),
        ("global: {scrape_interval: 5s, scrape_timeout: 6s}", "p.yml:1:47", "longer than"),
        ("scrape_configs: [{job_name: a, scheme: ftp}]", "p.yml:1:40", "http or https"),
        ("scrape_configs: [{job_name: a, metrics_path: m}]", "p.yml:1:46", 'start with "/"'),
        ("scrape_configs: [{job_name: a, scrape_interval: 5}]", "p.yml:1:49", '"5s"'),
        ("scrape_configs: [{job_name: a, body_size_limit: 5X}]", "p.yml:1:49", "10MB"),
        (
            "scrape_configs: [{job_name: a, scrape_protocols: [x]}]",
            "p.yml:1:51",
            "unknown protocol",
        ),
        (
            "scrape_configs: [{job_name: a, static_configs: [{targets: ['http://h/m']}]}]",
            "p.yml:1:60",
            "is not an address",
        ),
        (
            "scrape_configs: [{job_name: a, dns_sd_configs: [{names: [a], type: A}]}]",
            "p.yml:1:68",
            "have no port",
        ),
        (
            "scrape_configs: [{job_name: a, file_sd_configs: [{files: [a.txt]}]}]",
            "p.yml:1:59",
            ".json, .yml or .yaml",
        ),
        (
            "scrape_configs: [{job_name: a, kubernetes_sd_configs: [{role: pot}]}]",
            "p.yml:1:63",
            "unknown role",
        ),
        (
            "scrape_configs: [{job_name: a, relabel_configs: [{action: hashmod}]}]",
            "p.yml:1:50",
            "modulus",
        ),
        ("scrape_config_files: [absent.yml]", "p.yml:1:23", "there is no file"),
        ("remote_write: [{url: htp://w/api}]", "p.yml:1:22", "http:// or https://"),
        ("remote_write: [{url: 'http://:9/'}]", "p.yml:1:22", "names no host"),
    ],
)
def test_faults_have_a_place(text: str, place: str, words: str) -> None:
    """Line, column and what to do, for whatever does not fit."""
    faults: list[Fault] = []
    read_prometheus(text, "p.yml", faults)
    assert any(words in str(fault) and str(fault).startswith(place) for fault in faults), faults


def test_an_unknown_action_is_one_fault() -> None:
    """What an action needs is not told of an action that nobody knows."""
    faults: list[Fault] = []
    read_prometheus(
        "scrape_configs: [{job_name: a, relabel_configs: [{action: dorp}]}]", "p.yml", faults
    )
    assert [fault.message for fault in faults] == ['unknown action "dorp"']


def test_files_of_secrets_that_are_not_there(tmp_path: Path) -> None:
    """Files that a job needs and that cannot be read are named in warnings, others are not."""
    (tmp_path / "there.pem").write_text("-")
    text = (
        "scrape_configs: [{job_name: a, basic_auth: {username: u, password_file: gone},"
        " tls_config: {ca_file: there.pem}}]"
    )
    faults: list[Fault] = []
    found = read_prometheus(text, str(tmp_path / "p.yml"), faults)
    assert faults == []
    (warning,) = found.warnings
    assert f"{tmp_path / 'p.yml'}:1:18" in warning
    assert f"{tmp_path / 'gone'} cannot be read: No such file" in warning


def test_further_files_of_jobs(tmp_path: Path) -> None:
    """``scrape_config_files`` adds jobs, whose own files lie beside that file."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.yml").write_text(
        "scrape_configs: [{job_name: b, file_sd_configs: [{files: [t.json]}]}]"
    )
    (tmp_path / "p.yml").write_text(
        "scrape_config_files: ['more/*.yml']\nscrape_configs: [{job_name: a}]\n"
    )
    found = load_prometheus(tmp_path / "p.yml")
    assert [job.job for job in found.jobs] == ["a", "b"]
    assert found.jobs[1].discovery == (FileDiscovery((str(tmp_path / "more" / "t.json"),)),)


def test_rule_files_are_checked(tmp_path: Path) -> None:
    """A rule that cannot be parsed is a fault of the configuration that names it."""
    (tmp_path / "r.yml").write_text("groups: [{name: g, rules: [{record: a, expr: 'sum('}]}]")
    (tmp_path / "p.yml").write_text("rule_files: [r.yml]\n")
    with pytest.raises(ConfigError, match=r"r\.yml"):
        load_prometheus(tmp_path / "p.yml")


def test_both_configurations_together(tmp_path: Path) -> None:
    """Jobs of both are scraped; one name in both is a fault."""
    path = tmp_path / "p.yml"
    path.write_text("global: {evaluation_interval: 5s}\nscrape_configs: [{job_name: a}]\n")
    own = ScrapeSettings((ScrapeJob("b", ("h:1",)),))
    both = with_prometheus(Settings(scrape=own), path)
    assert [job.job for job in both.scrape.jobs] == ["b", "a"]
    assert both.rules.evaluation_interval_ms == 5_000
    with pytest.raises(ConfigError, match="rename one"):
        with_prometheus(Settings(scrape=ScrapeSettings((ScrapeJob("a", ("h:1",)),))), path)


def test_a_destination_of_both_configurations_is_a_fault(tmp_path: Path) -> None:
    """Two destinations of one name would share a cursor."""
    path = tmp_path / "p.yml"
    path.write_text("remote_write: [{url: http://h/w}]\n")
    (found,) = with_prometheus(Settings(), path).remote_write
    with pytest.raises(ConfigError, match='another "name"'):
        with_prometheus(Settings(remote_write=(found,)), path)


def test_variables_in_external_labels() -> None:
    """``$NAME`` and ``${NAME}`` are replaced, what is not set is empty, ``$$`` is a dollar."""
    assert expanded("$A-${B}-$C-$$", {"A": "1", "B": "2"}) == "1-2--$"


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever stands in the file, reading it ends with settings or faults."""
    read_prometheus(text, "p.yml", [])
