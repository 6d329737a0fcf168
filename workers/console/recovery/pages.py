"""The pages of the room `recovery`."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
