"""Settings of the collector package."""

from pydantic import BaseModel, ConfigDict, Field


class ScrapeSettings(BaseModel):
    """How the endpoints' pages are fetched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interval_seconds: float = Field(default=0.2, ge=0.05, le=60.0)
    """Time between two scrapes of an endpoint. A page costs a vLLM server 3 to 60 ms of Python, so
    the peers' 50 ms is the floor and 200 ms the default."""
    timeout_seconds: float = Field(default=1.0, ge=0.05, le=60.0)
    """A scrape that takes longer counts as failed; a busy API server renders within this."""
    longest_pause_seconds: float = Field(default=5.0, ge=0.1, le=300.0)
    """The pause doubles with each failure up to this, so that a dead endpoint costs little."""
    most_page_bytes: int = Field(default=8 << 20, ge=1 << 10, le=1 << 30)
    """A longer page is refused. The largest page known of, 8 engines, has 0.4 MB."""
    path: str = Field(default="/metrics", pattern="^/[^/]")
    """Where endpoints serve their page, with a query if they need one. A redirect within the same
    origin is followed once and remembered."""


class PublishSettings(BaseModel):
    """How a shard's snapshot reaches the pickers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gap_seconds: float = Field(default=0.05, ge=0.001, le=1.0)
    """Least time between two snapshots: a quarter of the scrape interval adds little age."""
    heartbeat_seconds: float = Field(default=1.0, ge=0.1, le=10.0)
    """A snapshot is published this often even without news: the store keeps one for 10 s."""
    renew_seconds: float = Field(default=0.5, ge=0.05, le=10.0)
    """The shard lease lives 2 s on the store's clock: three renewals may be lost."""
    retry_seconds: float = Field(default=0.25, ge=0.01, le=10.0)
    """Pause after the store did not answer, or while another collector owns the shard."""


class CollectorSettings(BaseModel):
    """Everything a collector can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scrape: ScrapeSettings = ScrapeSettings()
    publish: PublishSettings = PublishSettings()
