"""Envoy's configuration in front of the pickers, in the three modes that we ship.

The reasons for each mode are in ARCHITECTURE.md; `deploy/envoy/*.yaml` are written by this module.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any

import msgspec

DESTINATION = "x-gateway-destination-endpoint"
EXT_PROC_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
TYPES = "type.googleapis.com/envoy.extensions"


class GatewayMode(Enum):
    """How Envoy shows requests to a picker."""

    RESILIENT = "resilient"
    """Whole request bodies, no response bodies; a lost picker is invisible to clients."""
    LONG_CONTEXT = "long-context"
    """As resilient, but the picker sees only the head of a long body."""
    CONFORMANT = "conformant"
    """Full duplex, as gateways of the Inference Extension configure it."""


class HostPort(msgspec.Struct, frozen=True, kw_only=True):
    """An address; IPv6 without brackets."""

    host: str
    port: int


class GatewaySpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration depends on."""

    mode: GatewayMode
    listen: HostPort
    admin: HostPort
    pickers: Sequence[HostPort]
    endpoints: Sequence[HostPort]
    max_body_bytes: int = 32 << 20
    """Buffer limit where whole bodies are buffered; the pickers' body limit."""
    head_bytes: int = 64 << 10
    """Buffer limit in long-context mode: what a picker sees of a long body."""


def bootstrap(spec: GatewaySpec) -> dict[str, Any]:
    """Return Envoy's bootstrap document."""
    return {
        "admin": {"address": _address(spec.admin)},
        "static_resources": {
            "listeners": [_listener(spec)],
            "clusters": [_pickers(spec), _pool(spec)],
        },
    }


def _listener(spec: GatewaySpec) -> dict[str, Any]:
    partial = spec.mode is GatewayMode.LONG_CONTEXT
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "inference",
        "codec_type": "AUTO",
        "stream_idle_timeout": "0s",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "inference",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "route": {"cluster": "pool", "timeout": "86400s"},
                        }
                    ],
                }
            ]
        },
        "http_filters": [_ext_proc(spec), _router()],
    }
    return {
        "name": "inference",
        "address": _address(spec.listen),
        "per_connection_buffer_limit_bytes": spec.head_bytes if partial else spec.max_body_bytes,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }


PROCESSING = {
    GatewayMode.RESILIENT: ("BUFFERED", "NONE", "SKIP"),
    GatewayMode.LONG_CONTEXT: ("BUFFERED_PARTIAL", "NONE", "SKIP"),
    GatewayMode.CONFORMANT: ("FULL_DUPLEX_STREAMED", "FULL_DUPLEX_STREAMED", "SEND"),
}
"""Request body, response body and request trailer modes."""


def _ext_proc(spec: GatewaySpec) -> dict[str, Any]:
    request_body, response_body, request_trailers = PROCESSING[spec.mode]
    resilient = spec.mode is not GatewayMode.CONFORMANT
    return {
        "name": "envoy.filters.http.ext_proc",
        "typed_config": {
            "@type": f"{TYPES}.filters.http.ext_proc.v3.ExternalProcessor",
            "grpc_service": {
                "envoy_grpc": {"cluster_name": "pickers"},
                # A stream that a dead picker never accepted goes to another one.
                "retry_policy": {
                    "num_retries": 3,
                    "retry_on": "connect-failure,refused-stream,reset-before-request",
                },
            },
            "failure_mode_allow": resilient,
            # A picker that hangs is as good as one that is gone; full duplex has no way around it.
            "message_timeout": "2s" if resilient else "1000s",
            "processing_mode": {
                "request_header_mode": "SEND",
                "request_body_mode": request_body,
                "request_trailer_mode": request_trailers,
                "response_header_mode": "SEND",
                "response_body_mode": response_body,
                # SEND keeps the ext_proc stream open until the HTTP exchange is over.
                "response_trailer_mode": "SEND",
            },
            "metadata_options": {
                "forwarding_namespaces": {"untyped": ["envoy.lb.subset_hint", "envoy.lb"]},
                "receiving_namespaces": {"untyped": ["envoy.lb"]},
            },
        },
    }


def _router() -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"},
    }


def _pickers(spec: GatewaySpec) -> dict[str, Any]:
    return {
        "name": "pickers",
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": _unlimited(),
        "typed_extension_protocol_options": _http2(),
        "health_checks": [
            {
                "timeout": "0.5s",
                "interval": "1s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "grpc_health_check": {"service_name": EXT_PROC_SERVICE},
            }
        ],
        "outlier_detection": {
            "consecutive_gateway_failure": 2,
            "enforcing_consecutive_gateway_failure": 100,
            "interval": "0.5s",
            "base_ejection_time": "2s",
            "max_ejection_percent": 90,
        },
        "load_assignment": _assignment("pickers", spec.pickers),
    }


def _pool(spec: GatewaySpec) -> dict[str, Any]:
    common: dict[str, Any] = {
        "name": "pool",
        "connect_timeout": "1s",
        "circuit_breakers": _unlimited(),
        "per_connection_buffer_limit_bytes": spec.max_body_bytes,
    }
    if spec.mode is GatewayMode.CONFORMANT:
        return common | {
            "type": "ORIGINAL_DST",
            "lb_policy": "CLUSTER_PROVIDED",
            "original_dst_lb_config": {"use_http_header": True, "http_header_name": DESTINATION},
        }
    return common | {
        "type": "STATIC",
        "load_balancing_policy": {"policies": [_override_host()]},
        "load_assignment": _assignment("pool", spec.endpoints),
    }


def _override_host() -> dict[str, Any]:
    """Where the picker says, in its order of retry; where it is silent, the least busy host."""
    policies = f"{TYPES}.load_balancing_policies"
    least_request = {
        "name": "envoy.load_balancing_policies.least_request",
        "typed_config": {"@type": f"{policies}.least_request.v3.LeastRequest"},
    }
    override = {
        "@type": f"{policies}.override_host.v3.OverrideHost",
        "override_host_sources": [
            {"metadata": {"key": "envoy.lb", "path": [{"key": DESTINATION}]}},
            {"header": DESTINATION},
        ],
        "fallback_policy": {"policies": [{"typed_extension_config": least_request}]},
    }
    name = "envoy.load_balancing_policies.override_host"
    return {"typed_extension_config": {"name": name, "typed_config": override}}


def _assignment(name: str, addresses: Sequence[HostPort]) -> dict[str, Any]:
    return {
        "cluster_name": name,
        "endpoints": [
            {
                "lb_endpoints": [
                    {"endpoint": {"address": _address(address)}} for address in addresses
                ]
            }
        ],
    }


def _http2() -> dict[str, Any]:
    return {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {
                "http2_protocol_options": {
                    "max_concurrent_streams": 16_384,
                    "initial_stream_window_size": 1 << 20,
                    "initial_connection_window_size": 16 << 20,
                }
            },
        }
    }


def _unlimited() -> dict[str, Any]:
    """Streams are many and live long; Envoy's default of 1024 requests would refuse them."""
    most = 100_000
    return {
        "thresholds": [
            {
                "max_connections": most,
                "max_pending_requests": most,
                "max_requests": most,
                "max_retries": most,
            }
        ]
    }


def _address(address: HostPort) -> dict[str, Any]:
    return {"socket_address": {"address": address.host, "port_value": address.port}}
