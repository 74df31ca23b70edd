"""Lists that come in pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from lodeway.errors import call


class _PagedRequest(Protocol):
    page_token: str


class _Page(Protocol):
    next_page_token: str

    @property
    def DESCRIPTOR(self) -> Any: ...


Request = TypeVar("Request", bound=_PagedRequest)
Page = TypeVar("Page", bound=_Page)


def iterate(method: Callable[[Request], Page], request: Request) -> Iterator[Any]:
    """Every entity of a list, page after page, for example `iterate(client.tracking.SearchRuns, SearchRunsRequest(…))`.

    The request is left as it was. Errors: `LodewayError`, also after some entities were given.
    """
    query = type(request)()
    query.CopyFrom(request)  # type: ignore[attr-defined]
    while True:
        page = call(lambda: method(query))
        # By the contract the list is field 1 of every paged answer.
        yield from getattr(page, page.DESCRIPTOR.fields_by_number[1].name)
        if not page.next_page_token:
            return
        query.page_token = page.next_page_token
