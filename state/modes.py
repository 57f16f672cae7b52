"""Named modes of a replica: what its view rests on."""

from enum import Enum


class Mode(Enum):
    """Exported as a metric, shown on `/debug/view`, and logged once per change."""

    NORMAL = "normal"
    """The store answers: the view holds all live peers."""
    ALONE = "alone"
    """The store has not answered since the start: the own bookings and own scrapes count."""
    STORE_AWAY = "store-away"
    """The store answered once and does so no more: peers that fell silent are estimated as doing
    what this replica does."""
