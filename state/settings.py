"""Settings of the state package."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class StateSettings(BaseModel):
    """Cadence of what a replica tells its peers."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    flush_gap_seconds: float = Field(default=0.005, ge=0.001, le=1.0)
    """Least time between two gauges. 5 ms keeps placement close to a perfect view."""
    longest_age_seconds: float = Field(default=1.0, ge=0.01, le=60.0)
    """Bound on the age of the peers' part of the view: what they placed longer ago is taken to be
    on the scrapes, or done."""
    away_after_seconds: float = Field(default=0.8, ge=0.1, le=60.0)
    """Silence of the store after which the mode is `store-away`: two heartbeats and a limit."""
    heartbeat_seconds: float = Field(default=0.3, ge=0.05, le=10.0)
    """A gauge is published this often even without news, and the lease renewed."""
    lease_seconds: float = Field(default=1.5, ge=0.2, le=60.0)
    """A replica not heard from for this long counts for nothing: five heartbeats."""
    call_seconds: float = Field(default=0.4, ge=0.02, le=5.0)
    """Limit of one call to the store, connecting included. No pick waits for it; three that pass
    it in a row open the breaker."""
    reserve_seconds: float = Field(default=0.003, ge=0.001, le=0.1)
    """Limit of one reservation, which a pick does wait for; then it books on its own."""

    @model_validator(mode="after")
    def _lease_outlives_heartbeats(self) -> Self:
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            raise ValueError(
                "lease_seconds: must be at least twice heartbeat_seconds, or live replicas would be"
                " dropped between two heartbeats"
            )
        return self
