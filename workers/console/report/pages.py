"""The pages of the room `report`."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
