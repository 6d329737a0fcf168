"""The requests of a profile, sent: each is made by its templates, and its answer is judged by the profile's rules."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from aiohttp import ClientResponse

from config.settings import Settings
from workers.erp.attempts import TRIES, Tried, try_again
from workers.erp.credentials import open_credentials
from workers.erp.failures import TABLE, Met
from workers.erp.port import Barrier, Kind, Submission
from workers.erp.rest.answers import judged
from workers.erp.rest.described import Request
from workers.erp.rest.options import RestOptions
from workers.erp.rest.templates import BadTemplate
from workers.erp.transport import ErpTransport


class RestAnswer(NamedTuple):
    """What came of a request, and what its answer says in JSON where all is well."""

    tried: Tried
    said: Any = None

    @property
    def well(self) -> bool:
        """Whether the ERP did what was asked."""
        return self.tried.kind is Kind.ACCEPTED


class RestCalls:
    """The requests to one ERP. Every method's `until` is a time of the running loop; what is made raises nothing."""

    def __init__(self, settings: Settings, own: RestOptions, barrier: Barrier) -> None:
        """Nothing connects yet. Raises MissingSetting when `erp_url` is not set."""
        self._own, self._timeout = own, settings.erp.timeout
        self._transport = ErpTransport(settings, barrier.is_open, open_credentials(own.who()), own.tls)
        self._slots = asyncio.Semaphore(settings.erp.concurrency)

    async def once(
        self, request: Request, given: Mapping[str, Any], until: float, order: Submission | None = None
    ) -> RestAnswer:
        """The answer to one request, of which it is certain that it went at most once.

        What the templates cannot make is a refusal, in words that name key and line.
        """
        try:
            path, headers, body = request.made({**given, "settings": self._own.settings})
        except BadTemplate as error:
            return RestAnswer(Tried(Kind.REFUSED, f"the profile makes no request of it: {error}"))
        said: list[Any] = []

        async def read(response: ClientResponse) -> Tried:
            tried, found = await judged(self._own.profile.profile.answer, response)
            said.append(found)
            return tried

        if order is not None and order.request_id is not None:
            headers["X-Request-ID"] = order.request_id
        if order is not None and order.traceparent is not None:
            headers["traceparent"] = order.traceparent
        async with self._slots:
            until = min(until, asyncio.get_running_loop().time() + self._timeout)
            tried = await self._transport.call(request.method, path, body, until, read, headers)
        return RestAnswer(tried, said[-1] if said else None)

    async def calmly(self, request: Request, given: Mapping[str, Any], until: float) -> RestAnswer:
        """The answer to a question, repeated briefly when it fails: asking is harmless."""
        answers = [await self.once(request, given, until)]
        if answers[0].tried.failure is None:
            return answers[0]

        async def again() -> Tried:
            answers.append(await self.once(request, given, until))
            return answers[-1].tried

        tried = await try_again(answers[0].tried, again, tries=TRIES, until=until, idempotent=True)
        return RestAnswer(tried, answers[-1].said)

    async def records_of(self, ids: Sequence[UUID], until: float) -> list[Any] | Tried:
        """The records that the ERP has of these orders, or why they could not be had."""
        part, found = self._own.profile.profile.find, list[Any]()
        for start in range(0, len(ids), part.most):
            asked = [str(each) for each in ids[start : start + part.most]]
            answer = await self.calmly(self._own.profile.find, {"ids": asked}, until)
            if answer.tried.status in part.absent:
                continue
            if not answer.well:
                return answer.tried
            records = part.records.of(answer.said)
            if records is not None and not isinstance(records, list):
                records = [records]
            if records is None or len(records) > len(asked) * 10:
                failure = TABLE[Met.UNPARSABLE]
                return Tried(failure.kind, f"{failure.says}: find.records", answer.tried.status, failure=failure)
            found += records
        return await self._whole(found, until)

    async def _whole(self, records: list[Any], until: float) -> list[Any] | Tried:
        """The records in full, where the profile says how one is read."""
        request, part = self._own.profile.read, self._own.profile.profile.read
        if request is None or part is None:
            return records
        answers = await asyncio.gather(*(self.calmly(request, {"record": each}, until) for each in records))
        failed = next((each.tried for each in answers if not each.well), None)
        return failed or [part.record.of(each.said) for each in answers]

    def blanked(self, words: str) -> str:
        """Words of the ERP's without a secret that was shown to it."""
        return self._transport.blanked(words)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._transport.close()
