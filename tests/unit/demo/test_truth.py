"""The truth of the demo: states by construction, without the SDK."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.demo.decks import Deck, generator
from vedette.demo.timeline import Mode, mode_at
from vedette.demo.truth import (
    STATES,
    ClientLine,
    Fault,
    ProviderLine,
    TruthFile,
    combine,
    read_provider_lines,
    true_state,
)


@pytest.mark.parametrize(
    ("did", "fault", "state"),
    [
        ("read", "none", "completed"),
        ("read", "ends_early", "provider_cut"),
        ("read", "drops", "provider_cut"),
        ("read", "stalls", "stalled"),
        ("read", "drips", "timed_out"),
        ("read", "http_500", "error"),
        ("read", "http_429", "error"),
        ("read", None, "error"),
        ("left", "none", "client_left"),
        ("refused", None, None),
    ],
)
def test_state(did: str, fault: str | None, state: str | None) -> None:
    """What the provider and the client did determines the one state."""
    line = ProviderLine("s", fault) if fault else None
    assert true_state(ClientLine("s", did), line) == state


@given(
    st.dictionaries(
        st.text(min_size=1),
        st.tuples(st.sampled_from(["read", "left", "refused"]), st.sampled_from(list(Fault))),
    )
)
def test_every_started_chat_is_counted_once(chats: dict[str, tuple[str, Fault]]) -> None:
    """The counts of the six states add up to the chats that got through."""
    truth = combine(
        [ClientLine(stream, did) for stream, (did, _) in chats.items()],
        [ProviderLine(stream, fault.value) for stream, (_, fault) in chats.items()],
    )
    assert tuple(truth.by_state) == STATES
    assert sum(truth.by_state.values()) == sum(did != "refused" for did, _ in chats.values())


def test_a_line_half_written_is_no_line(tmp_path: Path) -> None:
    """A provider that was killed while writing leaves the lines before readable."""
    path = tmp_path / "truth.jsonl"
    with TruthFile(path) as file:
        file.write(ProviderLine("a", "none"))
    with path.open("a") as more:
        more.write('{"stream_id": "b", "fau')
    assert read_provider_lines(path) == [ProviderLine("a", "none")]
    assert read_provider_lines(tmp_path / "absent") == []


def test_ninety_seconds() -> None:
    """The usual run is healthy for 25 s, ill until 50 s, and healthy again."""
    modes = {at: mode_at(at, 90) for at in (0, 24.9, 25, 49.9, 50, 89)}
    ill = {at for at, mode in modes.items() if mode is Mode.FAULTY}
    assert ill == {25, 49.9}


def test_endless_runs_repeat_the_fault() -> None:
    """Without an end the fault comes back every few minutes, never at the start."""
    ill = [at for at in range(0, 1200, 10) if mode_at(at, None) is Mode.FAULTY]
    assert ill[0] == 60
    assert {at % 240 for at in ill} == {60, 70, 80, 90}


@given(st.integers(), st.lists(st.integers(), min_size=1, max_size=20), st.integers(1, 4))
def test_a_deck_deals_every_card_each_round(seed: int, cards: list[int], rounds: int) -> None:
    """No card is missing from a round, and the same seed deals the same."""
    deck, twin = Deck(cards, generator(seed)), Deck(cards, generator(seed))
    for _ in range(rounds):
        dealt = [deck.draw() for _ in cards]
        assert sorted(dealt) == sorted(cards)
        assert dealt == [twin.draw() for _ in cards]
