"""The process of the program: its start, its signals, its job control and its end.

The program gets a process group of its own, in the foreground of the terminal. So Ctrl-C and Ctrl-Z reach it once, and
not the runner. The runner passes on the signals that it is sent itself. If the program is a part of a pipeline at a
terminal, the group stays as it is: the terminal sends its signals to the whole pipeline.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Mapping
from signal import Signals
from typing import NoReturn, Self

from encore_run.terminal import Terminal, is_piped

_PASSED_ON = {Signals.SIGHUP, Signals.SIGINT, Signals.SIGQUIT, Signals.SIGTERM, Signals.SIGUSR1, Signals.SIGUSR2}
_OF_KEYS = {Signals.SIGINT, Signals.SIGQUIT}
_OF_TERMINAL = {*_OF_KEYS, Signals.SIGHUP}
_STOPS = {Signals.SIGTSTP, Signals.SIGTTIN, Signals.SIGTTOU}
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


class StartError(OSError):
    """The program cannot be started.

    Attributes:
        status: the exit status that a shell would return.
    """

    @property
    def status(self) -> int:
        """127 if the command doesn't exist, otherwise 126."""
        return _NOT_FOUND if isinstance(self.__cause__, FileNotFoundError) else _NOT_EXECUTABLE


class Process:
    """The running program.

    Attributes:
        pid: its process id.
        key: SIGINT or SIGQUIT if the terminal sent it to the program alone, which ended by it; None otherwise.
    """

    key: Signals | None = None

    def __init__(self, pid: int, terminal: Terminal | None, *, has_own_group: bool) -> None:
        self.pid = pid
        self._terminal = terminal
        self._has_own_group = has_own_group
        self._awaited = _awaited(has_own_group=has_own_group)

    @classmethod
    def start(cls, command: list[str], environment: Mapping[str, str], variable: str) -> Self:
        """Start the program, with its process id in an environment variable.

        Signals stay blocked in this process, since `wait` takes them.

        Raises:
            StartError: the command does not exist, or cannot be executed.
        """
        terminal = Terminal.open()
        is_foreground = terminal is not None and terminal.is_given_to(os.getpgrp())
        has_own_group = not (is_foreground and is_piped())
        children = signal.signal(Signals.SIGCHLD, signal.SIG_DFL)  # ignored, children would leave no exit status
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _awaited(has_own_group=has_own_group))
        try:
            reader, writer = os.pipe()
            pid = os.fork()
        except OSError as error:  # there are too many files or processes
            raise StartError(error.errno, error.strerror, command[0]) from error
        if pid == 0:
            try:
                if has_own_group:
                    os.setpgid(0, 0)
                    if terminal is not None and is_foreground:
                        terminal.give_to(os.getpid())
                signal.signal(Signals.SIGCHLD, children)
                for ignored in (Signals.SIGPIPE, Signals.SIGXFSZ):  # by Python
                    signal.signal(ignored, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                _execute(command, {**environment, variable: str(os.getpid())})
            except OSError as error:
                os.write(writer, str(error.errno).encode())
            finally:
                os._exit(_NOT_FOUND)
        os.close(writer)
        if has_own_group:
            with contextlib.suppress(OSError):  # it has done so itself
                os.setpgid(pid, pid)
        process = cls(pid, terminal, has_own_group=has_own_group)
        with open(reader, "rb") as pipe:
            failure = pipe.read()
        if failure:
            process.wait()
            number = int(failure)
            raise StartError(number, os.strerror(number), command[0]) from OSError(number, os.strerror(number))
        return process

    def wait(self) -> int:
        """Wait for the end of the program, and pass on signals. Return its exit status, 128 and more for a signal."""
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
            if not pid:
                self._pass_on(Signals(signal.sigwait(self._awaited)))
            elif os.WIFSTOPPED(status):
                self._stop(Signals(os.WSTOPSIG(status)))
            else:
                break
        code = os.waitstatus_to_exitcode(status)
        if self._terminal is not None and self._terminal.is_given_to(self.pid):
            self._terminal.give_to(os.getpgrp())
            if -code in _OF_KEYS:
                self.key = Signals(-code)
        return 128 - code if code < 0 else code

    def _pass_on(self, number: Signals) -> None:
        """Send a signal to the program, unless it has got it from the terminal."""
        if number == Signals.SIGCONT:
            self._continue()
        elif number in {*_PASSED_ON, *_STOPS} and (self._has_own_group or number not in _OF_TERMINAL):
            with contextlib.suppress(PermissionError):  # the program runs as another user now
                os.kill(self.pid, number)

    def _stop(self, number: Signals) -> None:
        """Stop as the program was stopped, so that the shell sees its job stop, and go on with it."""
        if self._terminal is None:  # there is no job, and nobody might continue this process
            return
        if not self._has_own_group:
            if number not in _STOPS:  # else this process was stopped, too
                os.kill(os.getpid(), number)
            return
        if self._terminal.is_given_to(self.pid):
            self._terminal.give_to(os.getpgrp())
        if number in _STOPS:
            os.kill(0, number)  # all that a shell takes for one job
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})  # this process stops here, unless nobody could go on
            signal.pthread_sigmask(signal.SIG_BLOCK, {number})
        else:
            os.kill(os.getpid(), number)
        if Signals.SIGCONT not in signal.sigpending():  # nothing has stopped: no shell could continue it
            if number in {Signals.SIGTTIN, Signals.SIGTTOU}:  # and it would try again for ever
                with contextlib.suppress(OSError):
                    os.killpg(self.pid, Signals.SIGHUP)
            self._continue()

    def end_by_key(self) -> None:
        """End this process, and the others of its job, by the key that has ended the program, as without a runner."""
        if self.key is not None:
            signal.signal(self.key, signal.SIG_DFL)
            os.kill(0, self.key)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {self.key})

    def _continue(self) -> None:
        if not self._has_own_group:
            return
        if self._terminal is not None and self._terminal.is_given_to(os.getpgrp()):
            self._terminal.give_to(self.pid)
        with contextlib.suppress(OSError):  # its processes have ended
            os.killpg(self.pid, Signals.SIGCONT)


def _awaited(*, has_own_group: bool) -> set[Signals]:
    """Return the signals that the runner takes. In a group of its own, it must not be stopped by the terminal."""
    awaited = {*_PASSED_ON, Signals.SIGCHLD, Signals.SIGCONT}
    return awaited | _STOPS if has_own_group else awaited


def _execute(command: list[str], environment: Mapping[str, str]) -> NoReturn:
    """Replace this process. A script without a first line that names its interpreter is run as a shell would."""
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606 (the user's own)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    import shutil  # noqa: PLC0415 (it is rarely needed)

    script = shutil.which(command[0], path=environment.get("PATH")) or command[0]
    os.execve("/bin/sh", ["/bin/sh", script, *command[1:]], environment)  # noqa: S606
