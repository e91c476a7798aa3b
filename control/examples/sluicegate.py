"""A client of Sluicegate's control socket. Python 3 and nothing else.

    from sluicegate import Appliance

    with Appliance() as appliance:
        print(appliance.call("status")["generation"])
"""

import json
import os
import socket


class Refused(Exception):
    """The final answer was an error. `code` says what to do next, `error` holds all that was said."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.code = error["code"]
        self.error = error


class Appliance:
    """One connection: one order at a time, each answered before the next is sent."""

    def __init__(self, path=None):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path or os.environ["SLUICEGATE_SOCKET"])
        self.lines = self.socket.makefile(encoding="utf-8", newline="\n")
        self.last_id = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lines.close()
        self.socket.close()

    def answers(self, order, **fields):
        """Every answer: any number of `processing`, then one `ok` or `error`."""
        self.last_id += 1
        message = {"id": self.last_id, "order": order, **fields}
        self.socket.sendall(json.dumps(message).encode() + b"\n")
        for line in self.lines:
            answer = json.loads(line)
            # An appliance that could not read the message could not read its id either.
            if answer["id"] not in (self.last_id, None):
                raise ConnectionError(f"an answer to {answer['id']} instead of {self.last_id}")
            yield answer
            if answer["status"] != "processing":
                return
        raise ConnectionError("the appliance left before its final answer; the order may have been carried out")

    def call(self, order, on_progress=lambda progress: None, **fields):
        """The result of an order. Raises `Refused` if it is an error."""
        for answer in self.answers(order, **fields):
            if answer["status"] == "error":
                raise Refused(answer["error"])
            if answer["status"] == "ok":
                return answer.get("result")
            on_progress(answer["progress"])

    def events(self, first=None):
        """What happens, from now on or from the event of this number on. Does not end by itself."""
        wanted = {} if first is None else {"from": first}
        for answer in self.answers("events", **wanted):
            if answer["status"] == "error":
                raise Refused(answer["error"])
            yield answer["progress"]["event"]
