"""How a command ends, as the tests of the command line ask for it."""


def refused(done, *said):
    """The user's mistake: exit code 2, one sentence, nothing on stdout."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("croco: ")]
    for part in said:
        assert part in line
    assert done.stdout == ""
