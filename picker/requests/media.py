"""Pictures and sounds inside a prompt: told from text, hashed, and counted as a fixed size."""

import re

import xxhash

from picker.requests.model import ParseSettings

# In an object, up to eight short strings (format, media_type) may stand before the payload.
# A source of type text is text.
_MEDIA = re.compile(
    rb'"(?:(?:image_url|video_url|audio_url|file_data)"\s*+:\s*+"'
    rb'|(?:image_url|video_url|audio_url|input_audio|source)"\s*+:\s*+\{'
    rb'(?:\s*+(?!"type"\s*+:\s*+"text")"(?!url"|data")\w{1,32}"\s*+:\s*+"[^"\\]{0,128}"\s*+,){0,8}+'
    rb'\s*+"(?:url|data)"\s*+:\s*+")'
)


def replace_media(data: bytes, settings: ParseSettings) -> bytes:
    """Put a placeholder, made of a hash and as long as the media's tokens, for each payload.

    A payload that the end of a partial body cuts off ends the prompt: its hash is not known.
    """
    found = _MEDIA.search(data)
    if found is None:
        return data
    kept, position = [], 0
    for _ in range(settings.max_media_parts):
        if found is None:
            break
        start = found.end()
        end = data.find(b'"', start)
        kept.append(data[position:start])
        if end < 0:
            return b"".join(kept)
        kept.append(placeholder(data[start:end], settings))
        position = end
        found = _MEDIA.search(data, position)
    kept.append(data[position:])
    return b"".join(kept)


def placeholder(payload: bytes, settings: ParseSettings) -> bytes:
    """Return bytes that stand for one payload: other bytes for another, of one length for all."""
    digest = xxhash.xxh3_64_digest(payload).hex().encode()
    return (digest * (settings.media_bytes // len(digest) + 1))[: settings.media_bytes]
