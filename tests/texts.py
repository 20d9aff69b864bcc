"""What processes say to each other, in one process."""

import threading


class Texts:
    """A store for threads."""

    def __init__(self):
        self._texts, self._changed = {}, threading.Condition()

    def set(self, name, text):
        with self._changed:
            self._texts[name] = text
            self._changed.notify_all()

    def get(self, name, seconds):
        with self._changed:
            self._changed.wait_for(lambda: name in self._texts, seconds)
            return self._texts.get(name)

    def all(self, folder):
        with self._changed:
            return {
                name.split("/")[-1]: text
                for name, text in self._texts.items()
                if name.startswith(f"{folder}/")
            }
