"""What a guard is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guard:
    """Where a guard stands (`text`, once in `file`), what is left without it, and the tests (`select`) that notice."""

    defect: str
    file: str
    text: str
    without: str
    tests: str
    select: str

    def __str__(self) -> str:
        return f"{self.defect}: {self.text.strip().splitlines()[0]}"
