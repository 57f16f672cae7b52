"""What `/debug/view` says: the view as JSON values, unknown as null."""

from typing import Any

from state.merge import Merge
from state.model import Membership, unknown_to_none


def describe_view(
    merge: Merge, *, pool: str, mode: str, membership: Membership | None, now: float
) -> dict[str, Any]:
    """Return totals over all live replicas, per endpoint, and who the replicas are."""
    view = merge.view
    view.now = now
    ages = view.ages()
    own = {
        "id": merge.replica,
        "incarnation": None if membership is None else membership.incarnation,
        "age_seconds": 0.0,
    }
    peers = [
        {"id": peer.replica, "incarnation": peer.incarnation, "age_seconds": peer.age_seconds}
        for peer in merge.report(now)
    ]
    return {
        "pool": pool,
        "mode": mode,
        "replica": merge.replica,
        "replicas": [own, *peers],
        "endpoints": [
            {
                "id": endpoint.id,
                "name": endpoint.name,
                "address": endpoint.address,
                "port": endpoint.port,
                "requests": int(view.requests[slot]),
                "prefill_tokens": int(view.prefill_tokens[slot]),
                "decode_tokens": int(view.decode_tokens[slot]),
                "waiting": unknown_to_none(view.waiting[slot]),
                "running": unknown_to_none(view.running[slot]),
                "kv_usage": unknown_to_none(view.kv_usage[slot]),
                "prefill_tokens_per_second": unknown_to_none(view.prefill_tokens_per_second[slot]),
                "age_seconds": unknown_to_none(ages[slot]),
            }
            for slot, endpoint in enumerate(view.endpoints)
        ],
    }
