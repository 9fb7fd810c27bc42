"""Fetching finished clips: streamed to a temporary file, checked, renamed.

Redirects are followed to https alone (to this machine over http if the service itself runs here), and the key is shown
to nobody but the service's own address.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from interbench.systems.events import Failed
from interbench.systems.services.http_jobs import JobService
from interbench.systems.services.mp4 import NotMp4Error, check_mp4, sync
from interbench.systems.services.service_errors import Ended, complaint

MAX_CLIP_BYTES = 512 * 2**20
MAX_INLINE_BYTES = 128 * 2**20
_MAX_REDIRECTS = 5
_PIECE = 2**16


async def download(service: JobService, url: str, output: Path, max_bytes: int = MAX_CLIP_BYTES) -> float | None:
    """Fetch ``url`` to ``output``; gives the playback duration in seconds, if the file states it.

    A broken or cut off transfer is tried again, as it only reads.

    Raises:
        Ended: there is no acceptable file there. The clip was made, so it counts as charged, and where a later try may
            succeed the job is kept open.
    """
    wait, final = service.patience.first_wait_s, Failed("download_failed")
    for attempt in range(service.patience.reads):
        try:
            return await _fetch(service, url, output, max_bytes)
        except httpx.TransportError as error:
            final = _failed("download_failed", f"the connection broke ({type(error).__name__})", again=True)
        except Ended as ended:
            assert isinstance(ended.final, Failed)
            final = ended.final
            if not final.transient:
                raise
        finally:
            _temporary(output).unlink(missing_ok=True)
        if attempt + 1 < service.patience.reads:
            await service.sleep(wait)
            wait = min(2 * wait, service.patience.longest_wait_s)
    raise Ended(final)


async def take_inline(data: str, output: Path, max_bytes: int = MAX_INLINE_BYTES) -> float | None:
    """Write a clip that came as base64 text to ``output``; gives its playback duration, if stated.

    Raises:
        Ended: it is too large, no base64, or no whole MP4.
    """
    if len(data) * 3 // 4 > max_bytes:
        raise Ended(_failed("download_too_large", f"the clip in the answer is longer than {max_bytes} bytes"))
    try:
        content = await asyncio.to_thread(base64.b64decode, data, validate=True)
    except (binascii.Error, ValueError):
        raise Ended(_failed("download_not_mp4", "the clip in the answer is not base64")) from None
    await asyncio.to_thread(_temporary(output).write_bytes, content)
    return _keep(output)


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
                again = response.status_code in (408, 425, 429) or response.status_code >= 500
                body = (await response.aread())[:2000].decode(errors="replace") if again else ""
                words = service.redact(complaint(body).message)
                message = f"{_where(url)} answered {response.status_code} {words}".rstrip()
                raise Ended(_failed("download_failed", message, again=again))
            declared = response.headers.get("content-length", "")
            if declared.isdigit() and int(declared) > max_bytes:
                raise Ended(_too_large(max_bytes))
            received = 0
            with _temporary(output).open("wb") as file:
                async for chunk in response.aiter_bytes(_PIECE):
                    received += len(chunk)
                    if received > max_bytes:
                        raise Ended(_too_large(max_bytes))
                    file.write(chunk)
        return _keep(output)
    raise Ended(_failed("download_refused", f"more than {_MAX_REDIRECTS} redirects"))


def _keep(output: Path) -> float | None:
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
    return Failed(code, message, transient=again, charged=True, job_open=again)
