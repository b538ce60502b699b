"""A chat model that rates answers from 1 to 5, whose raw replies are kept."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from lmsteer.generation.generator import Generator
from lmsteer.generation.sampling import Greedy
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Prompt, read_jsonl
from lmsteer.storage.atomic_files import atomic_write_lines

REQUEST = """Rate how good the answer to the question is, from 1 (not an answer, or broken text) to 5 (correct, clear, \
fluent). Its language, length and letter case were asked for, so do not rate them. Reply with the number alone.

Question: {question}

Answer: {answer}"""
REPLY_TOKENS = 8


class Judge:
    """Rate answers by a chat model; its replies are stored and asked for once.

    Args:
        path: JSONL of replies: ``{"request", "reply", "judge"}``. Replies of another model that are there stay, unused.

    Example:
        >>> Judge.rating("Rating: 4/5"), Judge.rating("Good!")
        (4, None)
    """

    def __init__(self, model: LanguageModel, path: Path) -> None:
        self.model, self.path = model, path

    def ratings(self, questions: Sequence[str], answers: Sequence[str]) -> list[int | None]:
        """Return the rating of each answer; None where the reply has none."""
        requests = [REQUEST.format(question=q, answer=a) for q, a in zip(questions, answers, strict=True)]
        lines = [line for _, line in read_jsonl(self.path)] if self.path.is_file() else []
        replies = {str(one["request"]): str(one["reply"]) for one in lines if one["judge"] == self.model.fingerprint()}
        if missing := [request for request in dict.fromkeys(requests) if request not in replies]:
            new = self._replies(missing)
            replies |= new
            judge = self.model.fingerprint()
            lines += [{"request": request, "reply": reply, "judge": judge} for request, reply in new.items()]
            atomic_write_lines(self.path, (json.dumps(line, ensure_ascii=False) for line in lines))
        return [self.rating(replies[request]) for request in requests]

    def _replies(self, requests: Sequence[str]) -> dict[str, str]:
        prompts = [
            Prompt(hashlib.sha256(request.encode()).hexdigest(), request, (("user", request),)) for request in requests
        ]
        decoding = Greedy(max_new_tokens=REPLY_TOKENS, stop_at_end=True)
        batches = Generator(self.model, prompts, decoding=decoding, prompts_name="judge").run([{}])
        return {generation.prompt.text: generation.texts[0] for batch in batches for generation in batch}

    @staticmethod
    def rating(reply: str) -> int | None:
        """Return the first number from 1 to 5 in a reply, which stands alone."""
        match = re.search(r"(?<![\d.])[1-5](?![\d.]*\d)", reply)
        return int(match[0]) if match else None
