"""Reasons why the hub does not give a file, in one line that says what to do."""

from collections.abc import Iterator

LONGEST_REASON = 300
"""Characters of a reason that is not known here."""
LOG_IN = "`hf auth login` or HF_TOKEN"


def hub_reason(error: BaseException, page: str, revision: str | None = None) -> str:
    """Return the reason of an error of the hub's client, or of a library that wraps one.

    Args:
        page: Address of the repository's page.
        revision: Branch, tag or commit that was asked for; None: the default branch.

    Example:
        >>> hub_reason(OSError("no such file\\nor folder"), "https://huggingface.co/gpt2")
        'no such file or folder'
    """
    causes = list(_causes(error))
    known = (_known_reason(cause, page, revision or "main") for cause in causes)
    text = next((reason for reason in known if reason), None) or " ".join(str(error).split())
    return text[:LONGEST_REASON] or type(causes[-1]).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _known_reason(error: BaseException, page: str, revision: str) -> str | None:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return f"it is gated: accept its terms at {page}, then log in by {LOG_IN}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no {page}, or it is private: check the id, or log in by {LOG_IN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{page} has no revision {revision}"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return (
            "HF_HUB_OFFLINE is set, but it is not in the hub's cache: unset it, or `python -m src.fetch OPTIONS` before"
        )
    if isinstance(error, errors.HfHubHTTPError):
        return _reason_of_status(error.response.status_code, str(error.response.headers.get("Retry-After") or ""), page)
    return _reason_of_network(error, page)


def _reason_of_status(status: int, retry_after: str, page: str) -> str | None:
    if status == 429:
        wait = f"wait {retry_after} s" if retry_after.isdigit() else "wait some minutes"
        return f"rate limit of the hub (status 429): {wait}, or log in by {LOG_IN}, which raises it"
    if status >= 500:
        return f"outage of the hub (status {status}): the same command later goes on"
    if status == 401:
        return f"the hub does not accept the token (status 401): log in by {LOG_IN}"
    if status == 403:
        return f"no access to {page} (status 403): log in by {LOG_IN} as a user who has"
    return None


def _reason_of_network(error: BaseException, page: str) -> str | None:
    from huggingface_hub import errors

    if isinstance(error, getattr(errors, "HTTPError") | ConnectionError | TimeoutError):  # noqa: B009
        endpoint = "/".join(page.split("/")[:3])
        return f"{endpoint} is out of reach: {' '.join(str(error).split()) or type(error).__name__}"
    return None
