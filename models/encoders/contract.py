"""The input contract of an encoder, and the facts of its training. Standard library only."""

from dataclasses import dataclass

JOINT = ("none", "zscore")  # normalisations of all leads together
TWELVE = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


@dataclass(frozen=True)
class InputContract:
    """Rows of `seconds` at `rate_hz` with `leads` in this order (empty: one lead, any), in `unit` ("": any, as the
    first step makes them independent of it).

    `normalise` is that first step (`encoder.NORMALISATIONS`); before it the rows had the `filter` of --filter. Shorter
    rows are filled with zeros at their end if `pads`, and refused if not.
    """

    rate_hz: float
    seconds: float
    leads: tuple[str, ...] = TWELVE
    unit: str = ""
    normalise: str = "none"
    pads: bool = False
    filter: str = "none"

    @property
    def samples(self) -> int:
        return round(self.rate_hz * self.seconds)

    @property
    def is_joint(self) -> bool:
        """Whether leads are normalised together, so that all must have one unit."""
        return len(self.leads) > 1 and self.normalise in JOINT

    @property
    def words(self) -> str:
        """One line for lists and documents."""
        leads = f"{len(self.leads)} leads ({', '.join(self.leads)})" if self.leads else "one lead"
        fill = ", shorter ones filled with zeros" if self.pads else ""
        unit = self.unit or ("one unit of all leads" if self.is_joint else "any unit")
        normal = f"normalised by {self.normalise}"
        filtered = "not filtered" if self.filter == "none" else f"filtered by {self.filter}"
        return f"{leads}, {self.seconds:g} s at {self.rate_hz:g} Hz{fill}, {unit}, {filtered}, {normal}"


@dataclass(frozen=True)
class Published:
    """The weights of an encoder: their source, the data that it `saw` in training, also by the names of the datasets
    that the program has (`known`), their licence, and their file in an installed Python `package`, if any."""

    source: str
    saw: str
    known: tuple[str, ...] = ()
    licence: str = "stated there"
    package: str = ""
    file: str = ""
