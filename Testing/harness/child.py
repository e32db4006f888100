"""A child process that a test plays: for the panels' `Child` protocol."""


class PlayedChild:
    """Remembers what it was asked; the test says what it prints (`tell`) and how it ends (`finish`)."""

    def __init__(self):
        self.running = self.stopping = False
        self.started = []  # (name of the entry, arguments)
        self.killed = self.closed = False

    def start(self, entry, arguments, onLine, onFinished):
        assert not self.running
        assert entry.is_file()
        self.running, self.killed = True, False
        self.started.append((entry.name, list(arguments)))
        self._onLine, self._onFinished = onLine, onFinished

    def cancel(self, grace=5.0):
        self.stopping = self.running

    def kill(self):
        self.stopping = self.killed = self.running

    def close(self, grace=5.0):
        self.closed = True
        self.running = self.stopping = False

    def tell(self, line, isError=False):
        self._onLine(line, isError)

    def finish(self, status=0):
        self.running = self.stopping = False
        self._onFinished(status)
