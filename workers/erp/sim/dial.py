"""Every way in which the simulator can be made to misbehave; the default is an ERP that is fit."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Tamper = Literal["none", "digest", "quantity", "reference", "signature", "unsigned", "other_key", "other_order", "time"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Dial(BaseModel):
    """The knobs. Times are in seconds unless the name says `_ms`; shares run from 0 (never) to 1 (always)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    down: bool = Field(False, description="refuse connections, and break those that stand")
    hanging: bool = Field(False, description="accept connections and requests, never answer, take no order")
    latency_ms: float = Field(0.0, ge=0, le=600_000, description="median time before an answer, milliseconds")
    latency_sigma: float = Field(0.0, ge=0, le=3, description="spread of it: sigma of the log-normal, 0 is constant")
    error_rate: Share = Field(0.0, description="share of requests answered with `error_status`; no order is taken")
    error_status: int = Field(500, ge=400, le=599, description="HTTP status of those answers")
    throttle: float | None = Field(None, gt=0, description="orders per second beyond which 429 is answered")
    limit: float | None = Field(None, gt=0, description="orders in hand at once beyond which 503 is answered")
    limit_drift: Share = Field(0.0, description="share of the limit by which it swings up and down")
    limit_period: float = Field(60.0, gt=0, description="time of one such swing")
    retry_after: int = Field(1, ge=0, le=3600, description="Retry-After of a 429, seconds")
    garbage: Literal["none", "html", "truncated", "oversized", "wrong_type"] = Field(
        "none",
        description="spoil every answer: an HTML page with 200 (no order is taken), half of the body, over 1 MiB, "
        "text/plain (the order is taken)",
    )
    die_before_answer: Share = Field(0.0, description="share of orders that are taken, then the connection breaks")
    confirm_later: float = Field(0.0, ge=0, description="answer 202 and decide so many seconds later; 0 is at once")
    idempotent: bool = Field(True, description="honour Idempotency-Key; without it every submission is an effect")
    refuse_products: frozenset[str] = Field(frozenset(), description="orders with one of these CIP13 are refused")
    refuse_rate: Share = Field(0.0, description="share of orders that are refused, always the same ones")
    refuse_lines: dict[str, str] = Field({}, description="of these CIP13 nothing is accepted, with a reason each")
    substitutes: dict[str, str] = Field({}, description="in the place of these CIP13 another is delivered, one each")
    back_order_rate: Share = Field(0.0, description="share of lines of which half, rounded up, comes later")
    back_order_days: int = Field(2, ge=0, le=365, description="days after which that is expected")
    shortage_rate: Share = Field(0.0, description="share of lines accepted only in part (half, rounded down)")
    tamper: Tamper = Field(
        "none",
        description="receipts lie: another `digest`; a `quantity` of one box more than ordered on the first line; "
        "`reference`, that of the first order; and where it has a key a spoilt `signature`, none (`unsigned`), one "
        "by an `other_key`, for an `other_order`, or of another `time`. A find tells of an `other_order` too",
    )
    tamper_rate: Share = Field(1.0, description="share of orders that are lied about, always the same ones")
