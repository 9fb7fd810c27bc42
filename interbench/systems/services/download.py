"""Fetching finished clips: streamed to a temporary file, checked, renamed.

Redirects are followed to https alone (to this machine over http if the service itself runs here), and the key is shown
to nobody but the service's own address.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from interbench.base.foreign import NotJsonError, decoded, number, parsed_json
from interbench.base.http import Backoff, BodyTooLongError, body_pieces, hopeless, read_body, trouble
from interbench.systems.events import Failed
from interbench.systems.services.http_jobs import JobService
from interbench.systems.services.mp4 import NotMp4Error, check_mp4, sync
from interbench.systems.services.service_errors import Ended, complaint

MAX_CLIP_BYTES = 512 * 2**20
MAX_INLINE_BYTES = 128 * 2**20
_MAX_REDIRECTS = 5
_LONGEST_WORDS = 2**16


async def download(service: JobService, url: str, output: Path, max_bytes: int = MAX_CLIP_BYTES) -> float | None:
    """Fetch ``url`` to ``output``; gives the playback duration in seconds, if the file states it.

    A broken or cut off transfer is tried again, as it only reads.

    Raises:
        Ended: there is no acceptable file there. The clip was made, so it counts as charged, and the job is kept open,
            whatever the reason: what stands in the way may be gone by the next try, and the clip has been paid for.
    """
    final = _failed("download_failed", "")
    backoff = Backoff(service.patience.first_wait_s, service.patience.longest_wait_s)
    for attempt in range(service.patience.reads):
        try:
            return await _fetch(service, url, output, max_bytes)
        except httpx.RequestError as error:
            final = _failed("download_failed", f"the connection broke ({trouble(error)})", again=not hopeless(error))
        except (httpx.InvalidURL, ValueError):
            final = _failed("download_refused", "the service names an address of the clip that is none")
        except Ended as ended:
            assert isinstance(ended.final, Failed)
            final = ended.final
        finally:
            _temporary(output).unlink(missing_ok=True)
        if not final.transient:
            break
        if attempt + 1 < service.patience.reads:
            await service.sleep(backoff.pause() or 0.0)
    raise Ended(final)


async def take_inline(data: str, output: Path, max_bytes: int = MAX_INLINE_BYTES) -> float | None:
    """Write a clip that came as base64 text to ``output``; gives its playback duration, if stated.

    Raises:
        Ended: it is too large, no base64, or no whole MP4.
    """
    try:
        content = await asyncio.to_thread(decoded, data)
    except ValueError:
        raise Ended(_failed("download_not_mp4", "the clip in the answer is not base64")) from None
    if len(content) > max_bytes:
        raise Ended(_failed("download_too_large", f"the clip in the answer is longer than {max_bytes} bytes"))
    await asyncio.to_thread(_temporary(output).write_bytes, content)
    return await asyncio.to_thread(_keep, output)


async def _fetch(service: JobService, url: str, output: Path, max_bytes: int) -> float | None:
    ours = True
    for _ in range(_MAX_REDIRECTS + 1):
        if not service.may_fetch(url):
            raise Ended(_failed("download_refused", f"the clip lies at {_where(url)}, which is not https"))
        # A host that was redirected to could send us back with an address of its choosing: no key from then on.
        key = await service.headers_for(url) if ours else {}
        ours = ours and bool(key)
        headers = {"Accept": "*/*", **key}
        async with service.client.stream("GET", url, headers=headers) as response:
            if response.is_redirect and "location" in response.headers:
                url = urljoin(url, response.headers["location"])
                continue
            if response.status_code != 200:
                # A clip that is not there yet may come; one that lies behind an expired address gets a new one.
                again = response.status_code in (404, 408, 409, 425, 429) or response.status_code >= 500
                words = service.redact(await _words(response))
                message = f"{_where(url)} answered {response.status_code} {words}".rstrip()
                raise Ended(_failed("download_failed", message, again=again))
            if (number(response.headers.get("content-length")) or 0) > max_bytes:
                raise Ended(_too_large(max_bytes))
            try:
                with _temporary(output).open("wb") as file:
                    async with aclosing(body_pieces(response, max_bytes)) as pieces:
                        async for piece in pieces:
                            file.write(piece)
            except BodyTooLongError:
                raise Ended(_too_large(max_bytes)) from None
        return await asyncio.to_thread(_keep, output)
    raise Ended(_failed("download_refused", f"more than {_MAX_REDIRECTS} redirects"))


async def _words(response: httpx.Response) -> str:
    """What a service says of a clip that it does not hand out, as far as it says it in few words."""
    try:
        data = await read_body(response, _LONGEST_WORDS)
    except (BodyTooLongError, httpx.RequestError):
        return ""
    try:
        return complaint(parsed_json(data)).message
    except NotJsonError:
        return complaint(data.decode(errors="replace")).message


def _keep(output: Path) -> float | None:
    """Give a fetched clip its name; blocks until it is on the disk, which a busy one takes a second for."""
    temporary = _temporary(output)
    try:
        duration = check_mp4(temporary)
        sync(temporary)
    except NotMp4Error as error:
        temporary.unlink(missing_ok=True)
        message = f"what the service handed out is no whole MP4: {error}"
        raise Ended(_failed(f"download_{error.code}", message, again=error.code == "truncated")) from None
    temporary.replace(output)
    return duration


def _temporary(output: Path) -> Path:
    return output.with_name(output.name + ".part")


def _where(url: str) -> str:
    """Scheme and host: the rest of the address of a clip is often a key to it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}"


def _too_large(max_bytes: int) -> Failed:
    return _failed("download_too_large", f"the clip is longer than {max_bytes} bytes")


def _failed(code: str, message: str, *, again: bool = False) -> Failed:
    return Failed(code, message, transient=again, charged=True, job_open=True)
