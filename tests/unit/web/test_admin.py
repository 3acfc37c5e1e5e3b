"""Deleting series: only where it is switched on, only for the admin."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from tests.unit.web.support import TOKEN, client, fake_services
from vedette.model.matchers import Matcher

ADMIN = {"authorization": f"Bearer {TOKEN}"}
DELETE = "/api/v1/admin/tsdb/delete_series"
CLEAN = "/api/v1/admin/tsdb/clean_tombstones"


class Recorder:
    """Remembers what was to be done."""

    def __init__(self) -> None:
        self.done: list[object] = []

    async def delete_series(
        self, matchers: Sequence[Sequence[Matcher]], start: int, end: int
    ) -> None:
        self.done.append(([[m.value for m in one] for one in matchers], start, end))

    async def clean_tombstones(self) -> None:
        self.done.append("clean")


async def post(path: str, recorder: Recorder | None, **form: str) -> httpx.Response:
    """Send a form as the admin."""
    async with client(fake_services(administration=recorder)) as http:
        return await http.post(path, data=form, headers=ADMIN)


async def test_the_admin_deletes() -> None:
    """Selectors and range reach storage, and the answer is 204, by POST and by PUT."""
    recorder = Recorder()
    answer = await post(DELETE, recorder, **{"match[]": "up", "start": "1", "end": "2.5"})
    assert answer.status_code == 204, answer.text
    async with client(fake_services(administration=recorder)) as http:
        put = await http.put(f"{DELETE}?match[]=down&match[]=x", headers=ADMIN)
        clean = await http.put(CLEAN, headers=ADMIN)
    assert (put.status_code, clean.status_code) == (204, 204)
    assert recorder.done[0] == ([["up"]], 1_000, 2_500)
    (matchers, start, end), last = recorder.done[1], recorder.done[2]  # type: ignore[misc]  # recorded as objects
    assert (matchers, last) == ([["down"], ["x"]], "clean")
    assert start < -(10**15)
    assert end > 10**15


async def test_bad_requests_delete_nothing() -> None:
    """Without a selector, with a broken one, or with a backward range nothing happens."""
    recorder = Recorder()
    for form in ({}, {"match[]": "up{"}, {"match[]": "up", "start": "2", "end": "1"}):
        answer = await post(DELETE, recorder, **form)
        assert (answer.status_code, answer.json()["errorType"]) == (400, "bad_data")
    assert recorder.done == []


async def test_it_is_off_by_default() -> None:
    """A server that was not told to delete answers 503 and names the setting."""
    for path in (DELETE, CLEAN):
        answer = await post(path, None, **{"match[]": "up"})
        assert (answer.status_code, answer.json()["errorType"]) == (503, "unavailable")
        assert "enable_admin_api" in answer.text


async def test_nobody_else_deletes() -> None:
    """Without the admin token a delete is refused, on loopback too."""
    recorder = Recorder()
    async with client(fake_services(administration=recorder)) as http:
        answer = await http.post(DELETE, data={"match[]": "up"})
    assert answer.status_code == 401
    assert recorder.done == []
