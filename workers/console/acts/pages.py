"""The pages of the room `acts`."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
