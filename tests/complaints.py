"""What every test of bad input asks of an error."""

import pytest


def complaint(error, call, *words, **arguments):
    """Call, expect `error`, and look for every word in its message, which is returned."""
    with pytest.raises(error) as caught:
        call(**arguments)
    message = str(caught.value)
    assert type(caught.value) is error, f"a subclass that nobody asked for: {caught.value!r}"
    assert "\n" not in message, "one line, so that it can be printed by the command line as it is"
    for word in words:
        assert str(word).lower() in message.lower(), f"{word!r} is not in: {message}"
    return message
