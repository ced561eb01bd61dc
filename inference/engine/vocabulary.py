"""Converts single tokens to their bytes, which may be a part of a character, and to text for people."""

from functools import lru_cache

from tokenizers import Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from inference.engine.base import Candidate

BYTE_OF_CHARACTER = {character: byte for byte, character in bytes_to_unicode().items()}  # of byte-level tokenizers
KNOWN_TOKENS = 10_000
HALF = "\ufffd"  # decoders write this for bytes that are not a whole character


class Vocabulary:
    """The tokens of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self._controls = {number for number, token in added.items() if token.special}
        self._bytes = lru_cache(KNOWN_TOKENS)(self._read_bytes)

    def candidate(self, token_id: int, logprob: float) -> Candidate:
        token = self._tokenizer.id_to_token(token_id)
        if token is None or token_id in self._controls:  # a tokenizer may not use all ids
            return Candidate(token or f"<{token_id}>", logprob, None)
        utf8 = self._bytes(token)
        return Candidate(written(utf8), logprob, utf8)

    def _read_bytes(self, token: str) -> bytes:
        text = self._decode(["a", token])[len(self._decode(["a"])) :]  # some decoders drop a leading blank
        if HALF not in text:
            return text.encode()
        if token.startswith("<0x"):  # one byte, as SentencePiece spells it
            return bytes([int(token[3:5], 16)])
        if all(character in BYTE_OF_CHARACTER for character in token):
            return bytes(BYTE_OF_CHARACTER[character] for character in token)
        return token.encode()

    def _decode(self, tokens: list[str]) -> str:
        decoder = self._tokenizer.decoder
        return " ".join(tokens) if decoder is None else str(decoder.decode(tokens))


def written(utf8: bytes) -> str:
    """The text of these bytes. Bytes that are not UTF-8, or have a NUL, which PostgreSQL cannot store, become escapes.

    Escapes look like \\xf0\\x9f.
    """
    try:
        text = utf8.decode()
    except UnicodeDecodeError:
        text = "\x00"
    return "".join(f"\\x{byte:02x}" for byte in utf8) if "\x00" in text else text
