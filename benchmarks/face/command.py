"""Commands of the terminal from scripts and notebooks."""

from __future__ import annotations

from pathlib import Path

from simulator.core.errors import ConfigError, CsilinkError


def command(*words: str | Path | float) -> None:
    """A command of the terminal, in this process: ``csilink dataset import ...`` without a shell.

    Args:
        *words: of the command line after ``csilink``, each a word of its own: no quotes, spaces are kept.

    Returns:
        nothing; what the command says is printed, what it makes is in its folder.

    Raises:
        ConfigError: an unknown command or option.
        CsilinkError: wrong input, with the message of the terminal; an exit status other than 0.

    Source: the commands: ``csilink --help``.

    Example:
        >>> import csilink
        >>> csilink.command("list", "coders")
        coders: fixed, huffman, range
    """
    from benchmarks.cli import app

    line = " ".join(map(str, words))
    try:
        code = app([str(word) for word in words], prog_name="csilink", standalone_mode=False)
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of the command line parser
            allowed = f"a line of `csilink --help` ({error.format_message() or 'a command is needed'})"
            raise ConfigError("command", line, allowed) from None
        raise
    if code:
        raise CsilinkError(f"csilink {line}: exit status {code}")
