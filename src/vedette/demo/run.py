"""``vedette demo``: everything started, watched, judged and stopped again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from vedette.demo import children, config, serving
from vedette.demo.children import Child, ChildFailed
from vedette.demo.load import LoadGenerator, load_client, set_mode
from vedette.demo.memory import seconds_since_start
from vedette.demo.options import TIMEOUT
from vedette.demo.options import DemoOptions as DemoOptions
from vedette.demo.readback import ReadBackError, Server
from vedette.demo.report import Findings, problems, report
from vedette.demo.screen import Screen, Summary
from vedette.demo.timeline import Mode, mode_at
from vedette.demo.truth import STATES, Truth, TruthFile, combine, read_provider_lines
from vedette.demo.watch import MemoryWatcher, PageWatcher
from vedette.demo.webhook import Inbox, create_webhook
from vedette.kit.clock import Clock, SystemClock

_READY_SECONDS = 60.0
_DRAIN_SECONDS = TIMEOUT + 8.0
_SETTLE_SECONDS = 20.0


class DemoError(Exception):
    """The demo cannot go on; the message is for the person who started it."""


def main(options: DemoOptions) -> int:
    """Run the demo; return 0 when what it promises held, 1 when not, 130 or 143 when stopped."""
    console = Console(soft_wrap=True)
    if options.data_dir is not None:
        folder = options.data_dir / "demo"
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        except OSError as error:
            reason = f"{options.data_dir} cannot be used: {error.strerror}; choose --data-dir"
            console.print(f"the demo cannot start: {reason}", style="bold red", markup=False)
            return 1
        return asyncio.run(_run(options, folder, options.data_dir / "store", console))
    with tempfile.TemporaryDirectory(prefix="vedette-demo-") as temporary:
        folder = Path(temporary)
        return asyncio.run(_run(options, folder, folder / "store", console))


async def _run(options: DemoOptions, folder: Path, data_dir: Path, console: Console) -> int:
    """Run until it is over, a signal comes, or something fails."""
    stopped: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()

    def stop(number: signal.Signals) -> None:
        if not stopped.done():
            stopped.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    screen = Screen(console)
    demo = Demo(options, folder, data_dir, screen, SystemClock())
    work = asyncio.create_task(demo.run())
    either: set[asyncio.Future[Any]] = {work, stopped}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        work.cancel()
        await asyncio.wait([work])
    try:
        return work.result()
    except asyncio.CancelledError:
        screen.say("stopped")
        return 0 if options.seconds is None else 128 + stopped.result()
    except (DemoError, ChildFailed) as error:
        screen.say(str(error), "bold red")
        return 1


class Demo:
    """One run; ``folder`` holds configuration, logs and truth, ``data_dir`` the store."""

    def __init__(
        self, options: DemoOptions, folder: Path, data_dir: Path, screen: Screen, clock: Clock
    ) -> None:
        self._options = options
        self._folder = folder
        self._data_dir = data_dir
        self._screen = screen
        self._clock = clock
        self._began = clock.monotonic() - (seconds_since_start() or 0.0)
        self._began_ms = clock.now_ms()
        self._ready_at = 0.0
        self._mode = Mode.HEALTHY
        self._children: list[Child] = []
        self._inbox = Inbox()
        self._recorded: dict[str, int] = {}

    def _age(self) -> float:
        """Return the seconds since this process was started."""
        return self._clock.monotonic() - self._began

    def _elapsed(self) -> float:
        return self._clock.monotonic() - self._ready_at

    async def run(self) -> int:
        """Start everything, let it run its time, judge it, and stop everything again."""
        async with AsyncExitStack() as stack:
            # First in, last out: whatever happens below, no process is left behind.
            stack.push_async_callback(self._stop_children)
            self._server = Server(f"http://127.0.0.1:{self._options.port}")
            stack.push_async_callback(self._server.close)
            await self._start(stack)
            await self._wait_until_ready()
            return await self._traffic(stack)

    async def _stop_children(self) -> None:
        await children.stop(self._children, self._clock)

    async def _start(self, stack: AsyncExitStack) -> None:
        provider, chatapp = (stack.enter_context(serving.bind()) for _ in range(2))
        self._chatapp = serving.address(chatapp)
        self._provider = serving.address(provider)
        hook = await stack.enter_async_context(
            _guest(create_webhook(self._inbox, self._truth_file(stack, "webhook"), self._clock))
        )
        listen = f"127.0.0.1:{self._options.port}"
        _must_be_free(self._options.port)
        settings = config.write_config(self._folder, listen, self._chatapp, hook, self._data_dir)
        seed = str(self._options.seed)
        self._provider_truth = self._folder / "provider.jsonl"
        serve = children.python("vedette.cli.main", "serve", "--config", str(settings))
        await self._child("vedette", serve)
        await self._child(
            "provider",
            children.python(
                "vedette.demo.provider",
                *("--fd", str(provider.fileno()), "--truth", str(self._provider_truth)),
                *("--seed", seed),
            ),
            provider,
        )
        await self._child(
            "chat application",
            children.python(
                "vedette.demo.chatapp",
                *("--fd", str(chatapp.fileno()), "--provider", f"http://{self._provider}"),
                *("--vedette", self._server.url, "--seed", seed),
            ),
            chatapp,
        )
        # The children have them; here they would keep the ports open after their end.
        provider.close()
        chatapp.close()
        self._server_pid = self._children[0].process.pid
        self._memory = MemoryWatcher(self._server_pid, self._clock)
        self._page = PageWatcher(f"ws://{listen}/api/dashboard/ws", self._age, self._clock)
        self._background(stack, self._memory.run())
        self._background(stack, self._page.run())

    def _truth_file(self, stack: AsyncExitStack, name: str) -> TruthFile:
        return stack.enter_context(TruthFile(self._folder / f"{name}.jsonl"))

    async def _child(
        self, name: str, command: list[str], sock: socket.socket | None = None
    ) -> None:
        log = self._folder / f"{name.replace(' ', '-')}.log"
        fds = () if sock is None else (sock.fileno(),)
        self._children.append(await children.start(name, command, log, fds))

    def _background(self, stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        stack.push_async_callback(end)

    def _check_children(self) -> None:
        for child in self._children:
            child.check()

    async def _wait_until_ready(self) -> None:
        deadline = self._clock.monotonic() + _READY_SECONDS
        async with httpx.AsyncClient(trust_env=False, timeout=2.0) as http:
            while not await self._all_ready(http):
                self._check_children()
                if self._clock.monotonic() > deadline:
                    tails = "\n".join(f"{c.name}:\n{c.tail()}" for c in self._children)
                    raise DemoError(f"not ready after {_READY_SECONDS:.0f} s\n{tails}")
                await self._clock.sleep(0.1)
        self._ready_at = self._clock.monotonic()
        self._screen.say(f"ready after {self._age():.1f} s: {self._server.url}", "bold green")
        self._screen.say(f"the chat application: http://{self._chatapp}")
        self._screen.say(config.SHORTENED)

    async def _all_ready(self, http: httpx.AsyncClient) -> bool:
        if not await self._server.ready():
            return False
        urls = (f"http://{self._chatapp}/api/health", f"http://{self._provider}/faults")
        try:
            return all([(await http.get(url)).status_code == 200 for url in urls])
        except httpx.TransportError:
            return False

    async def _traffic(self, stack: AsyncExitStack) -> int:
        customers = await stack.enter_async_context(load_client(f"http://{self._chatapp}"))
        provider = await stack.enter_async_context(load_client(f"http://{self._provider}"))
        self._load = LoadGenerator(
            customers, self._truth_file(stack, "load"), self._clock, self._options.seed
        )
        over = asyncio.Event()
        stack.push_async_callback(self._load.stop)
        self._background(stack, self._load.run(over))
        self._screen.start()
        stack.callback(self._screen.stop)
        try:
            await self._until_over(provider)
            over.set()
            findings = await self._judge(customers)
        except asyncio.CancelledError:
            unfinished = self._own_findings(self._truth())
            self._write_report(replace(unfinished, trouble=("stopped before its end",)))
            raise
        self._screen.stop()
        return self._conclude(findings)

    async def _until_over(self, provider: httpx.AsyncClient) -> None:
        seconds = self._options.seconds
        while seconds is None or self._elapsed() < seconds:
            self._check_children()
            mode = mode_at(self._elapsed(), seconds)
            if mode is not self._mode and await set_mode(provider, mode):
                self._mode = mode
                what = "has recovered" if mode is Mode.HEALTHY else "becomes slow and faulty"
                self._screen.say(f"{self._elapsed():5.0f} s  the provider {what}", "bold")
            await self._look()
            await self._clock.sleep(0.5)

    async def _look(self) -> None:
        """Refresh the summary."""
        with contextlib.suppress(ReadBackError):
            self._recorded = await self._server.counters(self._chatapp)
        figures = self._load.figures
        told = self._inbox.notifications
        latest = f"{told[-1].status}: {told[-1].names}" if told else ""
        self._screen.show(
            Summary(
                elapsed=self._elapsed(),
                seconds=self._options.seconds,
                mode=self._mode,
                started=figures.started,
                under_way=figures.under_way,
                first_token_ms=figures.p95_first_token_ms(),
                recorded=self._recorded,
                alerts=self._page.alerts,
                notifications=len(told),
                latest_notification=latest,
                resident_bytes=self._memory.now.resident,
            )
        )

    async def _judge(self, customers: httpx.AsyncClient) -> Findings:
        """Let everything settle, and read back what was recorded."""
        trouble = []
        if not await self._load.drain(_DRAIN_SECONDS):
            trouble.append("some chats did not end")
        try:
            flushed = (await customers.post("/demo/flush", timeout=15.0)).json()
            if flushed != {"flushed": True, "active_streams": 0}:
                trouble.append(f"the chat application did not settle: {flushed}")
        except httpx.HTTPError as error:
            trouble.append(f"the chat application did not settle: {error!r}")
        truth = self._truth()
        with contextlib.suppress(ReadBackError):
            await self._settle(truth)
        recorded = await self._read_back(trouble)
        self._memory.look()
        return replace(self._own_findings(truth), trouble=trouble, **recorded)

    def _truth(self) -> Truth:
        return combine(self._load.lines, read_provider_lines(self._provider_truth))

    async def _settle(self, truth: Truth) -> None:
        """Wait for one more scrape, for stored events, and for alerts to be resolved."""
        since = self._clock.now_ms()
        deadline = self._clock.monotonic() + _SETTLE_SECONDS
        while self._clock.monotonic() < deadline:
            scraped = await self._server.last_scrape_ms() > since
            stored = await self._server.events(self._began_ms) == truth.by_state
            if scraped and stored and self._inbox.fired() == self._inbox.resolved():
                return
            await self._look()
            await self._clock.sleep(0.25)

    async def _read_back(self, trouble: list[str]) -> dict[str, Any]:
        """Return what the server's API tells, as members of ``Findings``; else add trouble."""
        questions: dict[str, Coroutine[Any, Any, Any]] = {
            "recorded": self._server.events(self._began_ms),
            "counters": self._server.counters(self._chatapp),
            "streams": self._server.streams(self._began_ms),
            "samples_stored": self._server.samples_stored(self._age() + 5),
        }
        found = {}
        for name, question in questions.items():
            try:
                found[name] = await question
            except ReadBackError as error:
                trouble.append(f"reading back failed: {error}")
        if len(found) < len(questions):
            trouble.append(f"the server's last words:\n{self._children[0].tail()}")
        return found

    def _own_findings(self, truth: Truth) -> Findings:
        """Return what this process knows by itself."""
        return Findings(
            truth=truth,
            truth_file=str(self._write_truth(truth)),
            fired=sorted(_name(key) for key in self._inbox.fired()),
            resolved=sorted(_name(key) for key in self._inbox.resolved()),
            notifications=len(self._inbox.notifications),
            first_chart=self._page.first_chart,
            server=self._memory.peak,
            engine=self._memory.engine_peak,
            server_pid=self._server_pid,
            seconds=self._elapsed(),
        )

    def _write_truth(self, truth: Truth) -> Path:
        """Write one line per chat: what each side did, and the state that it amounts to."""
        target = self._options.report
        path = (
            self._folder / "truth.jsonl"
            if target is None
            else target.with_suffix(".truth.jsonl").resolve()
        )
        served = {line.stream_id: line for line in read_provider_lines(self._provider_truth)}
        with path.open("w", encoding="utf-8") as file:
            for line in self._load.lines:
                provider = served.get(line.stream_id)
                row = asdict(line) | {
                    "fault": provider.fault if provider else None,
                    "state": truth.states.get(line.stream_id),
                }
                file.write(json.dumps(row) + "\n")
        return path

    def _write_report(self, findings: Findings) -> None:
        path = self._options.report
        if path is not None:
            whole = path.with_name(f".{path.name}.part")
            whole.write_text(json.dumps(report(findings), indent=2) + "\n", encoding="utf-8")
            whole.replace(path)

    def _conclude(self, findings: Findings) -> int:
        self._write_report(findings)
        truth = findings.truth.by_state
        self._screen.say("state          true  stored  counted", "bold")
        for state in STATES:
            stored, counted = findings.recorded.get(state, 0), findings.counters.get(state, 0)
            self._screen.say(f"{state:<13} {truth[state]:5}  {stored:6}  {counted:7}")
        told = problems(findings)
        for problem in told:
            self._screen.say(f"did not hold: {problem}", "bold red")
        if not told:
            self._screen.say(
                f"{sum(truth.values())} chats, all recorded as they were; "
                f"{len(findings.fired)} alerts fired and resolved, "
                f"{findings.notifications} notifications",
                "bold green",
            )
        return 1 if told else 0


def _name(key: tuple[tuple[str, str], ...]) -> str:
    labels = dict(key)
    return f"{labels.get('alertname', '?')} {labels.get('severity', '')}".strip()


def _must_be_free(port: int) -> None:
    """Raise ``DemoError`` when something listens on ``port`` already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DemoError(
                f"port {port} cannot be used ({error.strerror}); choose another with --port"
            ) from None


@contextlib.asynccontextmanager
async def _guest(app: Any) -> AsyncIterator[str]:
    """Serve ``app`` in this process; yield its ``host:port``."""
    sock = serving.bind()
    server = serving.make_server(app, serving.GuestServer)
    task = asyncio.create_task(server.serve([sock]))
    try:
        yield serving.address(sock)
    finally:
        server.should_exit = True
        await task
        sock.close()
