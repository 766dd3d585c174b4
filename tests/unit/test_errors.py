import pytest

import queue_runtime
from queue_runtime import errors


@pytest.mark.parametrize(
    ("error", "also"),
    [
        (errors.HandlerDefinitionError, TypeError),
        (errors.SettingsError, ValueError),
        (errors.MissingExtraError, ImportError),
        (errors.EventError, ValueError),
        (errors.BodyDecodeError, ValueError),
        (errors.QueueNotFoundError, errors.TransportError),
        (errors.AccessDeniedError, errors.TransportError),
        (errors.LockLostError, errors.TransportError),
        (errors.MessageTooLargeError, errors.TransportError),
    ],
)
def test_each_error_is_ours_and_what_python_would_call_it(
    error: type[Exception], also: type[Exception]
) -> None:
    assert issubclass(error, errors.QueueRuntimeError)
    assert issubclass(error, also)
    assert error.__name__ in (errors.__doc__ or "")


def test_a_missing_extra_says_what_to_install() -> None:
    error = errors.MissingExtraError("SQS", "aws")
    assert str(error) == "SQS needs an optional dependency: pip install 'queue-runtime[aws]'"


def test_every_public_name_is_there() -> None:
    assert all(getattr(queue_runtime, name) is not None for name in queue_runtime.__all__)
    assert len(set(queue_runtime.__all__)) == len(queue_runtime.__all__)
