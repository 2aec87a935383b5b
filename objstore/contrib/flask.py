"""
Objects as responses of a Flask application.

Needs the extra `flask`: `pip install "nats-objstore[flask]"`.
"""

from __future__ import annotations

from typing import IO, cast

from flask import Response, abort, request, send_file

from objstore.contrib.http import (
    entity_tag,
    file_name,
    guess_type,
    open_range,
    read_blocks,
)
from objstore.core.deadline import DEFAULT_TIMEOUT
from objstore.errors import InvalidNameError, ObjectNotFoundError
from objstore.store import ObjectStore

__all__ = ["send_object"]


def send_object(
    store: ObjectStore,
    name: str,
    *,
    mimetype: str | None = None,
    as_attachment: bool = False,
    download_name: str | None = None,
    max_age: int | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
) -> Response:
    """
    Answer the current request with an object, as `flask.send_file` does with a file.

    The object is streamed, and links are followed. Its digest is the entity tag: a `HEAD`,
    and a request whose `If-None-Match` or `If-Modified-Since` holds, read no byte of it; a
    `Range` fetches only the chunks that it touches.

    Args:
        mimetype: Media type; by default what the name stands for.
        as_attachment: Have the browser save it instead of showing it.
        download_name: Name of the file to save; by default the last part of the name.
        max_age: Seconds for which a browser need not ask again; by default what the
            application says for files (`SEND_FILE_MAX_AGE_DEFAULT`).
        timeout: Seconds without progress; None for ever.

    Raises:
        werkzeug.exceptions.NotFound: If there is no such object.
        werkzeug.exceptions.RequestedRangeNotSatisfiable: If a range lies outside of it.

    Example:
        >>> @app.get("/media/<path:name>")
        ... def media(name: str) -> Response:
        ...     return send_object(store, name)
    """
    while True:
        try:
            reader = store.get(name, timeout=timeout)
        except (ObjectNotFoundError, InvalidNameError):
            abort(404)
        info = reader.info
        try:
            response = send_file(
                cast(IO[bytes], reader),
                mimetype or guess_type(name),
                as_attachment=as_attachment,
                download_name=file_name(name if download_name is None else download_name),
                conditional=False,  # it would not know the size
                etag=entity_tag(info),
                last_modified=info.mtime,
                max_age=max_age,
            )
            response.content_length = info.size
            response.headers["X-Content-Type-Options"] = "nosniff"
            response.accept_ranges = "bytes"
            # Whether it is wanted at all comes before which part (RFC 9110, section 13.2.2).
            response.make_conditional(request)
            if request.method == "GET" and response.status_code == 200:
                response.make_conditional(request, accept_ranges=True, complete_length=info.size)
        except BaseException:
            reader.close()
            raise
        if response.status_code == 206:
            reader.close()
            part = response.content_range
            piece = open_range(store, info, name, part.start or 0, part.stop or 0, timeout=timeout)
            if piece is None:
                continue  # overwritten just now: answer with the new version
            reader = piece
        if request.method == "HEAD" or response.status_code in (304, 412):
            reader.close()
            response.response = []
            if response.status_code == 412:
                response.content_length = 0  # of what is sent
        else:
            response.response = read_blocks(reader)
            # A browser that goes away leaves blocks unread, or even unasked for.
            response.call_on_close(reader.close)
        return response
