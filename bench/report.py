"""The table that the measurements end in: each figure beside the peers', and what is aimed at."""

from __future__ import annotations

from dataclasses import dataclass, field

OURS, PROMETHEUS, VICTORIA = "vedette", "prometheus", "victoriametrics"
SHORT = {PROMETHEUS: "Prometheus", VICTORIA: "VictoriaMetrics"}


@dataclass(frozen=True, slots=True)
class Aim:
    """``figure of Vedette / figure of peer`` is to be at most ``ratio``; small is good."""

    peer: str
    ratio: float


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of every system, in ``unit``; missing systems could not be measured."""

    what: str
    unit: str
    figures: dict[str, float]
    aims: tuple[Aim, ...] = ()

    def lines(self) -> list[str]:
        """Return the row as text, one line a system."""
        ours = self.figures[OURS]
        out = [self.what]
        for name, value in self.figures.items():
            line = f"  {name:16} {value:12,.3f} {self.unit}"
            if name != OURS and value:
                line += f"   vedette is at {ours / value:6.3f} of it"
            for aim in self.aims:
                if aim.peer == name and value:
                    reached = "reached" if ours / value <= aim.ratio else "NOT REACHED"
                    line += f"   aim {aim.ratio:g}: {reached}"
            out.append(line)
        return out


@dataclass(slots=True)
class Report:
    """All rows, printed as they come and once more, in short, at the end."""

    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Take and print a row."""
        self.rows.append(row)
        print("\n".join(row.lines()) + "\n", flush=True)

    def summary(self) -> str:
        """Return one line a row that has aims."""
        lines = []
        for row in self.rows:
            for aim in row.aims:
                theirs = row.figures.get(aim.peer)
                if theirs:
                    ratio = row.figures[OURS] / theirs
                    mark = "ok " if ratio <= aim.ratio else "NO "
                    lines.append(
                        f"  {mark} {ratio:8.3f} of {SHORT[aim.peer]:15} (aim {aim.ratio:g})  "
                        f"{row.what}"
                    )
        return "\n".join(lines)
