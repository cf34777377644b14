"""What everybody on the machine may do to a file on which it depends who is let in."""

import stat


def too_open(mode: int, *, private: bool) -> str | None:
    """What is wrong with the rights of such a file, and the cure; None: nothing.

    Args:
        mode: of the file, from `stat`.
        private: it holds a secret.
    """
    if private and mode & stat.S_IROTH:
        return (
            "can be read by everyone; chmod o-rw it" if mode & stat.S_IWOTH else "can be read by everyone; chmod o-r it"
        )
    if mode & stat.S_IWOTH:
        return "can be changed by everyone; chmod o-w it"
    return None
