"""A frozen causal language model.

Shapes: B batch rows, T tokens, D width, K dimensions, V vocabulary.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lmsteer.errors import InputError
from lmsteer.models.attention import fast_attention
from lmsteer.models.chat import Chat, ChatFormat, Text
from lmsteer.models.device_map import computes_on, iterate_state
from lmsteer.models.head import Head
from lmsteer.models.quantization import keep_layout
from lmsteer.records import Row, Turns

INCIDENTAL = ("_name_or_path", "transformers_version", "dtype", "architectures")
"""Entries of a model's configuration on which its hidden states do not depend."""


class LanguageModel:
    """A frozen causal LM with its tokenizer and its head, which is checked against the model's logits.

    Attributes:
        name: Name of the model in files and tables.
        context: Longest sequence that the model accepts, in tokens.
        rows: Number of token ids that have embeddings; the tokenizer may have further tokens.

    Args:
        device: Device to which the whole model is moved; None: it is not moved.
        commit: Commit of the hub that it was loaded from; empty: unknown.
        chat: Whether questions are asked in the model's chat template ("auto") or in plain text ("off").
        system: Message of the system before questions. None: none is added.

    Raises:
        InputError: If the head does not reproduce the model's logits, or the tokenizer is not a fast one.

    Example:
        >>> from lmsteer.models.random_models import tiny
        >>> tiny().width
        32
    """

    def __init__(
        self,
        lm: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        device: torch.device | None = None,
        commit: str = "",
        chat: Chat = "auto",
        system: str | None = None,
    ) -> None:
        if not tokenizer.is_fast:
            raise InputError(f"model {name}: a tokenizer with character offsets (a fast one) is needed")
        if device is not None:
            nn.Module.to(lm, device)
        keep_layout(lm)
        self.lm = lm.requires_grad_(False).eval()
        self.tokenizer, self.name, self.commit = tokenizer, name, commit
        self.head = Head.of(lm, vocabulary=max(tokenizer.get_vocab().values()) + 1)
        self.rows = min(len(self.head.weight), len(cast(Tensor, lm.get_input_embeddings().weight)))
        config = lm.config.get_text_config()
        self.context = int(getattr(config, "max_position_embeddings", None) or 1 << 30)
        self.chat = ChatFormat(tokenizer, model=name, chat=chat, system=system)
        self._fingerprint: str | None = None
        self._check_head()

    @property
    def device(self) -> torch.device:
        """Device of the head and of the hidden states."""
        return self.head.weight.device

    @property
    def width(self) -> int:
        """Size D of the hidden states."""
        return self.head.weight.shape[1]

    def loaded(self) -> LanguageModel:
        """Return this model: a model that is not loaded yet has the same method."""
        return self

    def accepts(self, name: str) -> bool:
        """Return whether the model has an input of this name, such as ``position_ids``."""
        forwards = (self.lm.forward, self.lm.base_model.forward)  # some bodies hide their inputs in a wrapper
        return any(name in inspect.signature(forward).parameters for forward in forwards)

    def text(self, row: Row) -> Text:
        """Return the text of a row as the model reads it, with the question that it answers.

        Raises:
            InputError: If it answers a question, and the model has no chat template.
        """
        return self.chat.text(row.turns, row.text) if row.turns else row.text

    def prompt(self, content: str | Turns, *, prefix: str = "", continuation: str = "") -> Text:
        """Return a text to be continued, or a question to be answered, as the model reads it.

        Args:
            prefix: Text before the text; of a question the message of the system, or text before it in its turn where
                the chat template has no such message or is not used.
            continuation: Text after all that.

        Raises:
            InputError: If it is a question, and the model has no chat template.
        """
        if isinstance(content, str):
            return prefix + content + continuation
        return replace(self.chat.text(self.chat.instructed(content, prefix)), answer=continuation)

    def tokenize(self, texts: Sequence[Text], *, max_length: int | None = None) -> list[list[int]]:
        """Return the token ids of texts, with tokens that the tokenizer puts before a text, without those it appends.

        A chat template writes special tokens itself, so that none is added to a conversation.

        Args:
            max_length: Most tokens of a text; a longer one is cut.

        Raises:
            InputError: If a text has a token without an embedding.
        """
        return self._tokenize(texts, max_length)["input_ids"]

    def tokenize_with_offsets(
        self, texts: Sequence[Text], *, max_length: int | None = None
    ) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
        """Return the token ids of texts, as ``tokenize`` does, and their character offsets (start, end).

        Tokens put before a text have the offsets (0, 0).

        Raises:
            InputError: As ``tokenize`` does.
        """
        rows = self._tokenize(texts, max_length, return_offsets_mapping=True)
        return rows["input_ids"], rows["offset_mapping"]

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text of tokens, without special ones."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _tokenize(self, texts: Sequence[Text], max_length: int | None, **options: bool) -> dict[str, list[list[Any]]]:
        rows: dict[str, list[list[Any]]] = {"input_ids": [[]] * len(texts), "offset_mapping": [[]] * len(texts)}
        adds = [isinstance(text, str) or not self.chat.is_templated for text in texts]
        for add in sorted({*adds}):
            indices = [index for index, one in enumerate(adds) if one == add]
            part = self._tokenize_strings([str(texts[index]) for index in indices], max_length, add, **options)
            for name in rows.keys() & part.keys():
                for index, value in zip(indices, part[name], strict=True):
                    rows[name][index] = value
        return rows

    def _tokenize_strings(
        self, texts: Sequence[str], max_length: int | None, add_special_tokens: bool, **options: bool
    ) -> dict[str, list[list[Any]]]:
        appended = _appended(self.tokenizer) if add_special_tokens else 0
        limit = None if max_length is None else max_length + appended
        rows = self.tokenizer(
            list(texts),
            add_special_tokens=add_special_tokens,
            truncation=limit is not None,
            max_length=limit,
            verbose=False,
            **options,
        )
        unappended = {name: [row[: len(row) - appended] for row in rows[name]] for name in rows}
        for text, ids in zip(texts, unappended["input_ids"], strict=True):
            if (last := max(ids, default=0)) >= self.rows:
                token = self.tokenizer.convert_ids_to_tokens(last)
                raise InputError(
                    f"text {text[:40]!r}…: it has the token {token!r} (id {last}), but model {self.name} has "
                    f"embeddings only of ids below {self.rows}; a text without this token expected"
                )
        return unappended

    def first_token(self) -> int:
        """Return the token before a text that has none before it: the one that begins texts, else the one that ends.

        Raises:
            InputError: If there is neither.
        """
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if isinstance(token, int) and token < self.rows:
                return token
        raise InputError(f"model {self.name} has neither BOS nor EOS; a prompt that is not empty expected")

    def hidden(self, ids_BT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Compute hidden states (B, T, D) after the final norm, the input of the head.

        Texts padded on the right need no mask: a causal model never looks ahead.
        """
        with torch.inference_mode(), fast_attention(self.lm):
            output = self.body(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False)
        return cast(Tensor, output.last_hidden_state)

    def body(self, **inputs: Any) -> Any:
        """Run the body of the model on inputs on any device; the last hidden state is on the device of the head.

        The two devices differ if a device map separates the embeddings from the last layer.
        """
        device = computes_on(self.lm.get_input_embeddings())
        inputs = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in inputs.items()}
        output = self.lm.base_model(**inputs)
        output.last_hidden_state = output.last_hidden_state.to(self.device)
        return output

    def fingerprint(self) -> str:
        """Return the sha256 of all on which hidden states depend.

        That is the weights, their dtype, the configuration, the tokenizer, and how questions are asked.
        """
        if self._fingerprint is None:
            config = self.lm.config.to_diff_dict()
            relevant = {name: value for name, value in config.items() if name not in INCIDENTAL}
            tokenizer = json.loads(self.tokenizer.backend_tokenizer.to_str())
            parts = {name: part for name, part in tokenizer.items() if name not in ("truncation", "padding")}
            if appended := _appended(self.tokenizer):
                parts["left out"] = appended  # features that were stored with these tokens are others
            parts |= self.chat.settings()
            state = hashlib.sha256(json.dumps([relevant, parts], sort_keys=True, default=str).encode())
            for name, tensor in iterate_state(self.lm):
                state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                state.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
            self._fingerprint = state.hexdigest()
        return self._fingerprint

    @torch.inference_mode()
    def _check_head(self) -> None:
        ids = torch.arange(1, 8, device=self.device)[None] % self.head.vocabulary
        with fast_attention(self.lm):  # as in hidden(): in bfloat16 the kinds of attention differ
            expected = self.lm(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float()
        logits = self.head(self.hidden(ids, torch.ones_like(ids)))
        tolerance = 1e-3 if self.head.weight.dtype == torch.float32 else 3e-2
        scale = expected.abs().max().clamp(min=1.0)
        if expected.shape != logits.shape or (expected - logits).abs().max() > tolerance * scale:
            raise InputError(
                f"model {self.name} ({type(self.lm).__name__}): its logits are not those of embeddings, bias, scale "
                "and soft-cap on the last hidden state, so a steer would not act as defined; choose another model"
            )


def _appended(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the number of special tokens that the tokenizer puts after every text."""
    special = tokenizer("A 1 a", return_special_tokens_mask=True)["special_tokens_mask"]
    return special[::-1].index(0) if 0 in special else 0
